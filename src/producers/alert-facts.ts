import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { type TickEntry, unpackEntry } from '../broker/tick-entry.js';
import { errorTable } from '../errors.js';
import { alertTail } from '../jobs/alerts.js';
import { type Active, type Ended, type History, usualMsOf } from './alert-rules.js';
import { chunks } from './chunks.js';

/** What a job's queue tells. Times in ms since the epoch. */
export interface QueueFacts {
  readonly paused: boolean;
  /** Some worker of the job was alive within the last seconds. */
  readonly hasWorker: boolean;
  readonly oldest: { readonly run: string; readonly since: number } | null;
  /** What executes: by schedule, and under null what is no tick. */
  readonly active: ReadonlyMap<string | null, readonly Active[]>;
  /** Of its runs that are no ticks. */
  readonly history: History;
}

/** So many finished runs of a queue are looked through for those that are no ticks, and entries of a ledger for closed ones. */
const lookedThrough = 200;
/** So many active runs of a queue are looked at. */
const mostActive = 100;

/** Reads the queues of jobs, all at once. */
export async function readQueues(
  broker: Broker,
  jobs: readonly string[],
  now: number,
): Promise<Map<string, QueueFacts>> {
  const found = await Promise.all(jobs.map(async (job) => [job, await readQueue(broker, job, now)] as const));
  return new Map(found);
}

/**
 * The newest entries of ledgers, oldest first, by schedule: back to where enough of them are closed, open ones between
 * them. Null where the ledger makes no sense. A few hundred ledgers with each call to Redis, so that none stands in the
 * way of others for long.
 */
export async function readTails(
  broker: Broker,
  job: string,
  ids: readonly string[],
): Promise<Map<string, TickEntry[] | null>> {
  const tails = new Map<string, TickEntry[] | null>();
  const slot = broker.keys.queuePrefix(job);
  for (const batch of chunks(ids, 250)) {
    const answer = await tailsScript(broker.client, [`${slot}:cursor`], [slot, alertTail, lookedThrough, ...batch]);
    (answer as (string[] | null)[]).forEach((packed, index) => {
      const id = batch[index] ?? '';
      tails.set(id, packed ? packed.toReversed().flatMap((text) => unpackEntry(id, text) ?? []) : null);
    });
  }
  return tails;
}

async function readQueue(broker: Broker, job: string, now: number): Promise<QueueFacts> {
  const names = ['wait', 'prioritized', 'delayed', 'active', 'completed', 'failed', 'stalled-check', 'meta'];
  const base = `${broker.keys.queuePrefix(job)}:${job}:`;
  const keys = names.map((name) => base + name);
  const answer = await queueScript(broker.client, keys, [base, lookedThrough, alertTail, mostActive]);
  const [paused, worker, waiting, delayed, active, failed, completed] = answer as [
    number,
    number,
    ...(readonly (string | null)[])[],
  ];
  const ended = [...endedOf(failed, true), ...endedOf(completed, false)].sort((a, b) => b.at - a.at);
  return {
    paused: paused === 1,
    hasWorker: worker === 1,
    oldest: paused === 1 ? null : oldestOf(waiting ?? [], delayed ?? [], now),
    active: activeOf(active ?? []),
    history: { ended, missed: null, taken: null, usualMs: usualMsOf(ended) },
  };
}

/** Of those that are first in their line, and of the first delayed one, which only a worker lets go on. */
function oldestOf(
  waiting: readonly (string | null)[],
  delayed: readonly (string | null)[],
  now: number,
): QueueFacts['oldest'] {
  const found = rowsOf(waiting, 4).map(([run, timestamp, processed, options]) => {
    const since = Number(timestamp) + delayIn(options ?? null);
    return { run: String(run), since: Math.max(since, Number(processed ?? 0), dueOf(String(run))) };
  });
  const [run, score] = delayed;
  // BullMQ keeps the time in the upper bits of the score.
  if (run) found.push({ run, since: Math.floor(Number(score) / 0x1000) });
  const [oldest] = found.filter(({ since }) => since <= now).sort((a, b) => a.since - b.since);
  return oldest ?? null;
}

function delayIn(options: string | null): number {
  try {
    const { delay, backfill } = JSON.parse(options ?? '{}') as { delay?: unknown; backfill?: unknown };
    // A backfill's runs wait for room, as long as it takes.
    if (backfill) return Number.POSITIVE_INFINITY;
    return typeof delay === 'number' ? delay : 0;
  } catch {
    return 0;
  }
}

