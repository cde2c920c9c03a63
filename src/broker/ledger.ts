import {
  type Claim,
  type Cursor,
  cursorOf,
  type LedgerOf,
  ledgerCap,
  ledgerKeys,
  type Pause,
  packClaim,
  soundLua,
  textOf,
  textOfPause,
  trimLua,
  unpackClaim,
} from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';
import { isRange, packEntry, type TickEntry, type TickRange, type TickRun, unpackEntry } from './tick-entry.js';

/** Begins a ledger where there is none, or one that was removed or makes no sense; another stays where it stands. */
export async function begin(broker: Broker, of: LedgerOf, at: number, next: number | null): Promise<void> {
  const { cursor, ticks, claims, turns, backfills, backfilled } = ledgerKeys(broker, of);
  await beginScript(broker.client, [cursor, ticks, claims, turns, backfills, backfilled], [String(at), textOf(next)]);
}

/** A run of a tick starts, or waits for its turn, that has its entry already. */
export async function start(broker: Broker, of: LedgerOf, entry: TickRun): Promise<void> {
  const state = entry.outcome === 'waiting' ? 'waiting' : 'running';
  const claim = packClaim({ tick: entry.time, due: entry.due, claimedAt: entry.claimed, state });
  await write(broker, of, entry, claim);
}

/**
 * Closes the claim of a run with what became of it. A later word replaces an earlier one.
 *
 * @param only where its claim still says this: who looks on from outside may be late
 */
export async function settle(broker: Broker, of: LedgerOf, entry: TickRun, only = ''): Promise<void> {
  await write(broker, of, entry, '', only);
}

/**
 * Notes on its claim how a run has ended, before BullMQ has it: where both the run and whoever knew of it are gone,
 * the ledger still learns it.
 */
export async function noteEnd(broker: Broker, of: LedgerOf, entry: TickRun): Promise<void> {
  const claim: Claim = { tick: entry.time, due: entry.due, claimedAt: entry.claimed, state: 'running' };
  const noted = packClaim({ ...claim, last: packEntry(of.schedule, entry) });
  await noteScript(broker.client, [ledgerKeys(broker, of).claims], [entry.run, noted]);
}

/** Closes the claim of a run that did not execute: its tick joins the range before it, where that is of its kind. */
export async function settleLeft(
  broker: Broker,
  of: LedgerOf,
  run: string,
  { time, outcome, reason }: Pick<TickRange, 'time' | 'outcome' | 'reason'>,
  only = '',
): Promise<void> {
  const keys = ledgerKeys(broker, of);
  const alone: TickRange = { time, to: time, count: 1, outcome, ...(reason && { reason }) };
  const [last = ''] = await broker.client.zrevrangebyscore(keys.ticks, `(${time}`, '-inf', 'LIMIT', 0, 1);
  const before = unpackEntry(of.schedule, last);
  const joins = before && isRange(before) && before.outcome === outcome && before.reason === reason;
  const range = joins ? { ...before, to: time, count: before.count + 1 } : alone;
  await leaveScript(
    broker.client,
    [keys.cursor, keys.ticks, keys.claims, keys.outcomes],
    [
      ...[run, time, ledgerCap, joins ? last : '', range.time],
      ...[packEntry(of.schedule, range), packEntry(of.schedule, alone), outcome, only],
    ],
  );
}

/** The runs of these claims have been added to their queue. */
export async function markAdded(broker: Broker, of: LedgerOf, runs: readonly string[]): Promise<void> {
  await markScript(broker.client, [ledgerKeys(broker, of).claims], runs);
}

/** Where a ledger stands; null where there is none, or its schedule was removed. */
export async function readCursor(broker: Broker, of: LedgerOf): Promise<Cursor | null> {
  const fields = ['at', 'next', 'pause', 'removed'];
  const [at, next, pause, removed] = await broker.client.hmget(ledgerKeys(broker, of).cursor, ...fields);
  const sound = /^\d+$/.test(at ?? '') && /^>?\d*$/.test(next ?? '') && !removed;
  return sound ? cursorOf([at, next, pause]) : null;
}

export async function readClaims(broker: Broker, of: LedgerOf): Promise<Map<string, Claim>> {
  const claims = await readClaimTexts(broker, of);
  return new Map(Object.entries(claims).map(([run, claim]) => [run, unpackClaim(claim)]));
}

/** As they stand there: for `settle`, which closes the very one that was looked at. */
export function readClaimTexts(broker: Broker, of: LedgerOf): Promise<Record<string, string>> {
  return broker.client.hgetall(ledgerKeys(broker, of).claims);
}

