import { type Broker, openBroker } from '../broker/queues.js';
import { type Config, loadConfig } from '../config.js';
import { RondoError } from '../errors.js';
import { loadRegistry } from '../jobs/load.js';
import type { Registry } from '../jobs/registry.js';

/** What a command works with. */
export interface Session {
  readonly config: Config;
  readonly registry: Registry;
}

/** For commands that need no Redis. */
export async function withJobs<Result>(work: (session: Session) => Promise<Result> | Result): Promise<Result> {
  const config = loadConfig();
  return work({ config, registry: await loadRegistry(config.jobsModule, config.catalog, config.switches) });
}

/** For commands that do: connects, and leaves nothing open behind. */
export async function withRedis<Result>(
  work: (session: Session & { broker: Broker }) => Promise<Result>,
): Promise<Result> {
  return withJobs(async (session) => {
    const { redis, prefix } = session.config;
    if (redis.kind === 'embedded') {
      throw new RondoError(
        'redis-unreachable',
        'REDIS_URL is not set. An embedded server prints its address when it starts: set REDIS_URL to that',
      );
    }
    const ruleOf = (id: string) => session.registry.findSchedule(id)?.schedule.next;
    const broker = await openBroker({ redis, profile: 'fail-fast', prefix, ruleOf, emit: () => {} });
    try {
      return await work({ ...session, broker });
    } finally {
      await broker.close();
    }
  });
}
