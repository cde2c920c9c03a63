import { Job, type JobsOptions } from 'bullmq';
import type { BackfillMark } from './backfills.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

/** What BullMQ takes last. */
const lowestPriority = 2_097_151;

/**
 * Runs of a backfill wait as delayed ones, in this future and in the order of their ticks, until a worker has room for
 * them: in ms since the epoch, beyond every time that a schedule or a caller can ask for.
 */
const parkingStart = Date.UTC(2250, 0);

/** Until when the run of a tick is parked, in ms since the epoch: no two ticks at the same time. */
export function parkedUntil(tick: number): number {
  return parkingStart + tick;
}

/** What makes a run one of a backfill's. */
export function laneOptions(tick: number, backfill: BackfillMark, now: number): JobsOptions {
  const options = { priority: lowestPriority, delay: parkedUntil(tick) - now, timestamp: now, backfill };
  return options;
}

/** Which backfill a run belongs to; null for one that belongs to none. */
export function backfillOf({ opts }: Pick<Job, 'opts'>): BackfillMark | null {
  return (opts as { backfill?: BackfillMark }).backfill ?? null;
}

/**
 * Lets parked runs of a job go on, oldest ticks first, until so many wait for a worker.
 *
 * @returns how many are parked still, and how many wait
 */
export async function wakeParked(
  broker: Broker,
  job: string,
  wanted: number,
): Promise<{ readonly parked: number; readonly waiting: number }> {
  const queue = broker.queue(job);
  const keys = [queue.toKey('prioritized'), queue.toKey('delayed')];
  const args = [lowestScore, scoreOf(parkingStart), Math.max(0, wanted)];
  const [waiting, parked, ...ids] = (await parkedScript(broker.client, keys, args)) as [number, number, ...string[]];
  // Another worker may be at the same ones: whoever comes second is told that it is delayed no longer.
  await Promise.all(ids.map((id) => new Job(queue, job, {}, {}, id).promote().catch(() => {})));
  return { parked: parked - ids.length, waiting: waiting + ids.length };
}

// Scores as BullMQ makes them, as text: a 32-bit server would cut numbers off.
const lowestScore = String(lowestPriority * 0x100000000);
const scoreOf = (time: number) => String(time * 0x1000);

const parkedScript = createScript(`
local waiting = redis.call('ZCOUNT', KEYS[1], ARGV[1], '+inf')
local answer = { waiting, redis.call('ZCOUNT', KEYS[2], ARGV[2], '+inf') }
local wanted = tonumber(ARGV[3]) - waiting
if wanted <= 0 then return answer end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf', 'LIMIT', 0, wanted)) do answer[#answer + 1] = id end
return answer`);
