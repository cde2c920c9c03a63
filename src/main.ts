import { createHash, randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Profile, ReachableRedis } from './broker/connection.js';
import { startEmbedded } from './broker/embedded.js';
import { type Broker, openBroker } from './broker/queues.js';
import { createPresence } from './broker/releases.js';
import { createSelf } from './broker/self.js';
import { type ApiKey, type Config, type RedisSettings, readKeysFile } from './config.js';
import { formatDuration } from './duration.js';
import { RondoError } from './errors.js';
import { createKeysFile } from './http/keys-file.js';
import { createApiServer } from './http/server.js';
import { supplySweep } from './jobs/catalog/sweep-retention.js';
import type { Emit, RondoEvent } from './jobs/events.js';
import { loadRegistry } from './jobs/load.js';
import type { Registry } from './jobs/registry.js';
import { createLifecycle, untilSignal } from './lifecycle.js';
import { createLiveness, httpTrouble, redisTrouble, type Watched } from './observability/liveness.js';
import { createLogger, logEvents } from './observability/logger.js';
import { createMetrics, type Metrics } from './observability/metrics.js';
import { createProbes } from './observability/probes.js';
import { tellRedisOnce } from './observability/redis-news.js';
import type { Tracing } from './observability/tracing.js';
import { watchVitalSigns } from './observability/vital-signs.js';
import { createDatabase } from './postgres/database.js';
import { createChildren } from './producers/children.js';
import { createFigures } from './producers/figures.js';
import { createSupervisor } from './producers/supervisor.js';
import { createSweep } from './producers/sweep.js';
import { trimMemory } from './trim-memory.js';
import { createPool } from './workers/pool.js';
import { containStrayErrors } from './workers/stray-errors.js';

export type Role = 'producer' | 'worker' | 'api';

/**
 * The service: from the settings to the parts of each role, until a signal stops them.
 *
 * @param only the jobs that the worker takes, all that are enabled unless told
 * @throws RondoError where it cannot start, and what brought it down where it crashed
 */
export async function runService(config: Config, roles: readonly Role[], only?: readonly string[]): Promise<void> {
  const tracing = await traced(config);
  const logger = createLogger(config.logLevel, undefined, tracing?.ids);
  const isAsked = roles.includes('api') || config.http.metricsPort !== null;
  const metrics = createMetrics({ app: config.app, release: config.release, process: isAsked });
  const log = logEvents(logger);
  const emit = tellRedisOnce((event) => {
    tracing?.note(event);
    log(event);
    if (isAsked) metrics.note(event);
  });
  const parts = createLifecycle();
  const crash = createCrash(emit);
  const signal = untilSignal();
  let graceMs = config.shutdownGrace;

  try {
    // First, and last to stop: a jobs module may leave timers and listeners of its own behind.
    await parts.start(containStrayErrors(emit, crash.report));
    if (tracing) await parts.start(tracing.service(emit));
    const probed = await startProbes(config, parts, metrics, logger);
    const database = config.catalog.database && createDatabase(config.catalog.database);
    if (database) await parts.start(database);
    const registry = await loadRegistry(config.jobsModule, { ...config.catalog, database }, config.switches);
    await trimMemory();
    const redis = await reachable(config.redis, parts, (error) => {
      graceMs = 0; // nothing is left that would keep what still runs
      crash.report(error);
    });
    const { app, release } = config;
    const self = createSelf({ roles, app, release, vitalSigns: watchVitalSigns(), now: Date.now });
    const shared: Shared = { config, registry, redis, parts, logger, emit, metrics, tracing, self };
    const watched: Watched[] = [];
    if (roles.includes('worker')) watched.push(await startWorker(shared, only));
    if (roles.includes('producer')) watched.push(await startProducer(shared));
    if (roles.includes('api')) watched.push(await startApi(shared, [...watched]));
    if (isAsked) await parts.start(metrics.pings);
    await parts.start(createLiveness(watched, (message) => logger.warn(message)));
    for (const warning of config.warnings) logger.warn(warning);
    // Without its address no command reaches an embedded server, however quiet the log is to be.
    const told = config.redis.kind === 'embedded' ? atAnyLevel(logger) : logger;
    told.info(
      { app: config.app, release: config.release },
      `${roles.join(' and ')} started, with Redis at ${redis.shown}`,
    );
    crash.isRunning();
    probed.parts = watched;
    await Promise.race([signal, crash.happened]);
    probed.parts = 'stopping';
    self.stops();
    logger.info(`stopping: what runs may go on for ${formatDuration(graceMs)}`);
  } catch (error) {
    crash.report(error);
  }
  await parts.stop(Date.now() + graceMs).catch(crash.report);
  crash.rethrow();
  logger.info('stopped');
}

