import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { ApiKey, Scope } from '../config.js';
import { RondoError } from '../errors.js';
import { isFromAllowedOrigin } from './cors.js';
import { keyOfSecret, type Principal, principalOf, secretIn } from './keys.js';
import type { createSessions } from './session.js';
import type { SignIns } from './sign-ins.js';

export interface IdentifyInput {
  readonly keys: () => readonly ApiKey[];
  readonly sessions: ReturnType<typeof createSessions>;
  readonly signIns: SignIns;
}

/** Finds out who asks: by an Authorization header, else by a session. A wrong key is refused, not taken for none. */
export function identify({ keys, sessions, signIns }: IdentifyInput): RequestHandler {
  const principals = new WeakMap<ApiKey, Principal>();
  const become = (key: ApiKey, request: Request, response: Response) => {
    refuseOtherOrigins(request, response);
    const principal = principals.get(key) ?? principalOf(key);
    principals.set(key, principal);
    response.locals.principal = principal;
  };
  return (request, response, next) => {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      const key = sessions.keyOf(request);
      if (key) become(key, request, response);
      return next();
    }
    const secret = secretIn(authorization);
    const key = secret === null ? null : keyOfSecret(keys(), secret);
    if (!key) return signIns.refuse(request, 'authorization').then(next, next);
    signIns.accept(request, key.name);
    become(key, request, response);
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
export function refuseOtherOrigins(request: Request, response: Response): void {
  if (['GET', 'HEAD', 'OPTIONS'].includes(request.method)) return;
  const { origin, 'sec-fetch-site': site } = request.headers;
  const ours = site === undefined ? origin === undefined || hostOf(origin) === request.host : site === 'same-origin';
  if (!ours && !isFromAllowedOrigin(request, response)) throw new RondoError('origin-refused', String(origin ?? site));
}

function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}
