import { createHash } from 'node:crypto';
import type { Dispatcher } from 'undici';
import { z } from 'zod';

/** What a dead man's switch is told: that a run begins, has succeeded, or has failed for good. */
export type Ping = 'start' | 'success' | 'fail';

/** A switch that has not answered after this, in ms, is left alone. */
const pingTimeoutMs = 5_000;

/** The mark that stands for what is left out of a URL: nobody puts it back as one. */
const leftOut = '…';

export const healthcheckSchema = z
  .string()
  .refine(isPingable, { error: 'an http or https URL without credentials, query and fragment' });

/**
 * Where a ping goes (https://healthchecks.io/docs/http_api/).
 *
 * @param run by whose id the service tells overlapping runs apart
 */
export function pingUrl(base: string, ping: Ping, run?: string): URL {
  const url = new URL(base);
  if (ping !== 'success') url.pathname = `${url.pathname.replace(/\/$/, '')}/${ping}`;
  if (run !== undefined) url.searchParams.set('rid', uuidOf(run));
  return url;
}

/** @returns what was wrong, without the URL, or null. Never rejects */
export async function ping(url: URL, dispatcher?: Dispatcher): Promise<string | null> {
  try {
    const { request } = await import('undici');
    const response = await request(url, {
      headers: { 'user-agent': 'rondo' },
      signal: AbortSignal.timeout(pingTimeoutMs),
      reset: true,
      ...(dispatcher && { dispatcher }),
    });
    response.body.on('error', () => {}).destroy();
    const { statusCode } = response;
    return statusCode >= 200 && statusCode < 300 ? null : `it answered ${statusCode}`;
  } catch (error) {
    // What the client says may hold the whole address; what refused it says why.
    const { code, name, message } = error as Error & { code?: unknown };
    return name === 'NonRetryableError' ? message : String(code ?? name);
  }
}

/** A URL as people and logs are shown it: what comes after the host is a secret, since who knows it may ping it. */
export function shownUrl(text: string): string {
  if (!URL.canParse(text)) return leftOut;
  const { origin, pathname, search } = new URL(text);
  return pathname === '/' && search === '' ? origin : `${origin}/${leftOut}`;
}

function isPingable(text: string): boolean {
  if (text.includes(leftOut) || !URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && !username && !password && !search && !hash;
}

function uuidOf(run: string): string {
  const digest = createHash('sha256').update(run).digest('hex');
  const [, a, b, c, d] = /^(.{8})(.{4}).(.{3}).(.{3})/.exec(digest) ?? [];
  return `${a}-${b}-5${c}-8${d}-${digest.slice(20, 32)}`;
}
