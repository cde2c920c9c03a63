import { countTicks, type ExcludedTimes, excludedTimes, inTurns } from '../jobs/excluded.js';
import { type NextTick, nextTick, type Timing } from '../jobs/schedule.js';
import { isoTime } from '../jobs/words.js';
import type { TickRange } from './tick-entry.js';

export interface Accounting {
  readonly timing: Timing;
  readonly rule: NextTick | undefined;
  /** Up to here all is accounted for, in ms since the epoch. */
  readonly after: number;
  /** The last moment that now is. */
  readonly upTo: number;
  /** What becomes of the ticks in between that do not run, oldest first. */
  readonly left: readonly TickRange[];
}

/**
 * The ranges together with those of the excluded times, in order. A range that excluded times lie within is divided at
 * them: no time is covered twice.
 */
export async function withExcluded({ timing, rule, after, upTo, left }: Accounting): Promise<TickRange[]> {
  const excluded = await inTurns(excludedTimes(timing, after, upTo, rule)).catch(() => []); // its own rule may fail
  if (excluded.length === 0) return [...left];
  const divided = await Promise.all(left.map((range) => divide(timing, rule, range, excluded)));
  return [...divided.flat(), ...excluded.map(rangeOf)].sort((a, b) => a.time - b.time);
}

async function divide(
  timing: Timing,
  rule: NextTick | undefined,
  range: TickRange,
  excluded: readonly ExcludedTimes[],
): Promise<TickRange[]> {
  const parts: TickRange[] = [];
  let rest = range;
  for (const { from, to } of excluded) {
    if (from <= rest.time || from >= rest.to) continue;
    const next = nextTick(timing, to, rule);
    if (next === null) break;
    const { count, last } = await inTurns(countTicks(timing, rest.time, from, rule));
    parts.push({ ...rest, to: last, count });
    rest = { ...rest, time: next, count: rest.count - count };
  }
  return [...parts, rest];
}

function rangeOf({ from, to, count, by, movedTo }: ExcludedTimes): TickRange {
  const reason = movedTo === null ? by : `${by}: moved to ${isoTime(movedTo)}`;
  return { time: from, to, count, outcome: 'excluded', reason };
}
