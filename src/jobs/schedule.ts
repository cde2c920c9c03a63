import { createHash } from 'node:crypto';
import { type Exclusion, lookAt, type Weekday, weekdayNames } from './calendar.js';
import { cronTick, isAfterGap, timesOfDay } from './cron.js';
import { movedTo, nextKept, nextKeptOrMoved } from './exclusion.js';

/**
 * When a schedule's ticks are, in plain JSON: what is stored, hashed, and carried by every BullMQ job. Times in ms
 * since the epoch. With `spread`, a window in ms, each tick is due `offset` ms after its time.
 */
export type Timing = {
  readonly startsAt?: number;
  readonly endsAt?: number;
  readonly spread?: number;
  readonly offset?: number;
  readonly exclude?: Exclusion;
} & (
  | { readonly kind: 'cron'; readonly cron: string; readonly timezone: string; readonly dst?: 'skip' }
  | { readonly kind: 'every'; readonly every: number }
  | { readonly kind: 'at'; readonly at: number }
  | { readonly kind: 'next' }
);

/** A schedule's own rule, in code: the first tick strictly after the given moment, or null where none is left. */
export type NextTick = (after: Date) => Date | null;

/**
 * The first tick strictly after a moment, in ms since the epoch, or null where the schedule has ended.
 * `startsAt` and `endsAt` may be ticks themselves.
 *
 * A local time that the clock jumps over is a tick once, at the first moment after the gap; one that the clock
 * passes twice is a tick once, at the first. Patterns with a wildcard or a step in their hour, minute or second
 * follow elapsed time instead (croner's rule `no-wildcard`, close to Vixie cron's). With `dst: 'skip'` a time that the
 * clock jumps over is no tick.
 *
 * What `exclude` excludes is no tick, or one at the same local time of a later day. Where the next ten years have no
 * other, the schedule has ended.
 *
 * @param next the rule of a timing of kind `next`
 * @throws what `next` throws, and a TypeError where it answers something else than a later Date or null
 */
export function nextTick(timing: Timing, after: number, next?: NextTick): number | null {
  const { exclude } = timing;
  if (!exclude) return nextNominal(timing, after, next);
  const nominal = (from: number) => nextNominal(timing, from, next);
  if (exclude.onExcluded === undefined) return nextKept(exclude, after, nominal);
  return withinBounds(timing, nextOnWorkingDay(timing, exclude, after, nominal));
}

/** The same, whatever the schedule excludes: the first of its nominal times strictly after a moment. */
export function nextNominal(timing: Timing, after: number, next?: NextTick): number | null {
  const from = Math.max(after, (timing.startsAt ?? Number.NEGATIVE_INFINITY) - 1);
  return withinBounds(timing, candidate(timing, from, next));
}

/** Where a nominal time that is excluded runs instead, or null where it is dropped. */
export function movedTick(timing: Timing, time: number): number | null {
  if (timing.exclude?.onExcluded === undefined) return null;
  return withinBounds(timing, movedTo(timing.exclude, time, skipsGaps(timing)));
}

/** From a tick's time to when it is due, in ms. */
export function offsetOf(timing: Timing): number {
  return timing.offset ?? 0;
}

/** Where in its window a schedule's ticks are due: the same for an id at all times, evenly spread over many ids. */
export function spreadOffset(id: string, window: number): number {
  return createHash('sha1').update(id).digest().readUIntBE(0, 6) % window;
}

/** Ticks that are due together: how many, and the latest of them, in order. */
export interface Overdue {
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly latest: readonly number[];
}

/**
 * The ticks from `first` on that are due by `now`, and the first that is not yet. A weekend of seconds is counted
 * one by one, so the event loop gets its turn in between.
 *
 * @param first a tick, in ms since the epoch
 * @param most how many of the latest to tell
 */
export async function overdueTicks(
  timing: Timing,
  first: number,
  now: number,
  most: number,
  next?: NextTick,
): Promise<{ readonly overdue: Overdue | null; readonly next: number | null | Unresolved }> {
  const until = now - offsetOf(timing);
  if (first > until) return { overdue: null, next: first };
  const latest: number[] = [];
  let count = 0;
  let time = first;
  let pauseAt = performance.now() + 10;
  for (;;) {
    count++;
    latest.push(time);
    if (latest.length > 2 * most + 1_000) latest.splice(0, latest.length - most);
    const following = nextOr(timing, time, next);
    if (typeof following !== 'number' || following > until) {
      return { overdue: { first, last: time, count, latest: latest.slice(-most) }, next: following };
    }
    time = following;
    if (count % 64 === 0 && performance.now() > pauseAt) {
      await new Promise(setImmediate);
      pauseAt = performance.now() + 10;
    }
  }
}

