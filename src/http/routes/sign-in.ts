import express, { type Request, Router } from 'express';
import type { ApiKey } from '../../config.js';
import { principalIn, refuseOtherOrigins } from '../guard.js';
import { keyOfSecret } from '../keys.js';
import { signInPage, signOutPage } from '../pages.js';
import type { createSessions } from '../session.js';

/** Sign-in with a key, for people in a browser. */
export function signInRoutes(keys: readonly ApiKey[], sessions: ReturnType<typeof createSessions>): Router {
  const routes = Router();
  const form = express.urlencoded({ extended: false, limit: '10kb' });

  routes.get('/login', (request, response) => {
    response.send(signInPage({ next: nextOf(request.query.next), wrong: false }));
  });

  routes.post('/login', form, (request, response) => {
    refuseOtherOrigins(request);
    const { key: secret, next } = (request.body ?? {}) as { key?: unknown; next?: unknown };
    const key = typeof secret === 'string' ? keyOfSecret(keys, secret.trim()) : null;
    if (!key) {
      response.status(401).send(signInPage({ next: nextOf(next), wrong: true }));
      return;
    }
    sessions.begin(request, response, key);
    response.redirect(303, nextOf(next));
  });

  routes.get('/logout', (_request, response) => {
    const principal = principalIn(response);
    if (principal) response.send(signOutPage(principal.name));
    else response.redirect(303, '/login');
  });

  routes.post('/logout', (request: Request, response) => {
    refuseOtherOrigins(request);
    sessions.end(request, response);
    response.redirect(303, '/login');
  });

  return routes;
}

/** Only a path of ours: a link to the sign-in page must not lead elsewhere afterwards. */
function nextOf(given: unknown): string {
  return typeof given === 'string' && /^\/(?![/\\])[^\s\\]*$/.test(given) ? given : '/board';
}
