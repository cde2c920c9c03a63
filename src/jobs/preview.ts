import { lookAt } from './calendar.js';
import { changeBetween, changeInWords, dateOfChange, effectOf } from './clock-words.js';
import { type ExcludedTimes, excludedTimes, type Steps } from './excluded.js';
import { isLateTick, type NextTick, nextTick, offsetOf, type Timing } from './schedule.js';
import { isoTime } from './words.js';
import { type ClockChange, clockChanges, dayMs } from './zone.js';

/** When a schedule runs next. Times in ms since the epoch. */
export interface Preview {
  readonly times: readonly PreviewTime[];
  /** What does not run on the way to the last of them, in order. */
  readonly left: readonly PreviewLeft[];
  /** False where there was more that is excluded than could be counted. */
  readonly complete: boolean;
}

export interface PreviewTime {
  readonly time: number;
  /** When it is due. */
  readonly due: number;
  /** In words: what the clock does there, or that it was moved. */
  readonly note: string | null;
}

/** Times that a calendar excludes, that the clock jumps over, or that somebody has cancelled. */
export interface PreviewLeft {
  readonly kind: 'excluded' | 'jumped-over' | 'cancelled';
  readonly time: number;
  readonly to: number;
  readonly count: number;
  readonly note: string;
}

export type Cancelled = (time: number) => string | null;

/** How many rows of what is left out come before one tick, and how much is counted for all of them. */
const mostRows = 10;
const mostSteps = 20_000;

/**
 * The next ticks of a schedule, with what the clock and its calendars do to them in words.
 *
 * @param after in ms since the epoch
 * @param cancelled says of a tick that is yet to come why it will not run, if somebody has cancelled it
 * @throws what the rule of a timing of kind `next` throws
 */
export function preview(
  timing: Timing,
  after: number,
  count: number,
  next?: NextTick,
  cancelled: Cancelled = () => null,
): Preview {
  const times: PreviewTime[] = [];
  const left: PreviewLeft[] = [];
  const budget = { steps: mostSteps };
  let before = after;
  while (times.length < count) {
    const time = nextTick(timing, before, next);
    const upTo = time ?? timing.endsAt ?? before + 366 * dayMs;
    const excluded = spend(excludedTimes(timing, before, upTo, next), budget);
    left.push(...collapsed(excluded), ...jumpedOver(timing, before, upTo));
    if (time === null) break;
    const why = cancelled(time);
    if (why !== null) left.push({ kind: 'cancelled', time, to: time, count: 1, note: `cancelled ${why}`.trim() });
    else times.push({ time, due: time + offsetOf(timing), note: noteOf(timing, before, time, excluded) });
    before = time;
  }
  left.sort((a, b) => a.time - b.time);
  return { times, left, complete: budget.steps > 0 };
}

/** The zone whose clock a schedule follows; null where it follows none. */
export function zoneOf(timing: Timing): string | null {
  if (timing.kind === 'cron') return timing.timezone;
  return timing.exclude?.timezone ?? null;
}

function spend(steps: Steps<ExcludedTimes[]>, budget: { steps: number }): ExcludedTimes[] {
  while (budget.steps > 0) {
    const step = steps.next();
    if (step.done) return step.value;
    budget.steps--;
  }
  return [];
}

function collapsed(excluded: readonly ExcludedTimes[]): PreviewLeft[] {
  const rows = excluded.slice(0, mostRows).map(({ from, to, count, by, movedTo }): PreviewLeft => {
    const moved = movedTo === null ? '' : `, moved to ${isoTime(movedTo)}`;
    const note = `${count === 1 ? '' : `${count} times `}excluded: ${by}${moved}`;
    return { kind: 'excluded', time: from, to, count, note };
  });
  const rest = excluded.slice(mostRows);
  const [first, last] = [rest[0], rest.at(-1)];
  if (first && last) {
    const count = rest.reduce((sum, range) => sum + range.count, 0);
    rows.push({ kind: 'excluded', time: first.from, to: last.to, count, note: `${count} more times excluded` });
  }
  return rows;
}

function jumpedOver(timing: Timing, after: number, upTo: number): PreviewLeft[] {
  if (timing.kind !== 'cron' || timing.dst !== 'skip') return [];
  return changesOf(timing.timezone, after, upTo).flatMap((change) => {
    const effect = change.after > change.before && !isExcluded(timing, change.at) && effectOf(timing, change);
    if (!effect) return [];
    const note = `${changeInWords(change)}: ${effect}`;
    return [{ kind: 'jumped-over' as const, time: change.at, to: change.at, count: 1, note }];
  });
}

function noteOf(timing: Timing, before: number, time: number, excluded: readonly ExcludedTimes[]): string | null {
  const notes = [clockNote(timing, before, time)];
  const from = excluded.filter(({ movedTo }) => movedTo === time);
  if (from.length > 0) notes.push(`moved here from ${from.map((range) => isoTime(range.from)).join(', ')}`);
  return notes.filter(Boolean).join('; ') || null;
}

function clockNote(timing: Timing, before: number, time: number): string | null {
  if (timing.kind !== 'cron') return null;
  const { timezone } = timing;
  const change = changeBetween(timezone, before, time);
  if (change && isLateTick(timing, time)) return `${changeInWords(change)}: ${effectOf(timing, change)}`;
  const [coming] = changesOf(timezone, time, time + 3 * 3_600_000);
  if (coming && passesTwice(time, coming) && effectOf(timing, coming))
    return `${changeInWords(coming)}: ${effectOf(timing, coming)}`;
  return change && `${changeInWords(change)} before it, on ${dateOfChange(change)}`;
}

/** The clock shows the time of a tick once more after the change. */
function passesTwice(time: number, { at, before, after }: ClockChange): boolean {
  return time < at && time + before >= at + after;
}

/** Those of the year before, at most. */
function changesOf(zone: string, after: number, upTo: number): ClockChange[] {
  return clockChanges(zone, Math.max(after, upTo - 400 * dayMs), upTo + 1);
}

function isExcluded({ exclude }: Timing, time: number): boolean {
  return exclude !== undefined && lookAt(exclude, time).by !== null;
}
