import { createHmac, timingSafeEqual } from 'node:crypto';
import type { CookieOptions, Request, Response } from 'express';
import type { ApiKey } from '../config.js';

const cookieName = 'rondo_session';
const lastsMs = 12 * 3_600_000;

/**
 * Sessions in a signed cookie, good for 12 h: any api process with the same keys understands them, a restart ends
 * none, and a key that is taken away or changed ends its own.
 */
export function createSessions(keys: readonly ApiKey[], now: () => number) {
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
      const key = keys.find((candidate) => candidate.name === name);
      if (!key || !(Number(expiresAt) > now())) return null;
      return equal(signature, sign(key, `${name}.${expiresAt}`)) ? key : null;
    },
  };
}

function cookieOptions(request: Request): CookieOptions {
  // Whoever claims TLS of a proxy without one there loses but a cookie of its own.
  const secure = request.secure || request.headers['x-forwarded-proto'] === 'https';
  return { httpOnly: true, sameSite: 'strict', secure, path: '/' };
}

function sign(key: ApiKey, value: string): string {
  return createHmac('sha256', key.digest).update(`session.${value}`).digest('base64url');
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
