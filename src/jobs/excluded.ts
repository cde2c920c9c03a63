import { lookAt } from './calendar.js';
import { fieldsOf, parseCron } from './cron.js';
import { movedTick, type NextTick, nextNominal, nextTick, type Timing } from './schedule.js';
import { clockAt } from './zone.js';

/** Nominal times of a schedule that are excluded, none of its ticks between them. Times in ms since the epoch. */
export interface ExcludedTimes {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** The calendar that says so. */
  readonly by: string;
  /** Where they run instead. */
  readonly movedTo: number | null;
}

/** Work in small steps: who drives it may do something else in between, or stop. */
export type Steps<Result> = Generator<void, Result>;

/** All steps, with the event loop's turn every 10 ms. */
export async function inTurns<Result>(steps: Steps<Result>): Promise<Result> {
  let pauseAt = performance.now() + 10;
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() < pauseAt) continue;
    await new Promise(setImmediate);
    pauseAt = performance.now() + 10;
  }
}

/**
 * What a schedule excludes of its nominal times, after a moment and up to another. Whole hours and days of a dense
 * schedule are counted at once.
 *
 * @throws what the rule of a timing of kind `next` throws
 */
export function* excludedTimes(timing: Timing, after: number, upTo: number, next?: NextTick): Steps<ExcludedTimes[]> {
  const { exclude } = timing;
  const found: ExcludedTimes[] = [];
  let time = exclude ? nextNominal(timing, after, next) : null;
  let adjacent = false;
  while (exclude && time !== null && time <= upTo) {
    yield;
    const { by, until } = lookAt(exclude, time);
    let last: number = until - 1;
    if (by !== null) {
      const moves = exclude.onExcluded !== undefined;
      const counted = yield* countNominal(timing, time, moves ? time + 1 : Math.min(until, upTo + 1), next);
      last = counted.last;
      append(found, { from: time, to: last, count: counted.count, by, movedTo: movedTick(timing, time) }, adjacent);
    }
    adjacent = by !== null;
    time = nextNominal(timing, last, next);
  }
  return found;
}

/** How many ticks there are from one on and before a moment, and the last of them. */
export function* countTicks(
  timing: Timing,
  first: number,
  end: number,
  next?: NextTick,
): Steps<{ count: number; last: number }> {
  let [count, last] = [0, first];
  let time: number | null = first;
  while (time !== null && time < end) {
    yield;
    const { exclude } = timing;
    const single = exclude?.onExcluded !== undefined;
    const until = single ? time + 1 : Math.min(end, exclude ? lookAt(exclude, time).until : end);
    const counted: { count: number; last: number } = yield* countNominal(timing, time, until, next);
    count += counted.count;
    last = counted.last;
    time = nextTick(timing, last, next);
  }
  return { count, last };
}

function append(found: ExcludedTimes[], times: ExcludedTimes, adjacent: boolean): void {
  const before = found.at(-1);
  if (adjacent && before?.by === times.by && before.movedTo === times.movedTo)
    found.splice(-1, 1, { ...before, to: times.to, count: before.count + times.count });
  else found.push(times);
}

/** Nominal times from one on and before a moment: at least that one. */
function* countNominal(
  timing: Timing,
  first: number,
  end: number,
  next?: NextTick,
): Steps<{ count: number; last: number }> {
  const before = Math.min(end, (timing.endsAt ?? Number.POSITIVE_INFINITY) + 1);
  if (timing.kind === 'every') {
    const count = Math.max(1, Math.ceil((before - first) / timing.every));
    return { count, last: first + (count - 1) * timing.every };
  }
  let [count, last] = [1, first];
  let time = nextNominal(timing, first, next);
  while (time !== null && time < before) {
    yield;
    const whole = timing.kind === 'cron' ? wholePart(timing, last, time, before) : null;
    count += whole?.count ?? 1;
    last = whole?.last ?? time;
    time = nextNominal(timing, whole ? whole.end - 1 : time, next);
  }
  return { count, last };
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** The ticks of the hour or the minute that a tick is the first of, where all of it lies before the end, and no change of the clock. */
function wholePart(
  { cron, timezone }: Extract<Timing, { kind: 'cron' }>,
  before: number,
  time: number,
  end: number,
): { count: number; last: number; end: number } | null {
  const { ahead, until } = clockAt(timezone, time);
  for (const [length, part] of [
    [hourMs, 'hour'],
    [minuteMs, 'minute'],
  ] as const) {
    const start = Math.floor((time + ahead) / length) * length - ahead;
    const steady = clockAt(timezone, start - 1).ahead === ahead;
    if (start <= before || start + length > Math.min(end, until) || !steady) continue;
    const { count, last } = densityOf(cron)[part];
    return { count, last: start + last, end: start + length };
  }
  return null;
}

interface Density {
  /** Of each hour and minute that has any ticks: how many, and how long after its beginning the last is. */
  readonly hour: { readonly count: number; readonly last: number };
  readonly minute: { readonly count: number; readonly last: number };
}

const densities = new Map<string, Density>();

function densityOf(cron: string): Density {
  const known = densities.get(cron);
  if (known) return known;
  const [second = '0', minute = '0'] = fieldsOf(cron).fields;
  const seconds = timesWithin(`${second} * * * * *`, minuteMs);
  const minutes = timesWithin(`0 ${minute} * * * *`, hourMs);
  const last = seconds.at(-1) ?? 0;
  const density = {
    minute: { count: seconds.length, last },
    hour: { count: seconds.length * minutes.length, last: (minutes.at(-1) ?? 0) + last },
  };
  if (densities.size >= 1_000) densities.clear();
  densities.set(cron, density);
  return density;
}

function timesWithin(cron: string, length: number): number[] {
  const everyOne = parseCron(cron, 'UTC');
  const times: number[] = [];
  let time = everyOne.nextRun(new Date(-1_000))?.getTime();
  while (time !== undefined && time < length) {
    times.push(time);
    time = everyOne.nextRun(new Date(time))?.getTime();
  }
  return times;
}
