import type { Broker } from '../broker/queues.js';
import { type Config, loadConfig } from '../config.js';
import { RondoError } from '../errors.js';
import { detailsOf } from '../jobs/describe.js';
import { loadRegistry } from '../jobs/load.js';
import type { Registry } from '../jobs/registry.js';
import type { Tracing } from '../observability/tracing.js';
import { createDatabase } from '../postgres/database.js';
import type { Control, Definitions } from './control.js';
import { apiAccess } from './door.js';

/** What a command works with. */
export interface Session {
  readonly config: Config;
  readonly registry: Registry;
}

/** How long a command may take to send what it traced, in ms. */
const flushMs = 2_000;

/** For commands that need no Redis, whose address may be missing in production too. */
export async function withJobs<Result>(
  work: (session: Session) => Promise<Result> | Result,
  { redis = false } = {},
): Promise<Result> {
  const config = loadConfig(undefined, { redis });
  return work({ config, registry: await registryOf(config) });
}

/** The jobs as this program knows them. A command runs none: the database that they are given is never asked. */
export async function registryOf({ jobsModule, catalog, switches }: Config): Promise<Registry> {
  const database = catalog.database && createDatabase(catalog.database);
  return loadRegistry(jobsModule, { ...catalog, database }, switches);
}

/** For those that are the same through an API and with Redis at hand: the API, where one is named. */
export async function withControl<Result>(work: (control: Control) => Promise<Result>): Promise<Result> {
  const access = apiAccess();
  if (access) return work((await import('./control-http.js')).httpControl(access));
  return withRedis(async (session) => work((await import('./control-redis.js')).redisControl(session)));
}

/** What is known of jobs: by the API, where one is named, else by this program. */
export async function withDefinitions<Result>(work: (definitions: Definitions) => Promise<Result>): Promise<Result> {
  const access = apiAccess();
  if (access) return work((await import('./control-http.js')).httpDefinitions(access));
  return withJobs(({ registry }) =>
    work({ jobs: async () => registry.jobs.map(detailsOf), job: async (name) => detailsOf(registry.get(name)) }),
  );
}

/** Connects, and leaves nothing open behind. What works on Redis is loaded in `work`: others do not pay for it. */
export async function withRedis<Result>(
  work: (session: Session & { broker: Broker; tracing: Tracing | null }) => Promise<Result>,
): Promise<Result> {
  const withSession = async (session: Session) => {
    const { redis, prefix, collector, app, release } = session.config;
    if (redis.kind === 'embedded') {
      throw new RondoError(
        'redis-unreachable',
        'REDIS_URL is not set. An embedded server prints its address when it starts: set REDIS_URL to that',
      );
    }
    const { openBroker } = await import('../broker/queues.js');
    const tracing =
      collector && (await import('../observability/tracing.js')).createTracing({ collector, app, release });
    const ruleOf = (id: string) => session.registry.findSchedule(id)?.schedule.next;
    const jobOf = session.registry.find;
    const runs = tracing?.runs ?? null;
    const broker = await openBroker({
      ...{ redis, profile: 'fail-fast', prefix, ruleOf, jobOf, emit: () => {} },
      ...{ tracing: runs, marks: false },
    });
    try {
      return await work({ ...session, broker, tracing });
    } finally {
      await broker.close();
      await tracing?.service(() => {}).stop(Date.now() + flushMs);
    }
  };
  return withJobs(withSession, { redis: true });
}
