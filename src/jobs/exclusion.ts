import { type Exclusion, lookAt } from './calendar.js';
import { dayMs, localAt, momentAt } from './zone.js';

/** The first of a schedule's nominal times strictly after a moment, whatever its calendars say of it. */
export type NextNominal = (after: number) => number | null;

/** How far ahead a tick is looked for that no calendar excludes, and how far a tick is moved at most. */
const searchMs = 10 * 366 * dayMs;
const furthestDays = 366;

/** So many times that are excluded one by one are looked at: hourly ones of more than a year. */
const searchTimes = 10_000;

/**
 * The first nominal time after a moment that is not excluded, or null where ten years, or as many excluded times as
 * anybody should have in between, have none.
 */
export function nextKept(exclusion: Exclusion, after: number, next: NextNominal): number | null {
  let time = next(after);
  for (let seen = 0; time !== null && time - after <= searchMs && seen < searchTimes; seen++) {
    const kept = endOfExclusion(exclusion, time, after + searchMs);
    if (kept === time) return time;
    time = next(kept - 1);
  }
  return null;
}

/** What a schedule of fixed times of day needs for its excluded ticks to run on another day. */
export interface Moving {
  readonly next: NextNominal;
  /** Its times of day, in ms, ascending. */
  readonly times: readonly number[];
  /** A day on which the clock jumps over the time is none to move to. */
  readonly skipsGaps: boolean;
}

/** The first tick after a moment, where excluded ones run on the first later day on which their time is not excluded. */
export function nextKeptOrMoved(exclusion: Exclusion, after: number, moving: Moving): number | null {
  const { next, times } = moving;
  const zone = exclusion.timezone;
  let day = dayOf(zone, after);
  while (day * dayMs <= after + searchMs) {
    const found = momentsOn(day, zone, moving).filter(({ time }) => time > after);
    const free = found.filter(({ time }) => lookAt(exclusion, time).by === null);
    const tick = free.find(({ time, local }) => isNominal(next, time) || movedFrom(exclusion, local, moving) !== null);
    if (tick) return tick.time;
    day++;
    if (free.length < times.length) continue;
    // After a whole day without exclusions none is left that is to move: on with the next nominal time.
    const following = next(momentAt(zone, day * dayMs).time - 1);
    if (following === null) return null;
    day = dayOf(zone, following);
  }
  return null;
}

/** Where an excluded tick moves to, or null where a year has no day for it. */
export function movedTo(exclusion: Exclusion, time: number, skipsGaps: boolean): number | null {
  const local = localAt(exclusion.timezone, time);
  for (let day = 1; day <= furthestDays; day++) {
    const moment = momentAt(exclusion.timezone, local + day * dayMs);
    if (moment.jumpedOver && skipsGaps) continue;
    if (lookAt(exclusion, moment.time).by === null) return moment.time;
  }
  return null;
}

/**
 * The nominal time that has moved to a later day, or null where none has; the latest of several.
 *
 * @param local what the clock shows at that time of day on the later day, in ms as if it were UTC
 */
export function movedFrom(
  exclusion: Exclusion,
  local: number,
  { next, skipsGaps }: Pick<Moving, 'next' | 'skipsGaps'>,
): number | null {
  for (let day = 1; day <= furthestDays; day++) {
    const moment = momentAt(exclusion.timezone, local - day * dayMs);
    if (moment.jumpedOver && skipsGaps) continue;
    if (lookAt(exclusion, moment.time).by === null) return null;
    if (isNominal(next, moment.time)) return moment.time;
  }
  return null;
}

function momentsOn(day: number, zone: string, { times, skipsGaps }: Moving): { time: number; local: number }[] {
  return times.flatMap((ofDay) => {
    const local = day * dayMs + ofDay;
    const { time, jumpedOver } = momentAt(zone, local);
    return jumpedOver && skipsGaps ? [] : [{ time, local }];
  });
}

const dayOf = (zone: string, time: number) => Math.floor(localAt(zone, time) / dayMs);

function isNominal(next: NextNominal, time: number): boolean {
  return next(time - 1) === time;
}

/** The moment itself where it is not excluded, else the first after it that may not be. */
function endOfExclusion(exclusion: Exclusion, time: number, limit: number): number {
  let end = time;
  while (end <= limit) {
    const { by, until } = lookAt(exclusion, end);
    if (by === null) return end;
    end = until;
  }
  return end;
}
