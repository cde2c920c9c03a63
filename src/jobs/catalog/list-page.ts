import { z } from 'zod';
import { NonRetryableError } from '../../errors.js';

export interface ListPage {
  readonly items: readonly unknown[];
  /** The address of the page behind it; null for the last. */
  readonly next: string | null;
  readonly etag: string | null;
}

/** A page of more bytes is none. */
const mostBytes = 8 * 1_024 * 1_024;

const bodySchema = z.union([
  z.array(z.unknown()).transform((items) => ({ items, next: null })),
  z.object({ items: z.array(z.unknown()), next: z.string().nullish().default(null) }),
]);

/**
 * One page of a list: a JSON array, or `{ items, next }`. The next page is what `next` says, else a `Link` header with
 * `rel="next"`, of the same origin.
 *
 * @param etag answers `unchanged` where the page still has this one
 */
export async function readListPage(
  url: string,
  { etag, signal }: { etag: string | null; signal: AbortSignal },
): Promise<ListPage | 'unchanged'> {
  const { request } = await import('undici');
  const headers = { accept: 'application/json', 'user-agent': 'rondo', ...(etag && { 'if-none-match': etag }) };
  const { statusCode: status, headers: answered, body } = await request(url, { headers, signal });
  if (status !== 200) {
    body.on('error', () => {}).destroy();
    if (status === 304 && etag) return 'unchanged';
    throw failureOf(status);
  }
  const { items, next } = read(await textOf(body));
  const link = next ?? linkedNext([answered.link ?? []].flat().join(', '));
  return { items, next: link === null ? null : behind(url, link), etag: answered.etag ? String(answered.etag) : null };
}

/** What is only for now is tried again. */
function failureOf(status: number): Error {
  const message = `the list answered ${status}`;
  return status >= 500 || [408, 429].includes(status) ? new Error(message) : new NonRetryableError(message);
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > mostBytes) throw new NonRetryableError(`a page of the list has more than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function read(text: string): z.output<typeof bodySchema> {
  const found = bodySchema.safeParse(parsed(text));
  if (found.success) return found.data;
  throw new NonRetryableError('a page of the list is neither a JSON array nor { "items": […], "next": … }');
}

/** One that was cut off on its way is whole another time. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('a page of the list is no JSON');
  }
}

function linkedNext(link: string): string | null {
  return /<([^<>]*)>[^<]*;\s*rel="?next\b/i.exec(link)?.[1] ?? null;
}

/** What a list says goes nowhere else: it was the operator who said which host may be asked. */
function behind(url: string, next: string): string {
  const target = URL.canParse(next, url) ? new URL(next, url) : null;
  if (target?.origin !== new URL(url).origin)
    throw new NonRetryableError('the next page of the list is of another origin');
  if (target.href === new URL(url).href) throw new NonRetryableError('the next page of the list is the same page');
  return target.href;
}
