import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { ApiKey, Scope } from '../config.js';
import { RondoError } from '../errors.js';
import { keyOfSecret, type Principal, principalOf, secretIn } from './keys.js';
import type { createSessions } from './session.js';

/** Finds out who asks: by an Authorization header, else by a session. A wrong key is refused, not taken for none. */
export function identify(keys: readonly ApiKey[], sessions: ReturnType<typeof createSessions>): RequestHandler {
  const principals = new Map(keys.map((key) => [key, principalOf(key)]));
  return (request, response, next) => {
    const { authorization } = request.headers;
    const secret = secretIn(authorization);
    const key = authorization === undefined ? sessions.keyOf(request) : secret && keyOfSecret(keys, secret);
    if (authorization !== undefined && !key) throw new RondoError('unauthenticated', 'that is no key of this server');
    if (key) {
      refuseOtherOrigins(request);
      response.locals.principal = principals.get(key);
    }
    next();
  };
}

/** Lets a request pass whose key has the scope. */
export function requires(scope: Scope): RequestHandler {
  return (_request, response, next) => {
    const principal = principalIn(response);
    if (!principal?.may(scope)) throw new RondoError('forbidden', `"${principal?.name}" may not ${scope}`);
    next();
  };
}

/** Nothing beyond this point is for strangers; in a browser they are asked to sign in, and come back afterwards. */
export function requireKey(request: Request, response: Response, next: NextFunction): void {
  if (principalIn(response)) next();
  else if (request.method === 'GET' && request.headers.accept?.includes('text/html')) {
    response.redirect(303, `/login?next=${encodeURIComponent(request.originalUrl)}`);
  } else throw new RondoError('unauthenticated', 'send "Authorization: Bearer <key>", or sign in');
}

export function principalIn(response: Response): Principal | null {
  return (response.locals.principal as Principal | undefined) ?? null;
}

/**
 * A browser sends its cookie, and a password that it was once told, whichever page asked: what changes something must
 * come from one of ours. Who is no browser names no origin.
 *
 * @throws RondoError `origin-refused`
 */
export function refuseOtherOrigins(request: Request): void {
  if (['GET', 'HEAD', 'OPTIONS'].includes(request.method)) return;
  const { origin, host, 'sec-fetch-site': site } = request.headers;
  const ours = site === undefined ? origin === undefined || hostOf(origin) === host : site === 'same-origin';
  if (!ours) throw new RondoError('origin-refused', String(origin ?? site));
}

function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}