function dueOf(run: string): number {
  return Number(/^repeat:.+:(\d+)$/.exec(run)?.[1] ?? 0);
}

function activeOf(fields: readonly (string | null)[]): Map<string | null, Active[]> {
  const active = new Map<string | null, Active[]>();
  for (const [run, since] of rowsOf(fields, 2)) {
    if (!run || !since) continue;
    const schedule = /^(?:repeat|tick):(.+):\d+$/.exec(run)?.[1] ?? null;
    const list = active.get(schedule) ?? [];
    list.push({ what: `run ${run}`, since: Number(since) });
    active.set(schedule, list);
  }
  return active;
}

function endedOf(fields: readonly (string | null)[] | undefined, isFailure: boolean): Ended[] {
  return rowsOf(fields ?? [], 5).flatMap(([run, at, processed, reason, attempts]) => {
    // Somebody wanted it so.
    if (isFailure && reason?.startsWith(errorTable['run-cancelled'].message)) return [];
    const after = Number(attempts) > 1 ? `, after ${attempts} attempts` : '';
    const failure = isFailure ? `${(reason ?? 'no reason is known').slice(0, 200)}${after}` : null;
    return [{ at: Number(at), tookMs: processed ? Number(at) - Number(processed) : null, what: `run ${run}`, failure }];
  });
}

function rowsOf(fields: readonly (string | null)[], width: number): (readonly (string | null)[])[] {
  return chunks(fields, width);
}

// Newest first. A key of another type is no ledger, and must not hide the others.
const tailsScript = createScript(`
local most, through = tonumber(ARGV[2]), tonumber(ARGV[3])
local function tail(ticks)
  local found, closed = {}, 0
  for last = -1, -through, -most do
    local entries = redis.pcall('ZRANGE', ticks, last - most + 1, last)
    if entries.err then return false end
    for i = #entries, 1, -1 do
      found[#found + 1] = entries[i]
      if not string.match(entries[i], '^.[wr]') then closed = closed + 1 end
      if closed == most then return found end
    end
    if #entries < most then return found end
  end
  return found
end
local answers = {}
for i = 4, #ARGV do answers[i - 3] = tail(ARGV[1] .. ':ticks:' .. ARGV[i]) end
return answers`);

// Every worker of ours looks for stalled runs every few seconds, and leaves a mark which lasts as long. Scores are handed
// on as text, and computed with as floating-point numbers: the embedded server's whole ones have 32 bits.
const queueScript = createScript(`
local wait, prioritized, delayed, active, completed, failed, check, meta = unpack(KEYS)
local base, through, most, mostActive = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local heads = {}
local function head(id)
  if not id then return end
  local fields = redis.call('HMGET', base .. id, 'timestamp', 'processedOn', 'opts')
  if not fields[1] then return end
  for _, field in ipairs({ id, fields[1], fields[2] or '', fields[3] or '' }) do heads[#heads + 1] = field end
end
head(redis.call('LINDEX', wait, -1))
head(redis.call('ZRANGE', prioritized, 0, 0)[1])
local last = redis.call('ZREVRANGE', prioritized, 0, 0, 'WITHSCORES')
if last[2] then
  local class = string.format('%.0f', math.floor(tonumber(last[2]) / 4294967296) * 4294967296)
  head(redis.call('ZRANGEBYSCORE', prioritized, class, '+inf', 'LIMIT', 0, 1)[1])
end

local running = {}
for _, id in ipairs(redis.call('LRANGE', active, -mostActive, -1)) do
  running[#running + 1] = id
  running[#running + 1] = redis.call('HGET', base .. id, 'processedOn') or ''
end

local function ended(key)
  local found = {}
  local ids = redis.call('ZREVRANGE', key, 0, through - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do
    if #found >= most * 5 then break end
    if not string.match(ids[i], '^repeat:') and not string.match(ids[i], '^tick:') then
      local fields = redis.call('HMGET', base .. ids[i], 'processedOn', 'failedReason', 'atm')
      for _, field in ipairs({ ids[i], ids[i + 1], fields[1] or '', fields[2] or '', fields[3] or '' }) do
        found[#found + 1] = field
      end
    end
  end
  return found
end

return {
  redis.call('HEXISTS', meta, 'paused'), redis.call('EXISTS', check), heads,
  redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES'), running, ended(failed), ended(completed)
}`);
