import type { Agent, Dispatcher } from 'undici';
import { z } from 'zod';
import { NonRetryableError, RetryLaterError } from '../errors.js';
import { type Allowance, checkUrl, createGuardedAgent, type Resolve } from './guarded-agent.js';

const maxRedirects = 5;
/** A server that asks for more patience than this, in ms, is asked again after it. */
const maxRetryAfterMs = 24 * 3_600_000;

export const httpUrlSchema = z
  .url({ protocol: /^https?$/, error: 'an http or https URL' })
  .refine(hasNoCredentials, { error: 'a URL without credentials, which an authorization header carries' });

export const headersSchema = z.record(
  z.string().regex(/^[!#$%&'*+.^_`|~\w-]+$/, { error: "a header's name" }),
  z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/, { error: 'one line of Latin-1' }),
);

export interface Call {
  readonly url: string;
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  /** Text is sent as it is, anything else as JSON. */
  readonly body?: unknown;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** Of the run, for whoever is called: a header of this name of the call's own goes before it. */
  readonly traceparent: string | null;
  /** A redirect with such a status is the answer, and not followed. */
  readonly isExpected?: (status: number) => boolean;
}

/** Calls public addresses and those that are allowed; redirects are followed one by one, so that each is judged anew. */
export function createCaller(allow: Allowance, resolve?: Resolve) {
  // With the first call: loading the client takes a tenth of a second, and few processes call anything.
  let agent: Promise<Agent> | undefined;
  return async (call: Call, { signal, traceparent, isExpected = () => false }: CallOptions) => {
    agent ??= createGuardedAgent(allow, resolve);
    const [{ request }, dispatcher] = await Promise.all([import('undici'), agent]);
    let hop = firstHop(call, traceparent);
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      const { url, ...options } = hop;
      checkUrl(url, allow);
      const response = await request(url, { ...options, signal, dispatcher }).catch(refuseForGood);
      const next = isExpected(response.statusCode) ? null : nextHop(hop, response);
      if (!next) return { response, url: url.href };
      // Nobody knows how long it would take to come; a connection that is not used again is the lesser price.
      response.body.on('error', () => {}).destroy();
      hop = next;
    }
    throw new NonRetryableError(`more than ${maxRedirects} redirects`);
  };
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** What to throw after a status that was not hoped for: whether, and when, another attempt is worth it. */
export function failureOf(status: number, retryAfter: string | string[] | undefined): Error {
  const message = `the server answered ${status}`;
  if (![408, 429].includes(status) && status < 500) return new NonRetryableError(message);
  const delayMs = [429, 503].includes(status) ? delayIn(String(retryAfter ?? '')) : null;
  return delayMs === null ? new Error(message) : new RetryLaterError(message, delayMs);
}

/** Seconds, or an HTTP date (RFC 9110, 10.2.3). Null where it says nothing that can be waited for. */
function delayIn(retryAfter: string): number | null {
  const seconds = /^\d+$/.test(retryAfter);
  // Date.parse finds a year in almost everything; an HTTP date begins with its weekday.
  if (!seconds && !/^[A-Z][a-z]+,? /.test(retryAfter)) return null;
  const ms = seconds ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  return ms > 0 ? Math.min(ms, maxRetryAfterMs) : null;
}

/** What the client refuses to send, such as a `content-length` that is not the body's, it refuses at every attempt. */
function refuseForGood(error: Error & { code?: string }): never {
  const refused = ['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED', 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH'];
  throw refused.includes(error.code ?? '') ? new NonRetryableError(error.message) : error;
}

interface Hop {
  readonly url: URL;
  readonly method: NonNullable<Call['method']>;
  readonly headers: Record<string, string>;
  readonly body: string | null;
}

function firstHop({ url, method = 'GET', headers = {}, body }: Call, traceparent: string | null): Hop {
  const own: Record<string, string> = { 'user-agent': 'rondo', ...(traceparent !== null && { traceparent }) };
  if (body !== undefined && typeof body !== 'string') own['content-type'] = 'application/json';
  for (const [name, value] of Object.entries(headers)) own[name.toLowerCase()] = value;
  return { url: new URL(url), method, headers: own, body: body === undefined ? null : textOf(body) };
}

/**
 * Where a response sends us, or null. As browsers do: after 303, and after 301 and 302 for a POST, it is a GET without a
 * body; a secret stays with its origin.
 */
function nextHop(
  { url, method, headers, body }: Hop,
  { statusCode, headers: received }: Dispatcher.ResponseData,
): Hop | null {
  const { location } = received;
  if (![301, 302, 303, 307, 308].includes(statusCode) || typeof location !== 'string') return null;
  if (!URL.canParse(location, url.href)) return null;
  const target = new URL(location, url);
  const kept = target.origin === url.origin ? headers : withoutSecrets(headers);
  const asGet = (statusCode === 303 && method !== 'HEAD') || (statusCode < 303 && method === 'POST');
  return asGet
    ? { url: target, method: 'GET', headers: withoutContent(kept), body: null }
    : { url: target, method, headers: kept, body };
}

const textOf = (body: unknown) => (typeof body === 'string' ? body : JSON.stringify(body));

function hasNoCredentials(url: string): boolean {
  if (!URL.canParse(url)) return true; // told already
  const { username, password } = new URL(url);
  return username === '' && password === '';
}

/** Any header may hold a secret, but for these. */
function withoutSecrets(headers: Record<string, string>): Record<string, string> {
  const harmless = ['accept', 'accept-language', 'content-type', 'user-agent'];
  return Object.fromEntries(Object.entries(headers).filter(([name]) => harmless.includes(name)));
}

function withoutContent({ 'content-type': _, 'content-length': __, ...rest }: Record<string, string>) {
  return rest;
}