type Parts = ReturnType<typeof createLifecycle>;

/** What the roles of one process have in common. */
interface Shared {
  readonly config: Config;
  readonly registry: Registry;
  readonly redis: ReachableRedis;
  readonly parts: Parts;
  readonly logger: Logger;
  readonly emit: Emit;
  readonly metrics: Metrics;
  readonly tracing: Tracing | null;
  /** What the process tells others of itself. */
  readonly self: ReturnType<typeof createSelf>;
}

/** Who does not trace does not pay for loading what does. */
async function traced({ collector, app, release }: Config): Promise<Tracing | null> {
  if (!collector) return null;
  const { createTracing } = await import('./observability/tracing.js');
  return createTracing({ collector, app, release });
}

/** First to start and last to stop of what answers: how a process starts and stops is to be seen too. */
async function startProbes({ http }: Config, parts: Parts, metrics: Metrics, logger: Logger) {
  const probed: { parts: readonly Watched[] | 'starting' | 'stopping' } = { parts: 'starting' };
  if (http.metricsPort === null) return probed;
  const { host, metricsPort: port } = http;
  const probes = createProbes({ host, port, read: metrics.read, parts: () => probed.parts });
  await parts.start(probes);
  logger.info(`metrics and probes are at ${probes.address()}`);
  return probed;
}

async function startWorker(shared: Shared, only?: readonly string[]): Promise<Watched> {
  const { config, registry, parts, emit, metrics, self } = shared;
  const wanted = only && [...new Set(only)].map(registry.get);
  const jobs = (wanted ?? registry.jobs).filter(({ enabled }) => enabled);
  const healthcheckAllow = config.catalog.httpRequest.allow;
  const broker = await open(shared, 'worker', 'patient');
  supplySweep(registry.jobs, createSweep({ broker, registry, now: Date.now }));
  await parts.start(createPresence(broker, config));
  const enqueueBy = createChildren({ broker, registry, now: Date.now });
  const pool = createPool({ broker, jobs, emit, now: Date.now, random: Math.random, enqueueBy, healthcheckAllow });
  self.worksOn(jobs, pool.running);
  await parts.start(self.shownOn(broker));
  await parts.start(pool);
  metrics.addWorker(jobs);
  return { role: 'worker', trouble: () => redisTrouble(broker.client) };
}

async function startProducer(shared: Shared): Promise<Watched> {
  const { config, registry, parts, emit, metrics, self } = shared;
  const { app, release, healthcheckUrl } = config;
  const channels = (['webhook', 'email'] as const).filter((channel) => config.catalog.alert[channel] !== null);
  const broker = await open(shared, 'producer', 'fail-fast');
  await parts.start(createPresence(broker, config));
  await parts.start(self.shownOn(broker));
  const deployment = { app, release, channels, healthcheckUrl, process: self.id };
  const supervisor = createSupervisor({ broker, registry, ...deployment, emit, now: Date.now });
  await parts.start(supervisor);
  metrics.addProducer(registry.jobs, supervisor.leads);
  metrics.addStore(figuresOf(shared, broker));
  return { role: 'producer', trouble: () => redisTrouble(broker.client) };
}

