import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { type Problem, RondoError } from '../errors.js';
import { faultInJson } from '../json-fault.js';
import { createBar } from './bar.js';
import { codeOf } from './codes.js';
import type { Control, ManyOptions } from './control.js';

export interface FileInput {
  /** For every run of the file. */
  readonly options: ManyOptions;
  /** Other runs are meant than those of the same file before. */
  readonly anew: boolean;
}

/** So many runs are enqueued at once, or fewer where their lines are long: well below what an API takes, in bytes. */
const mostRuns = 1_000;
const mostBytes = 4_000_000;

/**
 * Enqueues a run for each line of an NDJSON file, a thousand at a time, in order: all of a thousand or none. A batch
 * carries a key made of its place and its lines, so that the same file, read again after a crash, adds no run twice
 * within 24 h.
 *
 * @param path `-` for standard input
 * @returns how many
 * @throws RondoError `request-invalid` with the number of each wrong line; what stands before its batch is enqueued
 */
export async function enqueueFile(control: Control, job: string, path: string, input: FileInput): Promise<number> {
  const salt = input.anew ? randomUUID() : '';
  const total = path === '-' ? null : sizeOf(path);
  const bar = createBar();
  let enqueued = 0;
  let bytes = 0;
  try {
    for await (const batch of batchesOf(linesOf(path))) {
      await enqueueBatch(control, job, batch, { ...input, salt, enqueued });
      enqueued += batch.length;
      bytes += sizeOfLines(batch);
      bar.show(enqueued, total === null ? undefined : Math.min(1, bytes / total));
    }
  } finally {
    bar.end();
  }
  return enqueued;
}

interface Line {
  readonly number: number;
  readonly text: string;
}

interface BatchInput extends FileInput {
  readonly salt: string;
  /** How many runs stand before this batch. */
  readonly enqueued: number;
}

async function enqueueBatch(control: Control, job: string, batch: readonly Line[], input: BatchInput): Promise<void> {
  const { options, salt, enqueued } = input;
  const hash = createHash('sha256').update(JSON.stringify([salt, job, options, enqueued]));
  for (const { text } of batch) hash.update('\n').update(text);
  const wrong: Problem[] = [];
  const payloads = batch.map((line) => payloadIn(line, wrong));
  if (wrong.length > 0) throw refused(wrong, enqueued);
  try {
    await control.enqueueMany(job, payloads, options, hash.digest('base64url'));
  } catch (error) {
    if (codeOf(error) !== 'request-invalid') throw error;
    const { problems } = error as { problems: readonly Problem[] };
    throw refused(
      problems.map((problem) => ({ ...problem, where: lineOf(problem.where, batch) })),
      enqueued,
      error,
    );
  }
}

function payloadIn({ number, text }: Line, wrong: Problem[]): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not the text, which may hold a secret.
    wrong.push({ where: `line ${number}`, expected: 'a payload as JSON', got: `what is none ${faultInJson(text)}` });
    return null;
  }
}

/** `runs[17].payload.to`, of a batch, is `line 18: payload.to`, of the file. */
function lineOf(where: string, batch: readonly Line[]): string {
  const [, index = '', rest = ''] = /^runs\[(\d+)\]\.?(.*)$/.exec(where) ?? [];
  const line = batch[Number(index || Number.NaN)];
  return line ? `line ${line.number}${rest && `: ${rest}`}` : where;
}

function refused(problems: readonly Problem[], before: number, cause?: unknown): RondoError {
  const detail = `none of these lines' batch is enqueued; before it ${before} runs are`;
  return new RondoError('request-invalid', detail, { problems: problems.slice(0, 20), cause });
}

async function* batchesOf(lines: AsyncIterable<Line>): AsyncGenerator<readonly Line[]> {
  let batch: Line[] = [];
  let bytes = 0;
  for await (const line of lines) {
    const size = sizeOfLines([line]);
    if (batch.length >= mostRuns || (batch.length > 0 && bytes + size > mostBytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(line);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

/** Lines with something in them, each with its number in the file. */
async function* linesOf(path: string): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let number = 1;
  let rest = '';
  const decoded = (bytes?: Uint8Array) => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch {
      const problems = [{ where: `after line ${number - 1}`, expected: 'UTF-8', got: 'other bytes' }];
      throw new RondoError('request-invalid', 'what stands in the batches before is enqueued', { problems });
    }
  };
  for await (const chunk of chunksOf(path)) {
    const lines = (rest + decoded(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) {
      if (text.trim() !== '') yield { number, text };
      number++;
    }
  }
  rest += decoded();
  if (rest.trim() !== '') yield { number, text: rest };
}

const sizeOfLines = (lines: readonly Line[]) => lines.reduce((sum, { text }) => sum + Buffer.byteLength(text) + 1, 0);

async function* chunksOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* path === '-' ? process.stdin : createReadStream(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function sizeOf(path: string): number {
  try {
    const found = statSync(path);
    if (found.isDirectory()) throw new Error('it is a folder');
    return found.size;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): RondoError {
  return new RondoError('usage-wrong', `--file ${path}: ${(cause as Error).message}`, { cause });
}
