import express, { type Request, Router } from 'express';
import type { ApiKey } from '../../config.js';
import { RondoError } from '../../errors.js';
import { principalIn, refuseOtherOrigins } from '../guard.js';
import { keyOfSecret } from '../keys.js';
import { signInPage, signOutPage } from '../pages.js';
import type { createSessions } from '../session.js';
import type { SignIns } from '../sign-ins.js';

interface SignInInput {
  readonly keys: () => readonly ApiKey[];
  readonly sessions: ReturnType<typeof createSessions>;
  readonly signIns: SignIns;
  /** Keeps that somebody signed in or out. */
  readonly note: (request: Request, action: string, who: string) => Promise<void>;
}

/** Sign-in with a key, for people in a browser. */
export function signInRoutes({ keys, sessions, signIns, note }: SignInInput): Router {
  const routes = Router();
  const form = express.urlencoded({ extended: false, limit: '10kb' });

  routes.get('/login', (request, response) => {
    response.send(signInPage({ next: nextOf(request.query.next), trouble: null }));
  });

  routes.post('/login', form, async (request, response) => {
    refuseOtherOrigins(request, response);
    const { key: secret, next } = (request.body ?? {}) as { key?: unknown; next?: unknown };
    const key = typeof secret === 'string' ? keyOfSecret(keys(), secret.trim()) : null;
    try {
      if (!key) return await signIns.refuse(request, 'form');
      signIns.accept(request, key.name);
    } catch (error) {
      if (!(error instanceof RondoError)) throw error;
      const trouble = error.code === 'sign-ins-limited' ? error.message : 'That is no key of this server';
      response.status(error.status).send(signInPage({ next: nextOf(next), trouble }));
      return;
    }
    sessions.begin(request, response, key);
    await note(request, 'sign-in', key.name);
    response.redirect(303, nextOf(next));
  });

  routes.get('/logout', (_request, response) => {
    const principal = principalIn(response);
    if (principal) response.send(signOutPage(principal.name));
    else response.redirect(303, '/login');
  });

  routes.post('/logout', async (request: Request, response) => {
    refuseOtherOrigins(request, response);
    sessions.end(request, response);
    const principal = principalIn(response);
    if (principal) await note(request, 'sign-out', principal.name);
    response.redirect(303, '/login');
  });

  return routes;
}

/** Only a path of ours: a link to the sign-in page must not lead elsewhere afterwards. */
function nextOf(given: unknown): string {
  return typeof given === 'string' && /^\/(?![/\\])[^\s\\]*$/.test(given) ? given : '/board';
}
