import { judge, type MisfirePolicy } from '../jobs/misfire.js';
import {
  type NextTick,
  nextOr,
  nextTick,
  offsetOf,
  overdueTicks,
  type Timing,
  type Unresolved,
} from '../jobs/schedule.js';
import { withExcluded } from './excluded-ticks.js';
import type { Broker } from './queues.js';
import { caughtUpId } from './repeat.js';
import { createScript } from './scripts.js';
import { isRange, packEntry, type TickEntry, type TickRange, type TickRun, unpackEntry } from './tick-entry.js';

/** A schedule of a job, as its ledger's keys name it. */
export interface LedgerOf {
  readonly job: string;
  readonly schedule: string;
}

/** Up to where a schedule's ticks are accounted for. Times in ms since the epoch. */
export interface Cursor {
  /** The last tick that has its entry, or when the ledger began. */
  readonly at: number;
  /** The first tick that has none; null where the schedule has ended. */
  readonly next: number | null | Unresolved;
  readonly pause: Pause | null;
}

export interface Pause {
  readonly since: number;
  readonly until: number | null;
}

export interface AccountInput extends LedgerOf {
  readonly timing: Timing;
  readonly policy: MisfirePolicy;
  /** The rule of a timing of kind `next`. */
  readonly rule: NextTick | undefined;
  readonly now: number;
  /** Where the ledger is believed to stand; where it stands elsewhere nothing is written. */
  readonly cursor: Pick<Cursor, 'next' | 'pause'> & Partial<Cursor>;
  /** The run of a worker, which takes the oldest tick that is to run. */
  readonly run?: { readonly id: string; readonly time: number };
  /** Nobody can know what became of these ticks: Redis has lost its data. */
  readonly lost?: boolean;
  /** The schedule's times from now on, where they change. */
  readonly timingFromNow?: { readonly timing: Timing; readonly rule: NextTick | undefined };
}

export type Accounted =
  | {
      readonly type: 'accounted';
      /** The tick that the worker's own run is for, or null where it has nothing to do. */
      readonly own: number | null;
      /** Ticks whose runs are to be added. */
      readonly toAdd: readonly number[];
      /** Ticks that no run will be for. */
      readonly left: readonly TickRange[];
      /** Who has cancelled the worker's own run before it began. */
      readonly cancelledBy: string | null;
    }
  /** The run has a claim already: another attempt, or a delivery after a crash. */
  | {
      readonly type: 'again';
      readonly claim: Claim;
      readonly pause: Pause | null;
      readonly cancelledBy: string | null;
    }
  /** The run's tick is settled: somebody retries the run by hand. */
  | { readonly type: 'closed'; readonly tick: number }
  | { readonly type: 'moved'; readonly cursor: Cursor }
  /** The schedule has no ledger. */
  | { readonly type: 'none' };

/** What is open: a run that executes, that waits to be taken, or that is still to be added. */
export interface Claim {
  readonly tick: number;
  readonly due: number;
  readonly claimedAt: number;
  readonly state: 'running' | 'waiting' | 'pending';
  /** How its run has ended, as a worker saw it before BullMQ had its word; packed. */
  readonly last?: string;
}

/** How many entries are kept of a schedule. */
export const ledgerCap = 1_000;

/**
 * Accounts for every tick of a schedule that is due and has no entry, in one step that nothing comes between:
 * decides which of them run, writes an entry for each or for the range of them, opens a claim for each run, and
 * moves the cursor.
 */
export async function account(broker: Broker, asked: AccountInput): Promise<Accounted> {
  const input = await withItsPlace(broker, asked);
  const { schedule, now, cursor, run } = input;
  const found = await complete(input, onTime(input) ?? (await ticksDue(input)));
  const own = run ? (found.run[0] ?? null) : null;
  const toAdd = run ? found.run.slice(1) : found.run;
  const offset = offsetOf(input.timing);
  const entryOf = (time: number, id: string, outcome: 'running' | 'waiting'): TickRun => ({
    time,
    outcome,
    due: time + offset,
    claimed: now,
    run: id,
    attempts: 0,
  });
  const [first, ...others] = found.left;
  const merged = await merge(broker, input, first, found.run[0]);
  const entries: TickEntry[] = merged.range ? [merged.range, ...others] : [];
  if (run && own !== null) entries.push(entryOf(own, run.id, 'running'));
  entries.push(...toAdd.map((time) => entryOf(time, caughtUpId(schedule, time), 'waiting')));

  const keys = ledgerKeys(broker, input);
  const answer = (await accountScript(
    broker.client,
    [keys.cursor, keys.ticks, keys.claims, run ? keys.run(run.id) : keys.cursor],
    [
      run?.id ?? '',
      textOf(cursor.next),
      textOfPause(cursor.pause),
      textOf(found.at),
      textOf(found.next),
      ledgerCap,
      textOf(own),
      packClaim({ tick: own ?? 0, due: (own ?? 0) + offset, claimedAt: now, state: 'running' }),
      merged.replaced,
      entries.length,
      placeOf(input),
      ...entries.flatMap((entry) => [entry.time, packEntry(schedule, entry)]),
      ...toAdd.flatMap((tick) => [
        caughtUpId(schedule, tick),
        packClaim({ tick, due: tick + offset, claimedAt: now, state: 'pending' }),
      ]),
    ],
  )) as [string, ...(string | null)[]];
  return accountedAs(answer, { own, toAdd, left: found.left });
}

