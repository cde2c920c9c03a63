import type { Redis } from 'ioredis';
import { mastersOf, type RedisClient } from './connection.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

/** How the queue of a job stands. Times in ms since the epoch. */
export interface QueueFacts {
  readonly job: string;
  readonly waiting: number;
  readonly delayed: number;
  readonly failed: number;
  readonly paused: boolean;
  /** Those that execute, or are left of a process that died. */
  readonly active: readonly ActiveFacts[];
  /** Ids of BullMQ's job schedulers. */
  readonly schedulers: readonly string[];
}

export interface ActiveFacts {
  readonly run: string;
  readonly since: number | null;
  /** By which its worker holds it: `ends` is renewed as long as the worker lives, `endless` never ends by itself. */
  readonly lock: 'ends' | 'endless' | 'none';
}

export async function readQueue({ client, keys }: Broker, job: string): Promise<QueueFacts> {
  const base = `${keys.queuePrefix(job)}:${job}:`;
  const names = ['wait', 'prioritized', 'delayed', 'failed', 'active', 'repeat', 'meta'];
  const answer = await queueScript(
    client,
    names.map((name) => base + name),
    [base],
  );
  const [waiting, delayed, failed, paused, active, schedulers] = answer as Answer;
  return {
    job,
    waiting,
    delayed,
    failed,
    paused: paused === 1,
    active: active.map(([run, ttl, since]) => ({ run, since: Number(since) || null, lock: lockOf(ttl) })),
    schedulers,
  };
}

type Answer = [number, number, number, number, [string, number, string][], string[]];

function lockOf(ttl: number): ActiveFacts['lock'] {
  if (ttl === -2) return 'none';
  return ttl === -1 ? 'endless' : 'ends';
}

/**
 * Gives an end to a lock that has none, as after a `PERSIST` by hand: a worker that lives renews it, and of one that
 * is dead the run is given to another.
 */
export async function endLock({ client, keys }: Broker, job: string, run: string, inMs: number): Promise<void> {
  await client.pexpire(`${keys.queuePrefix(job)}:${job}:${run}:lock`, inMs);
}

/** What a look at all keys has found; `complete` false where there were too many for the time, or `SCAN` is refused. */
export interface Found {
  readonly names: readonly string[];
  readonly complete: boolean;
}

/** Jobs that have a queue under the prefix, whoever made it. */
export function findQueues({ client, keys: { prefix } }: Broker, withinMs: number): Promise<Found> {
  return find(client, `{${prefix}:*}:*:meta`, withinMs, (key) => {
    const [, job] = /^\{[^{}:]+:([^{}]+)\}:/.exec(key) ?? [];
    return job !== undefined && key === `{${prefix}:${job}}:${job}:meta` ? job : null;
  });
}

/** Prefixes under which there is a store of Rondo. */
export function findPrefixes(client: RedisClient, withinMs: number): Promise<Found> {
  return find(client, '{*}:version', withinMs, (key) => /^\{([A-Za-z0-9._-]+)\}:version$/.exec(key)?.[1] ?? null);
}

async function find(
  client: RedisClient,
  pattern: string,
  withinMs: number,
  nameOf: (key: string) => string | null,
): Promise<Found> {
  const until = performance.now() + withinMs;
  const names = new Set<string>();
  let complete = true;
  for (const server of mastersOf(client)) {
    for await (const keys of pages(server, pattern, until)) {
      if (keys === null) complete = false;
      for (const name of (keys ?? []).map(nameOf)) if (name !== null) names.add(name);
    }
  }
  return { names: [...names].sort(), complete };
}

/** Keys by the thousand; at last null where there are more. */
async function* pages(server: Redis, pattern: string, until: number): AsyncGenerator<string[] | null> {
  let cursor = '0';
  do {
    const late = performance.now() > until;
    const page = late ? null : await server.scan(cursor, 'MATCH', pattern, 'COUNT', 5_000).catch(() => null);
    yield page?.[1] ?? null;
    cursor = page?.[0] ?? '0';
  } while (cursor !== '0');
}

// In one step: BullMQ takes a run and its lock at once, and lets go of both at once.
const queueScript = createScript(`
local base, active = ARGV[1], {}
for i, run in ipairs(redis.call('LRANGE', KEYS[5], 0, 9999)) do
  active[i] = { run, redis.call('PTTL', base .. run .. ':lock'), redis.call('HGET', base .. run, 'processedOn') or '' }
end
return { redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[4]), redis.call('HEXISTS', KEYS[7], 'paused'), active, redis.call('ZRANGE', KEYS[6], 0, -1) }`);
