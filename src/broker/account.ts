import { judge, type MisfirePolicy } from '../jobs/misfire.js';
import { type NextTick, nextOr, offsetOf, overdueTicks, type Timing } from '../jobs/schedule.js';
import { withExcluded } from './excluded-ticks.js';
import { readCursor } from './ledger.js';
import {
  type Claim,
  type Cursor,
  cursorOf,
  isUnresolved,
  type LedgerOf,
  ledgerCap,
  ledgerKeys,
  type Pause,
  packClaim,
  pauseHolds,
  pauseIn,
  soundLua,
  textOf,
  textOfPause,
  trimLua,
  unpackClaim,
} from './ledger-format.js';
import type { Broker } from './queues.js';
import { caughtUpId } from './repeat.js';
import { createScript } from './scripts.js';
import { isRange, packEntry, type TickEntry, type TickRange, type TickRun, unpackEntry } from './tick-entry.js';

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
  /** Who wants the next tick not to run, whether it is due or not. */
  readonly cancelledBy?: string;
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

/**
 * Accounts for every tick of a schedule that is due and has no entry, in one step that nothing comes between:
 * decides which of them run, writes an entry for each or for the range of them, opens a claim for each run, and
 * moves the cursor.
 */
export async function account(broker: Broker, asked: AccountInput): Promise<Accounted> {
  const input = await withItsPlace(broker, asked);
  const { schedule, now, cursor, run } = input;
  const found = await complete(input, givenUp(input) ?? onTime(input) ?? (await ticksDue(input)));
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
    [keys.cursor, keys.ticks, keys.claims, run ? keys.run(run.id) : keys.cursor, keys.outcomes],
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
      found.left.map(({ outcome, count }) => `${outcome} ${count}`).join(' '),
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

/** The next tick, that is not to run. */
function givenUp({ timing, rule, cursor, cancelledBy }: AccountInput): Due | null {
  if (cancelledBy === undefined || typeof cursor.next !== 'number') return null;
  const time = cursor.next;
  const left: TickRange = { time, to: time, count: 1, outcome: 'cancelled', reason: `by ${cancelledBy}` };
  return { run: [], left: [left], next: nextOr(timing, time, rule) };
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
  const first = isUnresolved(cursor.next) ? nextOr(timing, cursor.next.after, rule) : cursor.next;
  // Whoever has the rule goes on from here: that it is not known is not an end.
  const paused = isUnresolved(first) ? { run: [], left: [], next: first } : await pausedTicks(input, first);
  const due = typeof paused.next === 'number' ? await judgedTicks(input, paused.next) : paused;
  const left = due === paused ? paused.left : [...paused.left, ...due.left];
  if (!timingFromNow) return { ...due, left };
  const offset = offsetOf(timingFromNow.timing);
  const last = Math.max(due.run.at(-1) ?? 0, left.at(-1)?.to ?? 0, cursor.at ?? 0);
  return { ...due, left, next: nextOr(timingFromNow.timing, Math.max(now - offset, last), timingFromNow.rule) };
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
for outcome, count in string.gmatch(ARGV[12], '(%S+) (%S+)') do redis.call('HINCRBY', KEYS[5], outcome, count) end
local last = 12 + 2 * tonumber(ARGV[10])
for i = 13, last, 2 do redis.call('ZADD', ticks, ARGV[i], ARGV[i + 1]) end
local runs = ARGV[7] ~= '' and 1 or 0
for i = last + 1, #ARGV, 2 do
  redis.call('HSET', claims, ARGV[i], ARGV[i + 1])
  runs = runs + 1
end
if runs > 0 then redis.call('HINCRBY', cursor, 'runs', runs) end
trim(cursor, ticks, ARGV[6])
return { 'done', run ~= '' and redis.call('HGET', job, 'cancel') or '' }`);
