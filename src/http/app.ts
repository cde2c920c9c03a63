import express, { type Express } from 'express';
import helmet from 'helmet';
import type { Broker } from '../broker/queues.js';
import type { ApiKey } from '../config.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import { boardRoutes } from './board.js';
import { identify, principalIn, requireKey } from './guard.js';
import { problemHandler } from './problem.js';
import { healthRoutes } from './routes/health.js';
import { jobRoutes } from './routes/jobs.js';
import { runRoutes } from './routes/runs.js';
import { signInRoutes } from './routes/sign-in.js';
import { createSessions } from './session.js';

export interface AppInput {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly keys: readonly ApiKey[];
  readonly emit: Emit;
  readonly now: () => number;
}

/** Everything that is served: the API, Bull Board, and what probes ask. */
export function createApp({ broker, registry, keys, emit, now }: AppInput): Express {
  const sessions = createSessions(keys, now);
  const report = (error: unknown) => emit({ type: 'http.failed', error });
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);

  app.use(tellRequests(emit));
  app.use(helmet(securityHeaders));
  app.use(healthRoutes(broker));
  app.use(identify(keys, sessions));
  app.use(signInRoutes(keys, sessions));
  app.use(requireKey);
  app.use(jobRoutes(registry));
  app.use(runRoutes(broker, registry, now));
  app.use(boardRoutes(broker, registry, report));
  app.get('/', (_request, response) => response.redirect(303, '/board'));
  app.use((request) => {
    throw new RondoError('route-unknown', `${request.method} ${request.path}`);
  });
  app.use(problemHandler(report));
  return app;
}

/** Bull Board styles its elements in place, and would load fonts from elsewhere, which it does without. */
const securityHeaders = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'self'"],
      styleSrc: ["'self'", "'unsafe-inline'"],
      imgSrc: ["'self'", 'data:'],
      objectSrc: ["'none'"],
      baseUri: ["'self'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
  },
  // With less than this browsers call a form's origin "null", our own pages' too.
  referrerPolicy: { policy: 'same-origin' },
  // Whether a proxy before us speaks TLS is the proxy's to say.
  strictTransportSecurity: false,
} as const;

function tellRequests(emit: Emit): express.RequestHandler {
  return (request, response, next) => {
    const startedAt = performance.now();
    const { method, path } = request;
    response.on('finish', () => {
      const durationMs = Math.round(performance.now() - startedAt);
      const key = principalIn(response)?.name ?? null;
      emit({ type: 'http.answered', method, path, status: response.statusCode, durationMs, key });
    });
    next();
  };
}