/** The tick that comes first after a moment, where this process cannot tell which that is. */
export interface Unresolved {
  readonly after: number;
}

/** The first tick strictly after a moment. A rule may fail, or be unknown to this release: then somebody else is to say. */
export function nextOr(timing: Timing, after: number, next?: NextTick): number | null | Unresolved {
  if (timing.kind === 'next' && !next) return { after };
  try {
    return nextTick(timing, after, next);
  } catch {
    return { after };
  }
}

/** The ticks in order, strictly after a moment, for as long as the schedule has any. */
export function* ticksAfter(timing: Timing, after: number, next?: NextTick): Generator<number> {
  let time = nextTick(timing, after, next);
  while (time !== null) {
    yield time;
    time = nextTick(timing, time, next);
  }
}

/** Every day at a time of the schedule's zone: `daily('03:00')`. */
export function daily(time: Clock): string {
  return cronAt(time, '* * *');
}

/** One day a week: `weekly('mon', '02:00')`. */
export function weekly(day: Weekday, time: Clock): string {
  if (!weekdayNames.includes(day))
    throw new RangeError(`weekly: expected one of ${weekdayNames.join(', ')}; got ${JSON.stringify(day)}`);
  return cronAt(time, `* * ${day}`);
}

/** Monday to Friday: `weekdays('08:30')`. */
export function weekdays(time: Clock): string {
  return cronAt(time, '* * mon-fri');
}

/** The first day of each month, at midnight unless told: `firstOfMonth()`, `firstOfMonth('06:00')`. */
export function firstOfMonth(time: Clock = '00:00'): string {
  return cronAt(time, '1 * *');
}

/** A time of day, `HH:MM` on 24 hours. */
export type Clock = `${number}:${number}`;

function nextOnWorkingDay(
  timing: Timing,
  exclude: Exclusion,
  after: number,
  next: (after: number) => number | null,
): number | null {
  const times = timing.kind === 'cron' ? timesOfDay(timing.cron) : null;
  if (times) return nextKeptOrMoved(exclude, after, { next, times, skipsGaps: skipsGaps(timing) });
  if (timing.kind !== 'at') return nextKept(exclude, after, next);
  const nominal = nextNominal(timing, timing.at - 1);
  if (nominal === null) return null;
  const time = lookAt(exclude, nominal).by === null ? nominal : movedTo(exclude, nominal, false);
  return time !== null && time > after ? time : null;
}

function withinBounds({ endsAt = Number.POSITIVE_INFINITY }: Timing, time: number | null): number | null {
  return time !== null && time <= endsAt ? time : null;
}

function skipsGaps(timing: Timing): boolean {
  return timing.kind === 'cron' && timing.dst === 'skip';
}

function candidate(timing: Timing, after: number, next?: NextTick): number | null {
  switch (timing.kind) {
    case 'cron':
      return cronTick(timing, after);
    case 'every': {
      const phase = (timing.startsAt ?? 0) % timing.every;
      return (Math.floor((after - phase) / timing.every) + 1) * timing.every + phase;
    }
    case 'at':
      return timing.at > after ? timing.at : null;
    case 'next':
      return next ? answerOf(next, after) : null;
  }
}

/** Whether a tick is one that the clock has jumped over, at the first moment after the gap. */
export function isLateTick(timing: Timing, time: number): boolean {
  return timing.kind === 'cron' && isAfterGap(timing.cron, timing.timezone, time);
}

function answerOf(next: NextTick, after: number): number | null {
  const answer: unknown = next(new Date(after));
  if (answer === null) return null;
  const time = answer instanceof Date ? answer.getTime() : Number.NaN;
  if (time > after) return time;
  throw new TypeError(
    `next() was asked for a time after ${new Date(after).toISOString()} and answered ${String(answer)}`,
  );
}

function cronAt(time: string, days: string): string {
  const match = /^(\d{1,2}):(\d{2})$/.exec(time);
  const [hour, minute] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || hour > 23 || minute > 59)
    throw new RangeError(`expected a time such as "03:00"; got ${JSON.stringify(time)}`);
  return `${minute} ${hour} ${days}`;
}