function accountedAs(
  [type, ...words]: [string, ...(string | null)[]],
  found: { own: number | null; toAdd: readonly number[]; left: readonly TickRange[] },
): Accounted {
  switch (type) {
    case 'done':
      return { type: 'accounted', ...found, cancelledBy: words[0] || null };
    case 'again': {
      const [claim, pause, cancelledBy] = words;
      return {
        type: 'again',
        claim: unpackClaim(claim ?? ''),
        pause: pauseIn(pause),
        cancelledBy: cancelledBy || null,
      };
    }
    case 'closed':
      return { type: 'closed', tick: Number(words[0]) };
    case 'moved':
      return { type: 'moved', cursor: cursorOf(words) };
    default:
      return { type: 'none' };
  }
}

/** Begins a ledger where there is none, or one that was removed or makes no sense; another stays where it stands. */
export async function begin(broker: Broker, of: LedgerOf, at: number, next: number | null): Promise<void> {
  const { cursor, ticks, claims, backfills, backfilled } = ledgerKeys(broker, of);
  await beginScript(broker.client, [cursor, ticks, claims, backfills, backfilled], [String(at), textOf(next)]);
}

/** A run of a tick starts, or waits for its turn, that has its entry already. */
export async function start(broker: Broker, of: LedgerOf, entry: TickRun): Promise<void> {
  const state = entry.outcome === 'waiting' ? 'waiting' : 'running';
  const claim = packClaim({ tick: entry.time, due: entry.due, claimedAt: entry.claimed, state });
  await write(broker, of, entry, claim);
}

