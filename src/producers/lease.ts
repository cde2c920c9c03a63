import { randomUUID } from 'node:crypto';
import type { RedisClient } from '../broker/connection.js';
import { createScript } from '../broker/scripts.js';

/**
 * One holder at a time, across processes. Once taken it renews itself, until it is released, or lost: to a Redis
 * that did not answer in time, or to a process that stood still for longer than the lease lasts.
 */
export interface Lease {
  /** Resolves to whether the lease is held now. Asks again where it is not. */
  acquire(): Promise<boolean>;
  /** False as soon as the lease may be another's, judged by this process's own clock. */
  held(): boolean;
  release(): Promise<void>;
}

/**
 * @param leaseMs for how long a holder that died keeps the others from it
 * @param process its id, where others are to see who holds it
 */
export function createLease(client: RedisClient, key: string, leaseMs: number, process = ''): Lease {
  const holder = `${process}:${randomUUID()}`;
  let heldUntil = 0;
  let renewal: NodeJS.Timeout | undefined;
  let released = false;

  const held = () => performance.now() < heldUntil;

  async function acquire(): Promise<boolean> {
    const askedAt = performance.now();
    const answer = await acquireScript(client, [key], [holder, leaseMs]);
    heldUntil = answer === 1 && !released ? askedAt + leaseMs : 0;
    clearInterval(renewal);
    if (held()) renewal = setInterval(() => acquire().catch(() => {}), leaseMs / 4).unref();
    return held();
  }

  return {
    acquire,
    held,
    async release() {
      released = true; // an answer that is on its way must not begin it anew
      heldUntil = 0;
      clearInterval(renewal);
      await releaseScript(client, [key], [holder]);
    },
  };
}

/** The id of the process that holds a lease, empty where it did not say; null where nobody holds it. */
export async function readHolder(client: RedisClient, key: string): Promise<string | null> {
  const holder = await client.get(key);
  return holder === null ? null : holder.slice(0, Math.max(0, holder.indexOf(':')));
}

const acquireScript = createScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`);

const releaseScript = createScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`);
