import { AsyncResource } from 'node:async_hooks';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import helmet from 'helmet';
import type { Broker } from '../broker/queues.js';
import type { ApiKey, Config } from '../config.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import type { Registry } from '../jobs/registry.js';
import type { RunWatch } from '../producers/run-watch.js';
import type { Deployment } from '../producers/schedules.js';
import { auditChanges, auditSignIn } from './audit.js';
import { boardRoutes } from './board.js';
import { compressReads } from './compress.js';
import { cors } from './cors.js';
import { identify, principalIn, requireKey } from './guard.js';
import { problemHandler } from './problem.js';
import { limitKeys } from './rate-limit.js';
import { createReadiness, type Part } from './readiness.js';
import { restrictToJobs } from './restrict.js';
import { auditRoutes } from './routes/audit.js';
import { backfillRoutes } from './routes/backfills.js';
import { docsRoutes } from './routes/docs.js';
import { doctorRoutes } from './routes/doctor.js';
import { healthRoutes } from './routes/health.js';
import { jobPauseRoutes } from './routes/job-pause.js';
import { jobRoutes } from './routes/jobs.js';
import { metricsRoutes, type ReadMetrics } from './routes/metrics.js';
import { planRoutes } from './routes/plan.js';
import { redriveRoutes } from './routes/redrive.js';
import { runEventRoutes } from './routes/run-events.js';
import { runRoutes } from './routes/runs.js';
import { scheduleRoutes } from './routes/schedules.js';
import { signInRoutes } from './routes/sign-in.js';
import { workerRoutes } from './routes/workers.js';
import { createSessions } from './session.js';
import { createSignIns } from './sign-ins.js';
import { assetRoutes } from './site/assets.js';
import type { Live } from './site/live.js';
import { siteRoutes } from './site/site.js';
import { hasWaited } from './waits.js';

export interface AppInput {
  readonly broker: Broker;
  readonly registry: Registry;
  /** Whose jobs these are. */
  readonly deployment: Deployment;
  /** Who may ask, at this moment. */
  readonly keys: () => readonly ApiKey[];
  /** What sessions are signed with beside their key. */
  readonly sessionSecret: () => string;
  readonly settings: Pick<Config['http'], 'rateLimit' | 'trustProxy' | 'corsOrigins'>;
  /** What is odd about the settings of the process, told by `/v1/doctor`. */
  readonly warnings: readonly string[];
  /** By which callers wait for runs. */
  readonly watch: RunWatch;
  /** That keeps pages up to date. */
  readonly live: Live;
  readonly emit: Emit;
  readonly now: () => number;
  /** What `/metrics` answers. */
  readonly metrics: ReadMetrics;
  /** What else this process does, told beside the API by `/readyz`. */
  readonly parts?: readonly Part[];
  /** Runs each request of the API in a trace. */
  readonly traceRequests?: express.RequestHandler | undefined;
}

/** Everything that is served: the API, Bull Board, and what probes ask. */
export function createApp(input: AppInput): Express {
  const { broker, registry, deployment, keys, sessionSecret, settings, emit, now, watch, live, metrics } = input;
  const { warnings, parts = [], traceRequests } = input;
  const sessions = createSessions(keys, now, sessionSecret);
  const noteSignIn = auditSignIn({ broker, emit });
  const signIns = createSignIns(broker, now, (request, how) => noteSignIn(request, `sign-in refused (${how})`, null));
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.set('trust proxy', settings.trustProxy);

  const known = identify({ keys, sessions, signIns });
  const compressed = compressReads();
  if (traceRequests) app.use('/v1', traceRequests);
  app.use(tellRequests(emit, traceRequests ? AsyncResource.bind : (told) => told));
  // First, and with few stops on the way, what other services call a thousand times a second.
  const api = express.Router();
  if (settings.corsOrigins.length > 0) api.use(cors(settings.corsOrigins));
  api.use(answerHeaders, known, requireKey, compressed);
  const limits = settings.rateLimit ? [limitKeys(broker, settings.rateLimit, emit)] : [];
  const restrict = restrictToJobs(broker, registry);
  api.use(...limits, restrict, auditChanges({ broker, registry, emit }, 'api'));
  api.use(runRoutes({ broker, registry, emit, now, watch }));
  api.use(runEventRoutes(broker, registry, watch));
  api.use(jobRoutes(broker, registry, deployment));
  api.use(jobPauseRoutes(broker, registry, now));
  api.use(redriveRoutes(broker, registry));
  api.use(scheduleRoutes({ broker, registry, emit, now }));
  api.use(backfillRoutes(broker, now));
  api.use(workerRoutes(broker, now));
  api.use(planRoutes(broker, { registry, deployment, now }, emit));
  api.use(doctorRoutes(broker, { registry, deployment, warnings, now }));
  api.use(auditRoutes(broker));
  api.use(unknownRoute);
  app.use('/v1', api);
  app.use(helmet(pageHeaders), compressed);
  app.use(healthRoutes(createReadiness(broker, parts, now)), assetRoutes());
  app.use(known, signInRoutes({ keys, sessions, signIns, note: noteSignIn }), requireKey, docsRoutes(registry));
  const guardChanges = [...limits, restrict, auditChanges({ broker, registry, emit }, 'page')];
  app.use(siteRoutes({ broker, registry, emit, now, live, restrict, guardChanges }));
  app.use(metricsRoutes(metrics));
  app.use('/board/api', auditChanges({ broker, registry, emit }, 'board'));
  app.use(boardRoutes(broker, registry));
  app.get('/', (_request, response) => response.redirect(303, '/board'));
  app.use(unknownRoute);
  app.use(problemHandler((error) => emit({ type: 'http.failed', error })));
  return app;
}

/** For answers that no browser shows as a page: helmet's own set costs an enqueue a tenth of its time. */
function answerHeaders(_request: Request, response: Response, next: NextFunction): void {
  response.setHeader('Content-Security-Policy', "default-src 'none';frame-ancestors 'none'");
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Cache-Control', 'no-store');
  next();
}

function unknownRoute({ method, originalUrl }: Request): never {
  throw new RondoError('route-unknown', `${method} ${originalUrl.replace(/\?.*$/, '')}`);
}

/** Bull Board styles its elements in place, and would load fonts from elsewhere, which it does without. */
const pageHeaders = {
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

/**
 * Those that waited for something else than us, a stream of events or a wait for a run, are told only where they were
 * refused: how long they took says nothing of us.
 *
 * @param bind keeps a listener in the trace of the request: an answer may be finished in another's
 */
function tellRequests(emit: Emit, bind: (told: () => void) => () => void): express.RequestHandler {
  return (request, response, next) => {
    const startedAt = performance.now();
    const { method, path } = request;
    const told = () => {
      // Nginx's status for a caller who has gone before the answer.
      const status = response.writableFinished ? response.statusCode : 499;
      if (hasWaited(response) && (status < 400 || status === 499)) return;
      const durationMs = Math.round(performance.now() - startedAt);
      const key = principalIn(response)?.name ?? null;
      emit({ type: 'http.answered', method, path, status, durationMs, key });
    };
    response.on('close', bind(told));
    next();
  };
}