/** Closes the claim of a run with what became of it. A later word replaces an earlier one. */
export async function settle(broker: Broker, of: LedgerOf, entry: TickRun): Promise<void> {
  await write(broker, of, entry, '');
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
): Promise<void> {
  const keys = ledgerKeys(broker, of);
  const alone: TickRange = { time, to: time, count: 1, outcome, ...(reason && { reason }) };
  const [last = ''] = await broker.client.zrevrangebyscore(keys.ticks, `(${time}`, '-inf', 'LIMIT', 0, 1);
  const before = unpackEntry(of.schedule, last);
  const joins = before && isRange(before) && before.outcome === outcome && before.reason === reason;
  const range = joins ? { ...before, to: time, count: before.count + 1 } : alone;
  await leaveScript(
    broker.client,
    [keys.cursor, keys.ticks, keys.claims],
    [run, time, ledgerCap, joins ? last : '', range.time, packEntry(of.schedule, range), packEntry(of.schedule, alone)],
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
  const claims = await broker.client.hgetall(ledgerKeys(broker, of).claims);
  return new Map(Object.entries(claims).map(([run, claim]) => [run, unpackClaim(claim)]));
}

/** The claim of one run; null where it has none, or an older release's word for it. */
export async function readClaim(broker: Broker, of: LedgerOf, run: string): Promise<Claim | null> {
  const text = await broker.client.hget(ledgerKeys(broker, of).claims, run);
  return text ? unpackClaim(text) : null;
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

export function ledgerKeys({ keys }: Broker, { job, schedule }: LedgerOf) {
  const slot = keys.queuePrefix(job);
  return {
    cursor: `${slot}:cursor:${schedule}`,
    ticks: `${slot}:ticks:${schedule}`,
    claims: `${slot}:claims:${schedule}`,
    turns: `${slot}:overlap:${schedule}`,
    backfills: `${slot}:backfills:${schedule}`,
    backfilled: `${slot}:backfilled:${schedule}`,
    run: (id: string) => `${slot}:${job}:${id}`,
  };
}

interface Due {
  /** Ticks that are to run, oldest first. */
  readonly run: readonly number[];
  readonly left: TickRange[];
  /** The first tick that is not due. */
  readonly next: Cursor['next'];
}

/** With the times that are excluded, and up to where all is accounted for then. */
async function complete(input: AccountInput, due: Due): Promise<Due & { readonly at: number | null }> {
  const { timing, rule, now, cursor, timingFromNow } = input;
  const last = Math.max(due.run.at(-1) ?? -1, due.left.at(-1)?.to ?? -1);
  if (!timing.exclude && !timingFromNow?.timing.exclude) return { ...due, at: last < 0 ? null : last };
  // Where the times change, the old calendars have their say up to the change, and the new ones from there on.
  const upTo = timingFromNow ? Math.max(last, now - offsetOf(timingFromNow.timing)) : last;
  const at = upTo < 0 ? null : upTo;
  if (!timing.exclude || cursor.at === undefined) return { ...due, at };
  return { ...due, at, left: await withExcluded({ timing, rule, after: cursor.at, upTo, left: due.left }) };
}

/** Where the ledger must still stand for the excluded times before a tick to be counted once. */
function placeOf({ timing, cursor }: AccountInput): string {
  return timing.exclude ? textOf(cursor.at ?? null) : '';
}

/** What is excluded lies after the last entry, which a worker does not know from its run alone. */
async function withItsPlace(broker: Broker, input: AccountInput): Promise<AccountInput> {
  const { timing, cursor } = input;
  if (!timing.exclude || cursor.at !== undefined) return input;
  const found = await readCursor(broker, input);
  const same = textOf(found?.next ?? null) === textOf(cursor.next) && !found?.pause === !cursor.pause;
  return found && same ? { ...input, cursor: found } : input;
}

/** The ordinary tick, without a promise: it is the one that the ledger waits for, no other is due, and it is not late. */
function onTime({ timing, policy, rule, now, cursor, run }: AccountInput): Due | null {
  if (!run || cursor.pause || cursor.next !== run.time) return null;
  const offset = offsetOf(timing);
  const next = nextOr(timing, run.time, rule);
  const several = typeof next === 'number' && next + offset <= now;
  return several || now - run.time - offset > policy.grace ? null : { run: [run.time], left: [], next };
}

/** What is due, and what becomes of it: what falls into a pause is left, the rest is judged by the policy. */
async function ticksDue(input: AccountInput): Promise<Due> {
  const { timing, rule, now, cursor, timingFromNow } = input;
  const first = isUnresolved(cursor.next) ? nextTick(timing, cursor.next.after, rule) : cursor.next;
  const paused = await pausedTicks(input, first);
  const due = typeof paused.next === 'number' ? await judgedTicks(input, paused.next) : paused;
  const left = due === paused ? paused.left : [...paused.left, ...due.left];
  if (!timingFromNow) return { ...due, left };
  const offset = offsetOf(timingFromNow.timing);
  const last = Math.max(due.run.at(-1) ?? 0, left.at(-1)?.to ?? 0, cursor.at ?? 0);
  return { ...due, left, next: nextTick(timingFromNow.timing, Math.max(now - offset, last), timingFromNow.rule) };
}

async function pausedTicks({ timing, rule, now, cursor: { pause } }: AccountInput, first: number | null): Promise<Due> {
  if (!pause || first === null) return { run: [], left: [], next: first };
  const { overdue, next } = await overdueTicks(timing, first, Math.min(now, pause.until ?? now), 1, rule);
  return { run: [], left: overdue ? [{ ...rangeOf(overdue), outcome: 'paused' }] : [], next };
}

async function judgedTicks(
  { timing, policy, rule, now, cursor, run, lost }: AccountInput,
  first: number,
): Promise<Due> {
  // Promoted by hand, or taken by a worker whose clock is ahead: it runs now, as what it is.
  const early = run?.time === first && !pauseHolds(cursor.pause, now) ? first + offsetOf(timing) : now;
  const most = policy.misfire === 'run-all' ? policy.maxCatchUp + 1 : 2;
  const { overdue, next } = await overdueTicks(timing, first, Math.max(now, early), most, rule);
  if (!overdue) return { run: [], left: [], next };
  if (lost)
    return { run: [], left: [{ ...rangeOf(overdue), outcome: 'unknown', reason: 'Redis lost its data' }], next };
  const { run: toRun, rest } = judge(overdue, policy, offsetOf(timing), now);
  if (!rest) return { run: toRun, left: [], next };
  const { from, ...others } = rest;
  return { run: toRun, left: [{ time: from, ...others }], next };
}

/**
 * Ticks of one pause, and those that one calendar excludes, are one range, however often somebody looks: the last entry
 * is what it goes on from.
 */
async function merge(
  broker: Broker,
  of: LedgerOf,
  range: TickRange | undefined,
  firstRun = Number.POSITIVE_INFINITY,
): Promise<{ range: TickRange | undefined; replaced: string }> {
  const unmerged = { range, replaced: '' };
  if (!range || firstRun < range.time || !['paused', 'excluded'].includes(range.outcome)) return unmerged;
  const [last = ''] = await broker.client.zrange(ledgerKeys(broker, of).ticks, '-1', '-1');
  const before = unpackEntry(of.schedule, last);
  if (!before || !isRange(before) || before.outcome !== range.outcome || before.reason !== range.reason)
    return unmerged;
  return { range: { ...range, time: before.time, count: before.count + range.count }, replaced: last };
}

function rangeOf({ first, last, count }: { first: number; last: number; count: number }) {
  return { time: first, to: last, count };
}

export function pauseHolds(pause: Pause | null, now: number): boolean {
  return pause !== null && (pause.until === null || now < pause.until);
}

async function write(broker: Broker, of: LedgerOf, entry: TickRun, claim: string): Promise<void> {
  const keys = ledgerKeys(broker, of);
  await writeScript(
    broker.client,
    [keys.cursor, keys.ticks, keys.claims],
    [entry.run, entry.time, packEntry(of.schedule, entry), claim, ledgerCap],
  );
}

/** A cursor as one text, `at|next|pause`; nothing where there is none. */
export function readCursorText(text: string): Cursor | null {
  return text ? cursorOf(text.split('|')) : null;
}

function textOf(time: number | null | Unresolved): string {
  if (isUnresolved(time)) return `>${time.after}`;
  return time === null ? '' : String(time);
}

function isUnresolved(time: number | null | Unresolved): time is Unresolved {
  return typeof time === 'object' && time !== null;
}

function textOfPause(pause: Pause | null): string {
  return pause ? `${pause.since} ${textOf(pause.until)}` : '';
}

function cursorOf([at, next, pause]: (string | null | undefined)[]): Cursor {
  const unresolved = next?.startsWith('>') && { after: Number(next.slice(1)) };
  return { at: Number(at), next: unresolved || (next ? Number(next) : null), pause: pauseIn(pause) };
}

function pauseIn(text: string | null | undefined): Pause | null {
  if (!text) return null;
  const [since, until] = text.split(' ');
  return { since: Number(since), until: until ? Number(until) : null };
}

export function packClaim({ tick, due, claimedAt, state, last }: Claim): string {
  return [tick, due, claimedAt, state, ...(last ? [last] : [])].join(' ');
}

export function unpackClaim(text: string): Claim {
  const [tick, due, claimedAt, state, ...words] = text.split(' ');
  const known = state === 'pending' || state === 'waiting' ? state : 'running';
  const last = words.join(' ');
  return { tick: Number(tick), due: Number(due), claimedAt: Number(claimedAt), state: known, ...(last && { last }) };
}

/** A cursor that makes no sense, since a hand has been at it, is none. */
export const soundLua = `
local function sound(at, next)
  return at and string.match(at, '^%d+$') and string.match(next or '', '^>?%d*$')
end
`;

export const trimLua = `
local function trim(cursor, ticks, cap)
  local over = redis.call('ZCARD', ticks) - tonumber(cap)
  if over <= 0 then return end
  redis.call('ZREMRANGEBYRANK', ticks, 0, over - 1)
  redis.call('HSET', cursor, 'from', redis.call('ZRANGE', ticks, 0, 0, 'WITHSCORES')[2])
end
`;

// Times are compared and handed on as text: a 32-bit server would cut formatted numbers off.
const accountScript = createScript(`${soundLua}${trimLua}
local cursor, ticks, claims, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local run = ARGV[1]
if run ~= '' then
  local claim = redis.call('HGET', claims, run)
  if claim then return { 'again', claim, redis.call('HGET', cursor, 'pause') or '', redis.call('HGET', job, 'cancel') or '' } end
  local tick = redis.call('HGET', job, 'tick')
  if tick then return { 'closed', tick } end
end
local stands = redis.call('HMGET', cursor, 'at', 'next', 'pause')
if not sound(stands[1], stands[2]) then return { 'none' } end
local elsewhere = ARGV[11] ~= '' and stands[1] ~= ARGV[11]
if elsewhere or (stands[2] or '') ~= ARGV[2] or (stands[3] or '') ~= ARGV[3] then
  return { 'moved', stands[1], stands[2] or '', stands[3] or '' }
end
-- A backfill has taken ticks out of the range meanwhile.
if ARGV[9] ~= '' and not redis.call('ZSCORE', ticks, ARGV[9]) then
  return { 'moved', stands[1], stands[2] or '', stands[3] or '' }
end
local at = ARGV[4] ~= '' and tonumber(ARGV[4]) > tonumber(stands[1]) and ARGV[4] or stands[1]
redis.call('HSET', cursor, 'at', at, 'next', ARGV[5])
if ARGV[9] ~= '' then redis.call('ZREM', ticks, ARGV[9]) end
if ARGV[7] ~= '' then
  redis.call('HSET', claims, run, ARGV[8])
  if redis.call('EXISTS', job) == 1 then redis.call('HSET', job, 'tick', ARGV[7]) end
end
local last = 11 + 2 * tonumber(ARGV[10])
for i = 12, last, 2 do redis.call('ZADD', ticks, ARGV[i], ARGV[i + 1]) end
local runs = ARGV[7] ~= '' and 1 or 0
for i = last + 1, #ARGV, 2 do
  redis.call('HSET', claims, ARGV[i], ARGV[i + 1])
  runs = runs + 1
end
if runs > 0 then redis.call('HINCRBY', cursor, 'runs', runs) end
trim(cursor, ticks, ARGV[6])
return { 'done', run ~= '' and redis.call('HGET', job, 'cancel') or '' }`);

const beginScript = createScript(`${soundLua}
local stands = redis.call('HMGET', KEYS[1], 'at', 'next', 'removed')
if stands[3] or not sound(stands[1], stands[2]) then redis.call('HDEL', KEYS[1], 'at', 'next', 'from', 'pause', 'removed') end
for i = 1, 5 do redis.call('PERSIST', KEYS[i]) end
redis.call('HSETNX', KEYS[1], 'from', ARGV[1])
if redis.call('HSETNX', KEYS[1], 'at', ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'next', ARGV[2]) end`);

const writeScript = createScript(`${trimLua}
local cursor, ticks, claims = KEYS[1], KEYS[2], KEYS[3]
if ARGV[4] == '' then redis.call('HDEL', claims, ARGV[1]) else redis.call('HSET', claims, ARGV[1], ARGV[4]) end
local from = redis.call('HGET', cursor, 'from')
if not from or tonumber(ARGV[2]) < tonumber(from) then return end
redis.call('ZREMRANGEBYSCORE', ticks, ARGV[2], ARGV[2])
redis.call('ZADD', ticks, ARGV[2], ARGV[3])
-- The only entry of a removed schedule went with its key, and with the key's end.
local left = redis.call('PTTL', cursor)
if left > 0 then redis.call('PEXPIRE', ticks, left) redis.call('PEXPIRE', claims, left) end
trim(cursor, ticks, ARGV[5])`);

const noteScript = createScript(`
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end`);

// Where the range before has changed since it was read, the tick keeps an entry of its own.
const leaveScript = createScript(`${trimLua}
local cursor, ticks, claims = KEYS[1], KEYS[2], KEYS[3]
redis.call('HDEL', claims, ARGV[1])
local from = redis.call('HGET', cursor, 'from')
if not from or tonumber(ARGV[2]) < tonumber(from) then return end
redis.call('ZREMRANGEBYSCORE', ticks, ARGV[2], ARGV[2])
local joined = ARGV[4] ~= '' and redis.call('ZREM', ticks, ARGV[4]) == 1
if joined then redis.call('ZADD', ticks, ARGV[5], ARGV[6]) else redis.call('ZADD', ticks, ARGV[2], ARGV[7]) end
trim(cursor, ticks, ARGV[3])`);

const markScript = createScript(`
for _, run in ipairs(ARGV) do
  local claim, pending = string.gsub(redis.call('HGET', KEYS[1], run) or '', ' pending$', ' waiting')
  if pending == 1 then redis.call('HSET', KEYS[1], run, claim) end
end`);

const pauseScript = createScript(`
if redis.call('HEXISTS', KEYS[1], 'at') == 1 then redis.call('HSET', KEYS[1], 'pause', ARGV[1]) end`);