/** The claim of one run; null where it has none, or an older release's word for it. */
export async function readClaim(broker: Broker, of: LedgerOf, run: string): Promise<Claim | null> {
  const text = await broker.client.hget(ledgerKeys(broker, of).claims, run);
  return text ? unpackClaim(text) : null;
}

/** The entry of one tick, where it has one of its own. */
export async function readRunOf(broker: Broker, of: LedgerOf, tick: number): Promise<TickRun | null> {
  const [packed = ''] = await broker.client.zrangebyscore(ledgerKeys(broker, of).ticks, tick, tick);
  const entry = unpackEntry(of.schedule, packed);
  return entry && !isRange(entry) ? entry : null;
}

export interface TicksQuery {
  /** Entries that cover any time from here on, in ms since the epoch. */
  readonly from?: number;
  readonly to?: number;
  /** The newest so many. */
  readonly limit?: number;
}

/** Entries of a ledger, oldest first, and what of it could not be read. */
export async function readTicks(
  broker: Broker,
  of: LedgerOf,
  { from, to, limit = ledgerCap }: TicksQuery = {},
): Promise<{ readonly entries: TickEntry[]; readonly unreadable: string[]; readonly knownFrom: number | null }> {
  const keys = ledgerKeys(broker, of);
  // All of it: an entry that began long before may reach into the range, and a thousand are soon read.
  const [packed, known] = await Promise.all([
    broker.client.zrange(keys.ticks, '0', '-1'),
    broker.client.hget(keys.cursor, 'from'),
  ]);
  const entries: TickEntry[] = [];
  const unreadable: string[] = [];
  for (const text of packed) {
    const entry = unpackEntry(of.schedule, text);
    if (entry) entries.push(entry);
    else unreadable.push(text);
  }
  const within = entries.filter((entry) => {
    const last = isRange(entry) ? entry.to : entry.time;
    return last >= (from ?? last) && entry.time <= (to ?? entry.time);
  });
  return { entries: within.slice(-limit), unreadable, knownFrom: known ? Number(known) : null };
}

/** Somebody skips a tick of a schedule that is yet to come, and lets its chain go on. */
export async function noteSkip(broker: Broker, of: LedgerOf): Promise<void> {
  await skipScript(broker.client, [ledgerKeys(broker, of).cursor], []);
}

/** How often that was, for who changes the schedule at the same time. */
export async function readSkips(broker: Broker, of: LedgerOf): Promise<string | null> {
  return broker.client.hget(ledgerKeys(broker, of).cursor, 'skips');
}

/** Marks a schedule as paused in its own slot, where workers see it, or as going on. */
export async function markPause(broker: Broker, of: LedgerOf, pause: Pause | null): Promise<void> {
  const { cursor } = ledgerKeys(broker, of);
  if (pause) await pauseScript(broker.client, [cursor], [textOfPause(pause)]);
  else await broker.client.hdel(cursor, 'pause');
}

/** A removed schedule's ledger can still be read for a month; a run that comes late finds nothing to do. */
export async function endLedger(broker: Broker, of: LedgerOf, now: number): Promise<void> {
  const keys = ledgerKeys(broker, of);
  await broker.client
    .multi()
    .hset(keys.cursor, { at: now, next: '', removed: now })
    .hdel(keys.cursor, 'pause')
    .pexpire(keys.cursor, keptAfterRemoval)
    .pexpire(keys.ticks, keptAfterRemoval)
    .pexpire(keys.claims, keptAfterRemoval)
    .pexpire(keys.turns, keptAfterRemoval)
    .pexpire(keys.backfills, keptAfterRemoval)
    .pexpire(keys.backfilled, keptAfterRemoval)
    .exec();
}

const keptAfterRemoval = 30 * 86_400_000;

/** Holds the ledgers of some schedules of a job to what is kept, also those that nobody writes to. @returns how many entries went */
export async function trimLedgers(broker: Broker, job: string, schedules: readonly string[]): Promise<number> {
  const keys = schedules.flatMap((schedule) => {
    const { cursor, ticks } = ledgerKeys(broker, { job, schedule });
    return [cursor, ticks];
  });
  return (await trimScript(broker.client, keys, [ledgerCap])) as number;
}

async function write(broker: Broker, of: LedgerOf, entry: TickRun, claim: string, only = ''): Promise<void> {
  const keys = ledgerKeys(broker, of);
  await writeScript(
    broker.client,
    [keys.cursor, keys.ticks, keys.claims, keys.outcomes, keys.run(entry.run)],
    [entry.run, entry.time, packEntry(of.schedule, entry), claim, ledgerCap, entry.outcome, only],
  );
}

