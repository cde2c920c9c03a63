import { mayBeBackfilled } from '../broker/backfill-claim.js';
import type { Span } from '../broker/backfills.js';
import { isRange, type TickEntry, type TickRange } from '../broker/tick-entry.js';
import { memo } from '../jobs/memo.js';
import { type NextTick, nextTick, type Timing } from '../jobs/schedule.js';

/** How many ticks a range may have, whatever becomes of them. */
export const mostTicks = 1_000_000;

export interface BackfillPlanInput {
  readonly schedule: string;
  readonly timing: Timing;
  /** The rule of a timing of kind `next`. */
  readonly rule: NextTick | undefined;
  /** Both ends included, in ms since the epoch. */
  readonly from: number;
  readonly to: number;
  readonly onlyMissed: boolean;
  /** The first tick that gets its run by itself, and since when the ledger knows all; in ms since the epoch. */
  readonly liveFrom: number;
  readonly knownFrom: number;
  /** The ledger's, oldest first. */
  readonly entries: readonly TickEntry[];
  /** What other backfills of the schedule have taken, in order. */
  readonly taken: readonly Span[];
}

/** Which ticks a backfill runs, and how many it leaves out and why. Times in ms since the epoch. */
export interface BackfillPlan {
  readonly count: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly spans: readonly Span[];
  readonly leftOut: Readonly<Record<LeftOut, number>>;
  /** The range has more than `mostTicks`: nothing else is known then. */
  readonly tooMany: boolean;
}

/**
 * Why a tick is left out: it has a run, another backfill has it, its own run is still to come, it lies in a part of the
 * ledger that was written by other times of the schedule; or, of those that were missed alone, it is older than the
 * ledger, or not in it.
 */
export const leftOutReasons = ['ran', 'inAnother', 'live', 'otherTimes', 'beforeKnown', 'notDue'] as const;
export type LeftOut = (typeof leftOutReasons)[number];

/** Decides for each tick of a range whether a backfill runs it. Counts tick by tick, with turns for others in between. */
export async function planBackfill(input: BackfillPlanInput): Promise<BackfillPlan> {
  const { timing, rule, from, to } = input;
  const judgeTick = createJudge(input);
  const leftOut = Object.fromEntries(leftOutReasons.map((reason) => [reason, 0])) as Record<LeftOut, number>;
  const spans: [number, number][] = [];
  let [count, seen, goesOn] = [0, 0, false];
  for await (const tick of ticksBetween(timing, from, to, rule)) {
    if (++seen > mostTicks) return { count: 0, first: null, last: null, spans: [], leftOut, tooMany: true };
    const reason = await judgeTick(tick);
    if (reason) leftOut[reason]++;
    else count++;
    const span = spans.at(-1);
    if (!reason && goesOn && span) span[1] = tick;
    else if (!reason) spans.push([tick, tick]);
    goesOn = !reason;
  }
  return { count, first: spans[0]?.[0] ?? null, last: spans.at(-1)?.[1] ?? null, spans, leftOut, tooMany: false };
}

/** The ticks of a range in order, both ends included; others get their turn every ten milliseconds. */
export async function* ticksBetween(
  timing: Timing,
  from: number,
  to: number,
  rule: NextTick | undefined,
): AsyncGenerator<number> {
  let pauseAt = performance.now() + 10;
  let time = nextTick(timing, from - 1, rule);
  for (let index = 1; time !== null && time <= to; index++) {
    yield time;
    if (index % 64 === 0 && performance.now() > pauseAt) {
      await new Promise(setImmediate);
      pauseAt = performance.now() + 10;
    }
    time = nextTick(timing, time, rule);
  }
}

function createJudge(input: BackfillPlanInput): (tick: number) => Promise<LeftOut | null> {
  const { schedule, onlyMissed, liveFrom, knownFrom, taken } = input;
  const entryAt = createEntryAt(input.entries);
  const takenAt = walk(
    taken,
    ([first]) => first,
    ([, last]) => last,
  );
  const isOfThisTiming = memo((range: TickRange) => countsAs(range, input.timing, input.rule));

  const judgeUnknown = (tick: number) => {
    if (!onlyMissed) return null;
    return tick < knownFrom ? 'beforeKnown' : 'notDue';
  };

  return async (tick) => {
    if (tick >= liveFrom) return 'live';
    if (takenAt(tick)) return 'inAnother';
    const entry = entryAt(tick);
    if (entry === null) return judgeUnknown(tick);
    if (!mayBeBackfilled(schedule, entry)) return 'ran';
    return !isRange(entry) || (await isOfThisTiming(entry)) ? null : 'otherTimes';
  };
}

function createEntryAt(entries: readonly TickEntry[]) {
  return walk(
    entries,
    ({ time }) => time,
    (entry) => (isRange(entry) ? entry.to : entry.time),
  );
}

/** Whether a range of the ledger holds the very ticks that the schedule has by its times of today. */
async function countsAs(range: TickRange, timing: Timing, rule: NextTick | undefined): Promise<boolean> {
  let [count, last] = [0, 0];
  for await (const tick of ticksBetween(timing, range.time, range.to, rule)) {
    if (count === 0 && tick !== range.time) return false;
    last = tick;
    if (++count > range.count) return false;
  }
  return count === range.count && last === range.to;
}

/** Finds what covers a time among things in order, for times in order. */
function walk<Thing>(things: readonly Thing[], firstOf: (thing: Thing) => number, lastOf: (thing: Thing) => number) {
  let at = 0;
  return (time: number): Thing | null => {
    while (at < things.length && lastOf(things[at] as Thing) < time) at++;
    const thing = things[at];
    return thing !== undefined && firstOf(thing) <= time ? thing : null;
  };
}
