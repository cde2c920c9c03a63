import { RondoError } from '../errors.js';
import { type NextTick, nextTick, offsetOf, overdueTicks, type Timing } from '../jobs/schedule.js';
import { type BackfillMark, backfillLua, listAsOpen, readBackfill } from './backfills.js';
import { type Claim, type LedgerOf, ledgerCap, ledgerKeys, packClaim, trimLua, unpackClaim } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';
import { isRange, packEntry, type TickEntry, type TickRange, type TickRun, unpackEntry } from './tick-entry.js';

export type BackfillClaim =
  | { readonly type: 'claimed'; readonly due: number }
  /** The run has a claim already: another attempt, or a delivery after a crash. */
  | { readonly type: 'again'; readonly claim: Claim }
  /** The run's tick is settled: somebody retries the run by hand. */
  | { readonly type: 'closed'; readonly tick: number; readonly due: number }
  | { readonly type: 'nothing'; readonly reason: string };

interface ClaimInput extends LedgerOf {
  readonly run: string;
  readonly tick: number;
  readonly backfill: BackfillMark;
  readonly now: number;
}

/**
 * Claims a tick for the run of a backfill, in one step that nothing comes between: marks it as taken for ever, opens the
 * claim, and puts the tick's own entry in the place that it had in a range of the ledger.
 */
export function createBackfillClaims(broker: Broker) {
  const timings = new Map<string, Timing>();
  /** The range that the last claim of a schedule left: ticks come in order, so the next one most likely begins it. */
  const guesses = new Map<string, string>();

  async function timingOf(of: LedgerOf, id: string): Promise<Timing | null> {
    const known = timings.get(id);
    if (known) return known;
    const timing = (await readBackfill(broker, of, id))?.timing;
    if (timing && timings.size >= 1_000) timings.clear();
    if (timing) timings.set(id, timing);
    return timing ?? null;
  }

  return async function claim(input: ClaimInput): Promise<BackfillClaim> {
    const { schedule, run, tick, backfill, now } = input;
    const timing = await timingOf(input, backfill.id);
    if (!timing) return { type: 'nothing', reason: 'its backfill is gone' };
    const rule = broker.ruleOf(schedule);
    const due = tick + offsetOf(timing);
    const entry: TickRun = { time: tick, outcome: 'running', due, claimed: now, run, attempts: 0 };
    let covering = guesses.get(schedule) ?? '';
    for (;;) {
      if (covering && timing.kind === 'next' && !rule) {
        // What lies beside the tick in its range would lose its entry: it is for a worker that knows.
        throw new RondoError('schedule-uncomputable', `${schedule}: by code that is not here`);
      }
      const split = await splitAt(schedule, covering, tick, timing, rule);
      const [answer, ...more] = await send(broker, input, entry, covering, split);
      switch (answer) {
        case 'claimed':
          remember(schedule, split?.pieces.at(-1));
          return { type: 'claimed', due };
        case 'again':
          return { type: 'again', claim: unpackClaim(more[0] ?? '') };
        case 'closed':
          return { type: 'closed', tick: Number(more[0]), due: Number(more[0]) + offsetOf(timing) };
        case 'covered':
          covering = more[0] ?? '';
          continue;
        case 'paused':
          // It was fed, most likely, and nobody looked after it any more: now it is to be fed once more.
          await listAsOpen(broker, input);
          return { type: 'nothing', reason: 'the schedule is paused: its backfill goes on when it is resumed' };
        default:
          return { type: 'nothing', reason: more[0] ?? 'its schedule has no ledger' };
      }
    }
  };

  function remember(schedule: string, rest: TickRange | undefined): void {
    if (guesses.size >= 1_000) guesses.clear();
    guesses.set(schedule, rest ? packEntry(schedule, rest) : '');
  }
}

interface Split {
  /** The entry that goes, as it is packed; empty where none does. */
  readonly replaced: string;
  /** What stays of it. */
  readonly pieces: readonly TickRange[];
}

/**
 * What becomes of the entry that covers a tick when the tick gets one of its own: nothing of it stays, a part before
 * the tick, one after it, or both; null where the entry says that the tick has a run.
 *
 * @param covering the entry as it is packed, or one that ends before the tick; empty where there is none
 */
