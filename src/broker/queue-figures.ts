import type { JobFigures } from '../jobs/figures.js';
import { ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';

export type QueueFigures = Omit<JobFigures, 'schedules'>;

/**
 * How the queue of a job is: one call, whose price does not grow with the runs that are in it. Delayed runs that are due
 * wait too: it is workers that let them go on.
 *
 * @param now in ms since the epoch
 */
export async function readQueueFigures(broker: Broker, job: string, now: number): Promise<QueueFigures> {
  const base = `${broker.keys.queuePrefix(job)}:${job}:`;
  const keys = structures.map((name) => base + name);
  const { outcomes } = ledgerKeys(broker, { job, schedule: '' });
  const answer = await figuresScript(broker.client, [...keys, outcomes], [base, dueBefore(now)]);
  const [counts, ended, paused, sinces, ticks] = answer as [number[], (string | null)[], number, string[], string[]];
  const [wait = 0, prioritized = 0, due = 0, delayed = 0, active = 0, completed = 0, failed = 0] = counts;
  const since = sinces.map(Number).filter((time) => time > 0);
  return {
    job,
    paused: paused === 1,
    runs: { waiting: wait + prioritized + due, delayed: delayed - due, active, completed, failed },
    oldestWaitingMs: since.length > 0 ? Math.max(0, now - Math.min(...since)) : 0,
    ended: { completed: Number(ended[0]), failed: Number(ended[1]) },
    ticks: Object.fromEntries(pairs(ticks)),
  };
}

const structures = [
  ...['wait', 'prioritized', 'delayed', 'active', 'completed', 'failed'],
  ...['meta', 'metrics:completed', 'metrics:failed'],
];

/** BullMQ keeps the time in the upper bits of a delayed run's score. As text: a 32-bit server would cut the number off. */
function dueBefore(now: number): string {
  return `(${(now + 1) * 0x1000}`;
}

function pairs(texts: readonly string[]): [string, number][] {
  return Array.from({ length: texts.length / 2 }, (_, at) => [texts[2 * at] ?? '', Number(texts[2 * at + 1])]);
}

// A run has waited since it was due, or since its last attempt began. Those that are looked at: the next of the list,
// and of the prioritized the next one and the first of the lowest priority, which is the one that is kept waiting.
const figuresScript = createScript(`
local base = ARGV[1]
local function since(id)
  local run = redis.call('HMGET', base .. id, 'timestamp', 'opts', 'processedOn')
  if not run[1] then return '0' end
  local read, opts = pcall(cjson.decode, run[2] or '')
  local due = tonumber(run[1]) + (read and type(opts) == 'table' and tonumber(opts.delay) or 0)
  return string.format('%.0f', math.max(due, tonumber(run[3]) or 0))
end
local waiting = { redis.call('LINDEX', KEYS[1], -1), redis.call('ZRANGE', KEYS[2], 0, 0)[1] }
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if last[2] then
  local lowest = string.format('%.0f', math.floor(tonumber(last[2]) / 4294967296) * 4294967296)
  waiting[3] = redis.call('ZRANGEBYSCORE', KEYS[2], lowest, '+inf', 'LIMIT', 0, 1)[1]
end
local sinces = {}
for i = 1, 3 do if waiting[i] then sinces[#sinces + 1] = since(waiting[i]) end end
local due = redis.call('ZCOUNT', KEYS[3], '-inf', ARGV[2])
if due > 0 then
  local score = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
  sinces[#sinces + 1] = string.format('%.0f', math.floor(tonumber(score) / 4096))
end
local counts = { redis.call('LLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), due, redis.call('ZCARD', KEYS[3]), redis.call('LLEN', KEYS[4]), redis.call('ZCARD', KEYS[5]), redis.call('ZCARD', KEYS[6]) }
local ended = { redis.call('HGET', KEYS[8], 'count') or '0', redis.call('HGET', KEYS[9], 'count') or '0' }
return { counts, ended, redis.call('HEXISTS', KEYS[7], 'paused'), sinces, redis.call('HGETALL', KEYS[10]) }`);
