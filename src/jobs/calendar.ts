import { clockAt, dayMs } from './zone.js';

export const weekdayNames = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof weekdayNames)[number];

/** Times at which schedules do not run, in plain JSON. What the clock of its zone shows decides. */
export interface Calendar {
  /** `[a-z0-9][a-z0-9-]{0,63}`; what the ledger and the preview call it. */
  readonly name?: string;
  /** IANA name; that of the schedule unless told. */
  readonly timezone?: string;
  /** Whole days: `2026-12-24`. */
  readonly dates?: readonly string[];
  /** Whole days of every year: `12-25`. */
  readonly yearly?: readonly string[];
  readonly weekly?: readonly WeeklyWindow[];
}

/** The same times on some days of each week: whole days, or from a time of day to another, which may be the next day's. */
export interface WeeklyWindow {
  readonly days: readonly Weekday[];
  /** The first moment, `HH:MM`; the day's beginning unless told. */
  readonly from?: string;
  /** The first moment after it, `HH:MM`; the day's end unless told. */
  readonly to?: string;
}

export const excludedHandlings = ['drop', 'next-working-day'] as const;

/** What a schedule excludes, as its timing carries it. */
export interface Exclusion {
  /** Of `except`, of calendars without a zone, and of the days that ticks move to. */
  readonly timezone: string;
  readonly calendars: readonly Calendar[];
  /** Days that run all the same: `2026-12-24`. */
  readonly except?: readonly string[];
  /** Excluded ticks run at the same local time of the first later day on which that is not excluded. */
  readonly onExcluded?: 'next-working-day';
}

/**
 * Names times at which schedules do not run: holidays, weekends, nights. A schedule's `exclude` lists it. What is wrong
 * with it is told with the schedules that use it.
 */
export function defineCalendar<const Given extends Calendar & { readonly name: string }>(calendar: Given): Given {
  return calendar;
}

/** Whether a moment is excluded, and until when, in ms since the epoch, the answer is the same at least. */
export interface Look {
  /** The first calendar that says so, or null where none does. */
  readonly by: string | null;
  readonly until: number;
}

/** What a calendar is called that a schedule has in place. */
export const unnamed = 'its own calendar';

export function lookAt({ timezone, calendars, except }: Exclusion, time: number): Look {
  let until = Number.POSITIVE_INFINITY;
  if (except && except.length > 0) {
    const { day, endOfDay } = readClock(timezone, time);
    if (daysOf(except).has(day)) return { by: null, until: endOfDay };
    until = endOfDay;
  }
  for (const calendar of calendars) {
    const found = lookInto(calendar, calendar.timezone ?? timezone, time);
    until = Math.min(until, found.until);
    if (found.excluded) return { by: calendar.name ?? unnamed, until };
  }
  return { by: null, until };
}

/** A date as the days since 1970, or null where no calendar has it. */
export function dayOfDate(date: string): number | null {
  const match = /^(\d{4})-(\d\d)-(\d\d)$/.exec(date);
  if (!match) return null;
  const time = Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3]));
  return new Date(time).toISOString().startsWith(date) ? time / dayMs : null;
}

/** A time of day in ms, or null where `text` is none: `24:00` is the day's end. */
export function timeOfDay(text: string): number | null {
  const match = /^(\d\d):(\d\d)$/.exec(text);
  const [hours, minutes] = [Number(match?.[1]), Number(match?.[2])];
  const within = match !== null && minutes < 60 && (hours < 24 || (hours === 24 && minutes === 0));
  return within ? (hours * 60 + minutes) * 60_000 : null;
}

function lookInto(calendar: Calendar, zone: string, time: number): { excluded: boolean; until: number } {
  const { dates, yearly, weekly } = readCalendar(calendar);
  const { day, msOfDay, endOfDay, until } = readClock(zone, time);
  if (dates.has(day) || (yearly.size > 0 && yearly.has(monthAndDay(day)))) return { excluded: true, until: endOfDay };
  let next = dayMs;
  for (const [from, to] of weekly[(day + 3) % 7] ?? []) {
    if (from <= msOfDay && msOfDay < to) return { excluded: true, until: until(to) };
    if (from > msOfDay) next = Math.min(next, from);
  }
  return { excluded: false, until: until(next) };
}

/** The local day, counted from 1970, and what is left of it, but no longer than the clock goes on without a change. */
function readClock(zone: string, time: number) {
  const clock = clockAt(zone, time);
  const local = time + clock.ahead;
  const day = Math.floor(local / dayMs);
  const until = (msOfDay: number) => Math.min(clock.until, day * dayMs + msOfDay - clock.ahead);
  return { day, msOfDay: local - day * dayMs, endOfDay: until(dayMs), until };
}

interface ReadCalendar {
  readonly dates: ReadonlySet<number>;
  readonly yearly: ReadonlySet<string>;
  /** For each day of the week, from Monday, the parts of it that are excluded, in ms. */
  readonly weekly: readonly (readonly (readonly [from: number, to: number])[])[];
}

const read = new WeakMap<Calendar, ReadCalendar>();

function readCalendar(calendar: Calendar): ReadCalendar {
  let known = read.get(calendar);
  if (!known) {
    const { dates = [], yearly = [], weekly = [] } = calendar;
    known = { dates: daysOf(dates), yearly: new Set(yearly), weekly: partsOf(weekly) };
    read.set(calendar, known);
  }
  return known;
}

/** A window over midnight is one part of its day and one of the next. */
function partsOf(windows: readonly WeeklyWindow[]): [number, number][][] {
  const parts: [number, number][][] = weekdayNames.map(() => []);
  for (const { days, from = '00:00', to = '24:00' } of windows) {
    const [start, end] = [timeOfDay(from) ?? 0, timeOfDay(to) ?? dayMs];
    for (const day of days) {
      const index = weekdayNames.indexOf(day);
      if (end > start) parts[index]?.push([start, end]);
      else parts[index]?.push([start, dayMs]);
      if (end <= start) parts[(index + 1) % 7]?.push([0, end]);
    }
  }
  return parts;
}

const readDates = new WeakMap<readonly string[], ReadonlySet<number>>();

function daysOf(dates: readonly string[]): ReadonlySet<number> {
  let known = readDates.get(dates);
  if (!known) {
    known = new Set(dates.map(dayOfDate).filter((day) => day !== null));
    readDates.set(dates, known);
  }
  return known;
}

function monthAndDay(day: number): string {
  return new Date(day * dayMs).toISOString().slice(5, 10);
}
