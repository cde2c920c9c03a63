import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { NonRetryableError } from '../../../errors.js';
import type { JobContext } from '../../context.js';
import { type createCaller, failureOf, isSuccess } from '../../guarded-call.js';
import type { Folder } from './folder.js';
import type { Source } from './payload.js';

type Bytes = AsyncIterable<Buffer>;

/** What is to be read: its bytes as they come, and how many there are where that is known. */
export interface Opened {
  readonly bytes: Bytes;
  readonly size: number | null;
}

export interface SourceOptions {
  readonly folder: Folder;
  readonly call: ReturnType<typeof createCaller>;
  /** Bytes that are read at most, packed and unpacked. */
  readonly maxBytes: number;
  readonly context: Pick<JobContext, 'signal' | 'progress' | 'traceparent'>;
}

/** The bytes of a file or a URL, unpacked where they are packed; says how far it is as it is read. */
export async function* bytesOf(
  source: Source,
  { folder, call, maxBytes, context }: SourceOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const { bytes, size } =
    source.file === undefined ? await download(source, call, context) : await openFile(source.file, folder);
  const bounded = atMost(maxBytes, withProgress(bytes, size, context));
  yield* atMost(maxBytes, unpacked(bounded));
}

async function openFile(path: string, folder: Folder): Promise<Opened> {
  const { handle, size } = await folder.open(path);
  return { bytes: chunksOf(handle), size };
}

const chunkBytes = 64 * 1_024;

async function* chunksOf(handle: FileHandle): Bytes {
  try {
    for (;;) {
      // A new one each time: whoever parses keeps hold of what a record began in.
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function download(
  { url = '', headers = {} }: Source,
  call: SourceOptions['call'],
  { signal, traceparent }: SourceOptions['context'],
): Promise<Opened> {
  const { response } = await call({ url, headers }, { signal, traceparent });
  const { statusCode, headers: received, body } = response;
  if (!isSuccess(statusCode)) {
    body.on('error', () => {}).destroy();
    throw failureOf(statusCode, received['retry-after']);
  }
  const size = Number(received['content-length'] ?? Number.NaN);
  return { bytes: body as Readable, size: Number.isSafeInteger(size) ? size : null };
}

/** How often a run says how far it is, in ms. */
const progressMs = 1_000;

async function* withProgress(bytes: Bytes, size: number | null, { signal, progress }: SourceOptions['context']): Bytes {
  let read = 0;
  let toldAt = performance.now();
  const tell = () => progress(size ? Math.min(99, Math.floor((read / size) * 100)) : { bytesRead: read });
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    read += chunk.length;
    yield chunk;
    if (performance.now() - toldAt < progressMs) continue;
    toldAt = performance.now();
    await tell();
  }
}

async function* atMost(maxBytes: number, bytes: Bytes): Bytes {
  let read = 0;
  for await (const chunk of bytes) {
    read += chunk.length;
    if (read > maxBytes) throw new NonRetryableError(`the source has more than ${maxBytes} bytes (DATA_MAX_MB)`);
    yield chunk;
  }
}

/** No text begins as gzip does, so nobody has to say which it is. */
async function* unpacked(bytes: Bytes): Bytes {
  const source = bytes[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (head.length < 2) {
    const { value, done } = await source.next();
    if (done) break;
    head = head.length === 0 ? value : Buffer.concat([head, value]);
  }
  const whole = joined(head, source);
  if (head[0] !== 0x1f || head[1] !== 0x8b) return yield* whole;
  const gunzip = createGunzip({ chunkSize: chunkBytes });
  // What fails before it, such as a server that breaks off, destroys it with that error.
  pipeline(whole, gunzip, () => {});
  try {
    for await (const chunk of gunzip) yield chunk;
  } catch (error) {
    const { code = '' } = error as { code?: string };
    throw code.startsWith('Z_')
      ? new NonRetryableError(`the source is damaged gzip: ${(error as Error).message}`)
      : error;
  }
}

async function* joined(head: Buffer, rest: AsyncIterator<Buffer>): Bytes {
  try {
    if (head.length > 0) yield head;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}
