import { type Dispatcher, request } from 'undici';
import { z } from 'zod';
import { NonRetryableError, RetryLaterError } from '../../errors.js';
import { defineJob } from '../define-job.js';
import { type Allowance, checkUrl, createGuardedAgent, type Resolve } from '../guarded-agent.js';

export interface HttpRequestSettings {
  /** Hosts, addresses and networks that may be called though they are not public. */
  readonly allow: Allowance;
  /** How names are resolved, instead of the system's way. */
  readonly resolve?: Resolve;
}

const keptBytes = 64 * 1_024;
const maxRedirects = 5;
/** A server that asks for more patience than this, in ms, is asked again after it. */
const maxRetryAfterMs = 24 * 3_600_000;

const payloadSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/, error: 'an http or https URL' }),
  method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']).default('GET'),
  headers: z.record(z.string().regex(/^[!#$%&'*+.^_`|~\w-]+$/), z.string().regex(/^[^\r\n]*$/)).default({}),
  /** Text is sent as it is, anything else as JSON. */
  body: z.json().optional(),
  /** Statuses that count as success; all of 200 to 299 unless told. */
  expect: z.array(z.int().min(100).max(599)).min(1).optional(),
});

type Payload = z.output<typeof payloadSchema>;

/** Calls a URL: what a cron beside a `curl` does, with retries and a record. */
export function httpRequest({ allow, resolve }: HttpRequestSettings) {
  const agent = createGuardedAgent(allow, resolve);
  return defineJob({
    name: 'http-request',
    description: 'Calls a URL and expects a status',
    payload: payloadSchema,
    retry: { attempts: 5, delay: '2s', maxDelay: '10m' },
    concurrency: 20,
    async run({ payload, signal }) {
      const startedAt = performance.now();
      const { response, url } = await call(payload, signal);
      const { statusCode: status, headers } = response;
      const { body, truncated } = await beginningOf(response.body);
      if (!isExpected(status, payload.expect)) throw failureOf(status, headers['retry-after']);
      return { status, durationMs: Math.round(performance.now() - startedAt), url, body, truncated };
    },
  });

  /** Follows redirects itself, so that each hop is judged anew. */
  async function call(payload: Payload, signal: AbortSignal) {
    let hop = firstHop(payload);
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      const { url, ...options } = hop;
      checkUrl(url, allow);
      const response = await request(url, { ...options, signal, dispatcher: agent });
      const next = payload.expect?.includes(response.statusCode) ? null : nextHop(hop, response);
      if (!next) return { response, url: url.href };
      await response.body.dump();
      hop = next;
    }
    throw new NonRetryableError(`more than ${maxRedirects} redirects`);
  }
}

interface Hop {
  readonly url: URL;
  readonly method: Payload['method'];
  readonly headers: Record<string, string>;
  readonly body: string | null;
}

function firstHop({ url, method, headers, body }: Payload): Hop {
  const own: Record<string, string> = { 'user-agent': 'rondo' };
  if (body !== undefined && typeof body !== 'string') own['content-type'] = 'application/json';
  for (const [name, value] of Object.entries(headers)) own[name.toLowerCase()] = value;
  return { url: new URL(url), method, headers: own, body: body === undefined ? null : textOf(body) };
}

/** Where a response sends us, or null. As browsers do: 301 to 303 turn a POST into a GET; a secret stays with its origin. */
function nextHop(
  { url, method, headers, body }: Hop,
  { statusCode, headers: received }: Dispatcher.ResponseData,
): Hop | null {
  const { location } = received;
  if (![301, 302, 303, 307, 308].includes(statusCode) || typeof location !== 'string') return null;
  const target = new URL(location, url);
  const kept = target.origin === url.origin ? headers : withoutSecrets(headers);
  const asGet = statusCode < 307 && method !== 'GET' && method !== 'HEAD';
  return asGet
    ? { url: target, method: 'GET', headers: kept, body: null }
    : { url: target, method, headers: kept, body };
}

const textOf = (body: unknown) => (typeof body === 'string' ? body : JSON.stringify(body));

function withoutSecrets({ authorization: _, cookie: __, 'proxy-authorization': ___, ...rest }: Record<string, string>) {
  return rest;
}

function isExpected(status: number, expected?: readonly number[]): boolean {
  return expected ? expected.includes(status) : status >= 200 && status < 300;
}

function failureOf(status: number, retryAfter: string | string[] | undefined): Error {
  const message = `the server answered ${status}`;
  if (![408, 429].includes(status) && status < 500) return new NonRetryableError(message);
  const delayMs = [429, 503].includes(status) ? delayIn(String(retryAfter ?? '')) : null;
  return delayMs === null ? new Error(message) : new RetryLaterError(message, delayMs);
}

/** Seconds, or an HTTP date (RFC 9110, 10.2.3). */
function delayIn(retryAfter: string): number | null {
  const ms = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), maxRetryAfterMs);
}

async function beginningOf(stream: AsyncIterable<Buffer>): Promise<{ body: string; truncated: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > keptBytes) break;
  }
  return { body: Buffer.concat(chunks).subarray(0, keptBytes).toString('utf8'), truncated: size > keptBytes };
}
