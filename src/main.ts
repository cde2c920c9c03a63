import { createHash, randomBytes } from 'node:crypto';
import type { Profile, ReachableRedis } from './broker/connection.js';
import { startEmbedded } from './broker/embedded.js';
import { type Broker, openBroker } from './broker/queues.js';
import type { ApiKey, Config, RedisSettings } from './config.js';
import { RondoError } from './errors.js';
import { createApiServer } from './http/server.js';
import { loadRegistry } from './jobs/load.js';
import { createLifecycle, untilSignal } from './lifecycle.js';
import { createLiveness, httpTrouble, redisTrouble, type Watched } from './observability/liveness.js';
import { createLogger, logEvents } from './observability/logger.js';
import { tellRedisOnce } from './observability/redis-news.js';
import { createSupervisor } from './producers/supervisor.js';
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
  const logger = createLogger(config.logLevel);
  const emit = tellRedisOnce(logEvents(logger));
  const parts = createLifecycle();
  const signal = untilSignal();
  let crash: (error: unknown) => void = () => {};
  const crashed = new Promise<never>((_, reject) => {
    crash = reject;
  });
  crashed.catch(() => {}); // it may come while parts still start, before anybody waits for it

  try {
    // First, and last to stop: a jobs module may leave timers and listeners of its own behind.
    await parts.start(containStrayErrors(emit, crash));
    const registry = await loadRegistry(config.jobsModule, config.catalog);
    const redis = await reachable(config.redis, parts, crash);
    const ruleOf = (schedule: string) => registry.findSchedule(schedule)?.schedule.next;
    // A connection of its own for each role: workers wait for Redis to come back, producers would rather know.
    const open = async (profile: Profile): Promise<Broker> => {
      const broker = await openBroker({ redis, profile, prefix: config.prefix, ruleOf, emit });
      await parts.start({ name: `${profile} connection`, start: async () => {}, stop: broker.close });
      return broker;
    };

    const watched: Watched[] = [];
    const watch = (role: Role, trouble: Watched['trouble']) => watched.push({ role, trouble });

    if (roles.includes('worker')) {
      const jobs = (only?.map(registry.get) ?? registry.jobs).filter(({ enabled }) => enabled);
      const broker = await open('patient');
      await parts.start(createPool({ broker, jobs, emit, now: Date.now, random: Math.random }));
      watch('worker', () => redisTrouble(broker.client));
    }
    if (roles.includes('producer')) {
      const { app, release } = config;
      const broker = await open('fail-fast');
      await parts.start(createSupervisor({ broker, registry, app, release, emit, now: Date.now }));
      watch('producer', () => redisTrouble(broker.client));
    }
    if (roles.includes('api')) {
      const { host, port, keys } = config.http;
      const oneTime = keys.length === 0 ? oneTimeKey() : null;
      const broker = await open('fail-fast');
      const api = createApiServer({
        broker,
        registry,
        keys: oneTime ? [oneTime.key] : keys,
        emit,
        now: Date.now,
        host,
        port,
      });
      await parts.start(api);
      watch('api', () => httpTrouble(`${api.address()}/readyz`));
      logger.info(`the board is at ${api.address()}/board`);
      if (oneTime) logger.info(`sign in with this key, good until the process ends: ${oneTime.secret}`);
    }
    await parts.start(createLiveness(watched, (message) => logger.warn(message)));
    for (const warning of config.warnings) logger.warn(warning);
    logger.info(
      { app: config.app, release: config.release },
      `${roles.join(' and ')} started, with Redis at ${redis.shown}`,
    );
    await Promise.race([signal, crashed]);
    logger.info(`stopping: what runs may go on for ${config.shutdownGrace} ms`);
  } finally {
    await parts.stop(Date.now() + config.shutdownGrace);
  }
  logger.info('stopped');
}

/** For a first look: all rights, on this machine alone, until the process ends. */
function oneTimeKey(): { key: ApiKey; secret: string } {
  const secret = randomBytes(18).toString('base64url');
  const digest = createHash('sha256').update(secret).digest();
  return { secret, key: { name: 'one-time', digest, scopes: ['admin'] } };
}

type Parts = ReturnType<typeof createLifecycle>;

async function reachable(
  settings: RedisSettings,
  parts: Parts,
  crash: (error: unknown) => void,
): Promise<ReachableRedis> {
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
