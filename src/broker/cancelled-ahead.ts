import type { Emit } from '../jobs/events.js';
import { type NextTick, offsetOf, type Timing } from '../jobs/schedule.js';
import { withExcluded } from './excluded-ticks.js';
import { readCursor } from './ledger.js';
import { type Cursor, type LedgerOf, ledgerKeys } from './ledger-format.js';
import type { Broker } from './queues.js';
import { createScript } from './scripts.js';
import { isRange, packEntry, type TickEntry, type TickRange, unpackEntry } from './tick-entry.js';

export interface TakeBack extends LedgerOf {
  /** What the ledger has gone by. */
  readonly timing: Timing;
  readonly now: number;
}

/**
 * Takes back what of a ledger was cancelled before it was due, and says so: where a schedule's times change, or it
 * goes, these are ticks of it no longer.
 *
 * @returns where the ledger stands then; null where there is none
 */
export async function takeBackCancelled(broker: Broker, input: TakeBack, emit: Emit): Promise<Cursor | null> {
  const { job, schedule, timing } = input;
  const { cursor: cursorKey, ticks } = ledgerKeys(broker, input);
  const now = input.now - offsetOf(timing);
  for (;;) {
    const cursor = await readCursor(broker, input);
    if (!cursor || cursor.at <= now) return cursor;
    const [packed, from] = await Promise.all([
      broker.client.zrange(ticks, '0', '-1'),
      broker.client.hget(cursorKey, 'from'),
    ]);
    const of = { schedule, timing, rule: broker.ruleOf(schedule), now, from: Number(from ?? now) };
    const { cancelled, cut, removed, at } = await findAhead(packed, of);
    const [next] = cancelled;
    if (next === undefined) return cursor;
    const kept = cut ? [cut.time, packEntry(schedule, cut)] : [];
    const change = [cursor.at, at, next, kept.length, ...kept, ...removed].map(String);
    if (!(await takeBackScript(broker.client, [cursorKey, ticks], change))) continue;
    emit({ type: 'ticks.taken-back', job, schedule, ticks: cancelled });
    return { ...cursor, at, next };
  }
}

interface Ahead {
  /** Ticks that are yet to come. */
  readonly cancelled: readonly number[];
  /** Entries that say something of later, packed. */
  readonly removed: readonly string[];
  /** What is left of one that reaches beyond now. */
  readonly cut: TickRange | null;
  /** Up to where all is accounted for without them. */
  readonly at: number;
}

async function findAhead(packed: readonly string[], of: AheadOf): Promise<Ahead> {
  const { schedule, now } = of;
  const entries = packed.map((text) => unpackEntry(schedule, text));
  const first = entries.findLastIndex((entry) => !entry || !isYetToCome(entry, now)) + 1;
  const before = entries[first - 1] ?? null;
  const cut = before && (await cutAt(before, of));
  return {
    cancelled: entries.slice(first).flatMap((entry) => (entry?.outcome === 'cancelled' ? [entry.time] : [])),
    removed: packed.slice(cut ? first - 1 : first),
    cut,
    at: standsAt(before, of),
  };
}

/** A run that came early stays where it is. What calendars exclude is accounted for up to now, entry or not. */
function standsAt(before: TickEntry | null, { timing, now, from }: AheadOf): number {
  if (before && !isRange(before)) return timing.exclude ? Math.max(before.time, now) : before.time;
  return timing.exclude ? now : Math.min(before?.to ?? from, now);
}

interface AheadOf {
  readonly schedule: string;
  readonly timing: Timing;
  readonly rule: NextTick | undefined;
  readonly now: number;
  /** Since when the ledger is complete. */
  readonly from: number;
}

/** Calendars have their say ahead with what is cancelled behind it. */
function isYetToCome(entry: TickEntry, now: number): boolean {
  return isRange(entry) && ['cancelled', 'excluded'].includes(entry.outcome) && entry.time > now;
}

/** What calendars exclude up to now, of a range that goes on beyond it; null where none does. */
async function cutAt(entry: TickEntry, { timing, rule, now }: AheadOf): Promise<TickRange | null> {
  if (!isRange(entry) || entry.to <= now) return null;
  const found = await withExcluded({ timing, rule, after: entry.time - 1, upTo: now, left: [] });
  const parts = found.filter(({ reason }) => reason === entry.reason);
  const to = parts.at(-1)?.to;
  return to === undefined ? null : { ...entry, to, count: parts.reduce((sum, { count }) => sum + count, 0) };
}

const takeBackScript = createScript(`
if redis.call('HGET', KEYS[1], 'at') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'at', ARGV[2], 'next', ARGV[3])
local kept = tonumber(ARGV[4])
for i = 5 + kept, #ARGV do redis.call('ZREM', KEYS[2], ARGV[i]) end
if kept > 0 then redis.call('ZADD', KEYS[2], ARGV[5], ARGV[6]) end
return 1`);