export async function splitAt(
  schedule: string,
  covering: string,
  tick: number,
  timing: Timing,
  rule: NextTick | undefined,
): Promise<Split | null> {
  const entry = covering ? unpackEntry(schedule, covering) : null;
  if (!entry) return { replaced: '', pieces: [] };
  if (!isRange(entry)) return mayBeBackfilled(schedule, entry) ? { replaced: covering, pieces: [] } : null;
  const { time, to, count, ...others } = entry;
  if (tick < time || tick > to) return { replaced: '', pieces: [] };
  const pieces: TickRange[] = [];
  const { overdue } = time < tick ? await overdueTicks(timing, time, tick - 1 + offsetOf(timing), 1, rule) : noneBefore;
  const before = Math.min(overdue?.count ?? 0, count - 1);
  if (overdue && before > 0) pieces.push({ ...others, time, to: overdue.last, count: before });
  const after = count - before - 1;
  const next = after > 0 ? nextTick(timing, tick, rule) : null;
  if (next !== null && next <= to) pieces.push({ ...others, time: next, to, count: after });
  return { replaced: covering, pieces };
}

const noneBefore = { overdue: null };

/** A tick whose run had nothing to do may have another. One that a run of the same name was for, or that somebody cancelled, may not. */
export function mayBeBackfilled(schedule: string, entry: TickEntry): boolean {
  if (isRange(entry)) return entry.outcome !== 'cancelled';
  return entry.outcome === 'paused' || (entry.outcome === 'skipped' && !entry.run.startsWith(`tick:${schedule}:`));
}

/** In place of what is replaced, where nothing may be: the tick has a run. */
const taken = 'taken';

async function send(
  broker: Broker,
  input: ClaimInput,
  entry: TickRun,
  covering: string,
  split: Split | null,
): Promise<string[]> {
  const { schedule, run, tick, backfill, now } = input;
  const keys = ledgerKeys(broker, input);
  const claim = packClaim({ tick, due: entry.due, claimedAt: now, state: 'running' });
  return (await claimScript(
    broker.client,
    [keys.cursor, keys.ticks, keys.claims, keys.backfills, keys.backfilled, keys.run(run)],
    [
      ...[run, tick, backfill.id, backfill.index, now, ledgerCap, claim, packEntry(schedule, entry), covering],
      split ? split.replaced : taken,
      ...(split?.pieces ?? []).flatMap((piece) => [piece.time, packEntry(schedule, piece)]),
    ],
  )) as string[];
}

const claimScript = createScript(`${trimLua}${backfillLua}
local cursor, ticks, claims, backfills, backfilled, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local run, tick, id, index = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local claim = redis.call('HGET', claims, run)
if claim then return { 'again', claim } end
local settled = redis.call('HGET', job, 'tick')
if settled then return { 'closed', settled } end
local stands = redis.call('HMGET', cursor, 'at', 'removed', 'pause', 'from')
if not stands[1] or stands[2] then return { 'none' } end
local state = redis.call('HGET', backfills, id .. '.state')
if not state or state == 'cancelling' or state == 'cancelled' then return { 'nothing', 'its backfill was cancelled' } end
if state == 'done' or isMarked(backfilled, id, index) then return { 'nothing', 'a duplicate: its tick was run by this backfill' } end

if stands[3] then
  local ends = string.match(stands[3], ' (%d+)$')
  if not ends or tonumber(ends) > tonumber(ARGV[5]) then
    if state == 'fed' then redis.call('HSET', backfills, id .. '.state', 'feeding') end
    redis.call('HSET', backfills, id .. '.fed', 0, id .. '.at', '')
    return { 'paused' }
  end
end

if stands[4] and tonumber(tick) >= tonumber(stands[4]) then
  local found = redis.call('ZREVRANGEBYSCORE', ticks, tick, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local covering = found[1] or ''
  -- The run of a tick before it covers nothing else, and changes when it ends.
  if string.sub(covering, 1, 1) == '1' and tonumber(found[2]) < tonumber(tick) then covering = '' end
  if covering ~= ARGV[9] then return { 'covered', covering } end
  if ARGV[10] == 'taken' then return { 'nothing', 'a duplicate: its tick has a run in the ledger' } end
  if ARGV[10] ~= '' then redis.call('ZREM', ticks, ARGV[10]) end
  redis.call('ZADD', ticks, tick, ARGV[8])
  for i = 11, #ARGV, 2 do redis.call('ZADD', ticks, ARGV[i], ARGV[i + 1]) end
  trim(cursor, ticks, ARGV[6])
end
redis.call('HSET', claims, run, ARGV[7])
if redis.call('EXISTS', job) == 1 then redis.call('HSET', job, 'tick', tick) end
redis.call('HINCRBY', cursor, 'runs', 1)
mark(backfilled, id, index)
redis.call('HINCRBY', backfills, id .. '.started', 1)
finish(backfills, backfilled, id)
return { 'claimed' }`);
