import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { CookieOptions, Request, Response } from 'express';
import type { Broker } from '../broker/queues.js';
import type { ApiKey } from '../config.js';

const cookieName = 'rondo_session';
const lastsMs = 12 * 3_600_000;

/**
 * Sessions in a signed cookie, good for 12 h: any api process with the same keys understands them, a restart ends
 * none, and a key that is taken away or changed ends its own.
 *
 * @param secret what all api processes share, and who reads a file of hashed keys does not know
 */
export function createSessions(keys: () => readonly ApiKey[], now: () => number, secret: () => string) {
  const sign = (key: ApiKey, value: string) =>
    createHmac('sha256', Buffer.concat([key.digest, Buffer.from(secret())]))
      .update(`session.${value}`)
      .digest('base64url');
  return {
    begin(request: Request, response: Response, key: ApiKey): void {
      const expiresAt = now() + lastsMs;
      const value = `${key.name}.${expiresAt}`;
      response.cookie(cookieName, `${value}.${sign(key, value)}`, { ...cookieOptions(request), maxAge: lastsMs });
    },
    end(request: Request, response: Response): void {
      response.clearCookie(cookieName, cookieOptions(request));
    },
    keyOf(request: Request): ApiKey | null {
      const [name, expiresAt, signature = ''] = cookieIn(request).split('.');
      const key = keys().find((candidate) => candidate.name === name);
      if (!key || !(Number(expiresAt) > now())) return null;
      return equal(signature, sign(key, `${name}.${expiresAt}`)) ? key : null;
    },
  };
}

/** What sessions are signed with beside their key: made by the first api process, and the same for all. */
export async function readSessionSecret({ client, keys }: Broker): Promise<string> {
  await client.setnx(keys.sessionSecret, randomBytes(32).toString('base64url'));
  const secret = await client.get(keys.sessionSecret);
  if (!secret) throw new Error(`${keys.sessionSecret} is gone`);
  return secret;
}

function cookieOptions(request: Request): CookieOptions {
  // What a proxy says of TLS counts where RONDO_TRUST_PROXY names it.
  return { httpOnly: true, sameSite: 'strict', secure: request.secure, path: '/' };
}

function equal(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function cookieIn(request: Request): string {
  const cookies = (request.headers.cookie ?? '').split(/; */);
  const found = cookies.find((cookie) => cookie.startsWith(`${cookieName}=`));
  return found?.slice(cookieName.length + 1) ?? '';
}
