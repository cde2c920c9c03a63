import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

export type Finished = 'completed' | 'failed';

/** How long finished runs are kept, in ms, and how many: whichever bound is reached first. */
export interface Kept {
  readonly age: number;
  readonly count: number;
}

export interface RemovedRuns {
  readonly removed: number;
  /** Those that stay, since their claim is open: the ledger has still to learn from them how they ended. */
  readonly held: number;
}

/**
 * Removes the oldest finished runs of a job, of those that are beyond its retention: what BullMQ does when another run
 * finishes, and like it leaves deduplication keys to their own time. Its `clean` takes them along, and a caller's key
 * would be good for a second run.
 *
 * @param skip how many of the oldest to pass over
 * @param most how many to look at: Redis serves nobody else meanwhile
 * @param now in ms since the epoch
 */
export async function removeExpired(
  broker: Broker,
  { job, state, kept }: { job: string; state: Finished; kept: Kept },
  { skip, most, now }: { skip: number; most: number; now: number },
): Promise<RemovedRuns> {
  const base = broker.queue(job).toKey('');
  const args = [base, broker.keys.queuePrefix(job), now - kept.age, kept.count, skip, most];
  const [removed, held] = (await removeScript(broker.client, [base + state], args)) as [number, number];
  return { removed, held };
}

/** What the newest finished run of a job says of its retention, for a job that no code declares; null where it says nothing. */
export async function keptByRuns(broker: Broker, job: string, state: Finished): Promise<Kept | null> {
  const [newest] = await broker.queue(job).getJobs([state], 0, 0, false);
  const said = state === 'completed' ? newest?.opts.removeOnComplete : newest?.opts.removeOnFail;
  const { age, count } = { ...(said as Partial<Kept> | undefined) };
  return age === undefined || count === undefined ? null : { age: age * 1_000, count };
}

// The oldest come first, so what is beyond the age or the count is a beginning of the set. A run of a tick names its
// schedule in a field of BullMQ's, or in the id that we gave it.
const removeScript = createScript(`
local base, slot, skip = ARGV[1], ARGV[2], tonumber(ARGV[5])
local beyond = math.max(redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[3]), redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4]))
local last = math.min(skip + tonumber(ARGV[6]), beyond) - 1
if last < skip then return { 0, 0 } end
local removed, held = 0, 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], skip, last)) do
  local run = base .. id
  local schedule = redis.call('HGET', run, 'rjk') or string.match(id, '^tick:([^:]+):%d+$')
  if schedule and redis.call('HEXISTS', slot .. ':claims:' .. schedule, id) == 1 then
    held = held + 1
  else
    redis.call('ZREM', KEYS[1], id)
    redis.call('DEL', run, run .. ':logs', run .. ':dependencies', run .. ':processed', run .. ':failed', run .. ':unsuccessful')
    removed = removed + 1
  end
end
return { removed, held }`);