const skipScript = createScript(`
if redis.call('HEXISTS', KEYS[1], 'at') == 1 then redis.call('HINCRBY', KEYS[1], 'skips', 1) end`);

const beginScript = createScript(`${soundLua}
local stands = redis.call('HMGET', KEYS[1], 'at', 'next', 'removed')
if stands[3] or not sound(stands[1], stands[2]) then redis.call('HDEL', KEYS[1], 'at', 'next', 'from', 'pause', 'removed') end
for i = 1, #KEYS do redis.call('PERSIST', KEYS[i]) end
redis.call('HSETNX', KEYS[1], 'from', ARGV[1])
if redis.call('HSETNX', KEYS[1], 'at', ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'next', ARGV[2]) end`);

// What is from before a ledger began is not written; what has its entry there, from before it was removed and made anew, is.
const mayWriteLua = `
local function mayWrite(cursor, ticks, time)
  local from = redis.call('HGET', cursor, 'from')
  return from and (tonumber(time) >= tonumber(from) or redis.call('ZCOUNT', ticks, time, time) > 0)
end
`;

// A claim is closed once, and with it its outcome counted. A run keeps its tick, for who retries it when its claim is gone.
const writeScript = createScript(`${trimLua}${mayWriteLua}
local cursor, ticks, claims, outcomes, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
if ARGV[7] ~= '' and redis.call('HGET', claims, ARGV[1]) ~= ARGV[7] then return end
if ARGV[4] ~= '' then
  redis.call('HSET', claims, ARGV[1], ARGV[4])
  if redis.call('EXISTS', job) == 1 then redis.call('HSET', job, 'tick', ARGV[2]) end
elseif redis.call('HDEL', claims, ARGV[1]) == 1 then redis.call('HINCRBY', outcomes, ARGV[6], 1) end
if not mayWrite(cursor, ticks, ARGV[2]) then return end
redis.call('ZREMRANGEBYSCORE', ticks, ARGV[2], ARGV[2])
redis.call('ZADD', ticks, ARGV[2], ARGV[3])
-- The only entry of a removed schedule went with its key, and with the key's end.
local left = redis.call('PTTL', cursor)
if left > 0 then redis.call('PEXPIRE', ticks, left) redis.call('PEXPIRE', claims, left) end
trim(cursor, ticks, ARGV[5])`);

const noteScript = createScript(`
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end`);

// Where the range before has changed since it was read, the tick keeps an entry of its own. A second call, as a connection
// makes it that was cut off before it had its answer, does nothing: the tick may be part of the range by now.
const leaveScript = createScript(`${trimLua}${mayWriteLua}
local cursor, ticks, claims, outcomes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if ARGV[9] ~= '' and redis.call('HGET', claims, ARGV[1]) ~= ARGV[9] then return end
if redis.call('HDEL', claims, ARGV[1]) == 0 then return end
redis.call('HINCRBY', outcomes, ARGV[8], 1)
if not mayWrite(cursor, ticks, ARGV[2]) then return end
redis.call('ZREMRANGEBYSCORE', ticks, ARGV[2], ARGV[2])
local joined = ARGV[4] ~= '' and redis.call('ZREM', ticks, ARGV[4]) == 1
if joined then redis.call('ZADD', ticks, ARGV[5], ARGV[6]) else redis.call('ZADD', ticks, ARGV[2], ARGV[7]) end
local left = redis.call('PTTL', cursor)
if left > 0 then redis.call('PEXPIRE', ticks, left) end
trim(cursor, ticks, ARGV[3])`);

const markScript = createScript(`
for _, run in ipairs(ARGV) do
  local claim, pending = string.gsub(redis.call('HGET', KEYS[1], run) or '', ' pending$', ' waiting')
  if pending == 1 then redis.call('HSET', KEYS[1], run, claim) end
end`);

const pauseScript = createScript(`
if redis.call('HEXISTS', KEYS[1], 'at') == 1 then redis.call('HSET', KEYS[1], 'pause', ARGV[1]) end`);

// A key of another type is no ledger, and must not hide the others.
const trimScript = createScript(`${trimLua}
local removed = 0
for i = 1, #KEYS, 2 do
  local before = redis.pcall('ZCARD', KEYS[i + 1])
  if type(before) == 'number' and before > tonumber(ARGV[1]) then
    trim(KEYS[i], KEYS[i + 1], ARGV[1])
    removed = removed + before - redis.call('ZCARD', KEYS[i + 1])
  end
end
return removed`);