async function startApi(shared: Shared, beside: readonly Watched[]): Promise<Watched> {
  const { config, registry, parts, logger, emit, metrics, tracing, self } = shared;
  const { host, port, keys: known, keysFile: file } = config.http;
  const oneTime = known.length === 0 ? oneTimeKey() : null;
  const given = oneTime ? [oneTime.key] : known;
  const keysFile = file === null ? null : createKeysFile({ file, keys: given, read: readKeysFile, emit });
  if (keysFile) await parts.start(keysFile);
  const keys = keysFile ? keysFile.keys : () => given;
  const broker = await open(shared, 'api', 'fail-fast');
  await parts.start(self.shownOn(broker));
  metrics.addStore(figuresOf(shared, broker));
  const { app, release, warnings } = config;
  const others = beside.map(({ role: name, trouble }) => ({ name, trouble }));
  const settings = { settings: config.http, warnings };
  const served = { deployment: { app, release }, keys, ...settings, metrics: metrics.read, parts: others };
  const traceRequests = tracing?.requests;
  const api = createApiServer({ broker, registry, emit, now: Date.now, ...served, host, port, traceRequests });
  await parts.start(api);
  const told = oneTime ? atAnyLevel(logger) : logger; // who cannot read the key has none
  told.info(`the board is at ${api.address()}/board`);
  if (oneTime) told.info(`sign in with this key, good until the process ends: ${oneTime.secret}`);
  return { role: 'api', trouble: () => httpTrouble(`${api.address()}/readyz`) };
}

/** A connection of its own for each role: workers wait for Redis to come back, producers would rather know. */
async function open(shared: Shared, role: Role, profile: Profile): Promise<Broker> {
  const { config, registry, redis, parts, emit, metrics } = shared;
  const { prefix } = config;
  const tracing = shared.tracing?.runs ?? null;
  const ruleOf = (schedule: string) => registry.findSchedule(schedule)?.schedule.next;
  const broker = await openBroker({ redis, profile, prefix, ruleOf, jobOf: registry.find, emit, tracing });
  await parts.start({ name: `${profile} connection`, start: async () => {}, stop: broker.close });
  metrics.pings.watch(role, broker.client);
  return broker;
}

function figuresOf({ config, registry }: Shared, broker: Broker) {
  const jobs = registry.jobs.map(({ name }) => name);
  return createFigures({ broker, app: config.app, jobs, now: Date.now, elapsed: () => performance.now() });
}

async function reachable(settings: RedisSettings, parts: Parts, crash: Crash['report']): Promise<ReachableRedis> {
  if (settings.kind !== 'embedded') return settings;
  const server = await startEmbedded();
  await parts.start({ name: 'embedded server', start: async () => {}, stop: () => server.stop() });
  server.onExit((detail) => crash(new RondoError('embedded-unavailable', detail)));
  return {
    kind: 'single',
    url: server.url,
    shown: `${server.url} (embedded, in memory; REDIS_URL for other commands)`,
  };
}

type Crash = ReturnType<typeof createCrash>;

/** The process ends with the first error that it is told of, which no later one hides. */
function createCrash(emit: Emit) {
  let first: { readonly error: unknown } | null = null;
  let running = false;
  let tell = () => {};
  const happened = new Promise<void>((resolve) => {
    tell = resolve;
  });
  return {
    happened,
    isRunning(): void {
      running = true;
    },
    report(error: unknown): void {
      if (first) {
        emit({ type: 'process.stop-failed', error });
        return;
      }
      first = { error };
      // The command line says it on standard error. Who reads the log later wants it there too; who waits for the
      // start, or sits at the terminal, would read it twice.
      if (running && !process.stdout.isTTY) emit(crashed(error));
      tell();
    },
    rethrow(): void {
      if (first) throw first.error;
    },
  };
}

function crashed(error: unknown): RondoEvent {
  const { code } = Object(error) as { code?: unknown };
  const reason = error instanceof Error ? error.message : String(error);
  return { type: 'process.crashed', code: typeof code === 'string' ? code : null, reason, error };
}

function atAnyLevel(logger: Logger): Logger {
  return logger.child({}, { level: 'info' });
}

/** For a first look: all rights, on this machine alone, until the process ends. */
function oneTimeKey(): { key: ApiKey; secret: string } {
  const secret = randomBytes(18).toString('base64url');
  const digest = createHash('sha256').update(secret).digest();
  return { secret, key: { name: 'one-time', digest, scopes: ['admin'] } };
}
