import type { Overlap } from '../jobs/overlap.js';
import type { NextTick, Timing } from '../jobs/schedule.js';
import { createTickCounter } from '../jobs/tick-counts.js';
import { isoTime } from '../jobs/words.js';
import { breather } from './breather.js';

/** What is known of a schedule. Times in ms since the epoch. */
export interface PlannedSchedule {
  readonly id: string;
  readonly job: string;
  readonly timing: Timing;
  readonly next?: NextTick;
  readonly overlap: Overlap;
  /** How long its runs take as a rule, in ms; null where none was measured. */
  readonly durationMs: number | null;
  /** From when to when no tick of it starts. */
  readonly off?: { readonly from: number; readonly to: number };
}

export interface DayInput {
  readonly schedules: readonly PlannedSchedule[];
  /** How many runs of a job may execute at once, on all workers that are alive; no worker takes one that is missing. */
  readonly slots: ReadonlyMap<string, number>;
  readonly now: number;
}

/** The last and the next 24 hours, in parts of ten minutes. Times are ISO, durations in ms. */
export interface Day {
  readonly from: string;
  readonly now: string;
  readonly partMs: number;
  /** Which part is now. */
  readonly current: number;
  /** Those with most ticks first. */
  readonly jobs: readonly JobDay[];
  /** The latest first. */
  readonly shortfalls: readonly Shortfall[];
}

export interface JobDay {
  readonly job: string;
  /** Of its schedules, those that have a tick in these hours. */
  readonly schedules: number;
  /** Due in each part. */
  readonly ticks: readonly number[];
  readonly total: number;
  /** Null where no worker takes the job. */
  readonly slots: number | null;
  /** How many slots its ticks would want in each part from now on, at most at one time: none before. */
  readonly wanted: readonly number[];
  /** How many of those there are they keep busy. */
  readonly busy: readonly number[];
  /** How many of its schedules with ticks to come have no run that was measured. */
  readonly unmeasured: number;
  /** Of its schedules, those whose ticks cannot be counted, or not all. */
  readonly uncounted: readonly string[];
}

/** From when to when the ticks of a job want more slots than there are, so that runs start late. */
export interface Shortfall {
  readonly job: string;
  readonly from: string;
  /** When what has piled up is worked off; null where the day ends first. */
  readonly to: string | null;
  /** How many slots they want at once, at most. */
  readonly wanted: number;
  readonly slots: number;
  /** How late the last of them start. */
  readonly lateMs: number;
  /** Those that want most, the first five, and how many more there are. */
  readonly schedules: readonly { readonly id: string; readonly ticks: number }[];
  readonly more: number;
  /** Over how long their ticks would have to be spread. */
  readonly spreadMs: number;
}

const minuteMs = 60_000;
const partMinutes = 10;
const hours = 24;
/** Runs that start later than this are late: what a schedule's `grace` is unless told. */
const lateFromMs = 60_000;
const namedSchedules = 5;

/**
 * Reckons from the times of schedules and from how long their runs take. Who serves others meanwhile loses no time: the
 * event loop has its turn every few milliseconds.
 */
export async function reckonDay({ schedules, slots, now }: DayInput): Promise<Day> {
  const partMs = partMinutes * minuteMs;
  const nowPart = Math.floor(now / partMs) * partMs;
  const from = nowPart - hours * 60 * minuteMs;
  const minutes = 2 * hours * 60 + partMinutes;
  const window = { from, minutes, current: Math.floor((now - from) / minuteMs) };
  const count = createTickCounter(window);
  const counts = new Uint32Array(minutes);
  const breathe = breather();
  const jobs: JobDay[] = [];
  const shortfalls: Shortfall[] = [];
  for (const [job, groups] of byJob(schedules)) {
    const tally = createTally(window);
    for (const group of groups) {
      const isCounted = countGroup(group);
      tally.add(group, counts, isCounted);
      await breathe();
    }
    const own = slots.get(job) ?? null;
    const load = loadOf(tally.demand, own ?? 0);
    jobs.push({ job, slots: own, ...tally.summary(), ...inParts(load, window) });
    if (own === null) continue;
    for (const late of lateStretches(load)) {
      shortfalls.push(shortfallOf({ job, slots: own, late, wanting: await wantingIn(groups, late), window }));
    }
  }

  /** The schedules whose ticks are behind it. */
  async function wantingIn(groups: readonly Group[], { first, peak }: LateStretch): Promise<Wanting[]> {
    const wanting: Wanting[] = [];
    for (const group of groups) {
      countGroup(group);
      const ticks = sum(counts, first + window.current, peak + window.current + 1);
      for (const { id, durationMs } of ticks > 0 ? group.members : []) {
        if (durationMs) wanting.push({ id, ticks, workMs: ticks * durationMs });
      }
      await breathe();
    }
    return wanting;
  }

  function countGroup({ timing, next, off }: Group): boolean {
    const isCounted = attempt(() => count(timing, counts, next));
    if (off) counts.fill(0, minuteOf(off.from, window), minuteOf(off.to, window));
    return isCounted;
  }

  return {
    ...{ from: isoTime(from), now: isoTime(now), partMs, current: (nowPart - from) / partMs },
    jobs: jobs.sort((a, b) => b.total - a.total || (a.job < b.job ? -1 : 1)),
    shortfalls: shortfalls.sort((a, b) => b.lateMs - a.lateMs),
  };
}

interface Window {
  readonly from: number;
  readonly minutes: number;
  /** The minute that is now. */
  readonly current: number;
}

/** What the schedules of one job come to. */
function createTally({ minutes, current }: Window) {
  const ticks = new Uint32Array(minutes);
  const demand = new Float64Array(minutes - current);
  const uncounted: string[] = [];
  let schedules = 0;
  let unmeasured = 0;
  return {
    /** Slots that are wanted in each minute from now on. */
    demand,
    add({ members }: Group, counts: Uint32Array, isCounted: boolean): void {
      if (!isCounted) uncounted.push(...members.map(({ id }) => id));
      const [past, toCome] = [sum(counts, 0, current), sum(counts, current, minutes)];
      if (past + toCome === 0) return;
      schedules += members.length;
      for (let minute = 0; minute < minutes; minute++) {
        ticks[minute] = (ticks[minute] ?? 0) + (counts[minute] ?? 0) * members.length;
      }
      if (toCome === 0) return;
      unmeasured += members.filter(({ durationMs }) => durationMs === null).length;
      occupyAll(demand, counts.subarray(current), members);
    },
    summary() {
      const perPart = partsOf(ticks, (a, b) => a + b);
      return { schedules, ticks: perPart, total: perPart.reduce((a, b) => a + b, 0), unmeasured, uncounted };
    },
  };
}

/** Runs of less than a minute that may overlap are a sum; each other schedule is looked at by itself. */
function occupyAll(demand: Float64Array, counts: Uint32Array, members: readonly PlannedSchedule[]): void {
  let shortMs = 0;
  for (const { durationMs, overlap } of members) {
    if (durationMs === null) continue;
    if (overlap === 'allow' && durationMs < minuteMs) shortMs += durationMs;
    else occupy(demand, counts, durationMs, overlap === 'allow');
  }
  if (shortMs === 0) return;
  for (let minute = 0; minute < counts.length; minute++) {
    demand[minute] = (demand[minute] ?? 0) + ((counts[minute] ?? 0) * shortMs) / minuteMs;
  }
}

/** Adds the slots that runs take, each for as long as one takes; those of a schedule that may not overlap one at a time. */
function occupy(demand: Float64Array, counts: Uint32Array, durationMs: number, mayOverlap: boolean): void {
  const wholeMinutes = Math.floor(durationMs / minuteMs);
  const rest = durationMs / minuteMs - wholeMinutes;
  const add = (minute: number, slots: number) => {
    if (minute < demand.length) demand[minute] = (demand[minute] ?? 0) + slots;
  };
  let freeFrom = 0;
  for (let minute = 0; minute < counts.length; minute++) {
    const due = counts[minute] ?? 0;
    if (due === 0 || minute < freeFrom) continue;
    const runs = mayOverlap ? due : Math.min(due, Math.max(1, minuteMs / Math.max(1, durationMs)));
    for (let later = 0; later < wholeMinutes && minute + later < demand.length; later++) add(minute + later, runs);
    add(minute + wholeMinutes, runs * rest);
    if (!mayOverlap) freeFrom = minute + wholeMinutes;
  }
}

/** What becomes of a demand with so many slots: by minutes, what is wanted, what is busy, and what has to wait. */
interface Load {
  readonly slots: number;
  readonly wanted: Float64Array;
  readonly busy: Float64Array;
  /** In minutes of one slot, at the end of each minute. */
  readonly waiting: Float64Array;
}

function loadOf(wanted: Float64Array, slots: number): Load {
  const busy = new Float64Array(wanted.length);
  const waiting = new Float64Array(wanted.length);
  let left = 0;
  wanted.forEach((slotsWanted, minute) => {
    const work = slotsWanted + left;
    busy[minute] = Math.min(slots, work);
    left = slots > 0 ? Math.max(0, work - slots) : 0;
    // Sums of shares are not exact.
    if (left < 1e-6) left = 0;
    waiting[minute] = left;
  });
  return { slots, wanted, busy, waiting };
}

/** Minutes from now in which runs wait without a break. */
interface LateStretch {
  readonly first: number;
  /** The first minute after it; null where the day ends before. */
  readonly end: number | null;
  /** The minute in which most has piled up. */
  readonly peak: number;
  readonly wanted: number;
  readonly lateMs: number;
  /** In minutes of one slot. */
  readonly work: number;
}

function lateStretches(load: Load): LateStretch[] {
  const { waiting } = load;
  const found: LateStretch[] = [];
  for (let minute = 0; minute < waiting.length; minute++) {
    if (!waiting[minute]) continue;
    const stretch = stretchFrom(minute, load);
    if (stretch.lateMs >= lateFromMs) found.push(stretch);
    minute = stretch.end ?? waiting.length;
  }
  return found;
}

function stretchFrom(first: number, { slots, wanted, waiting }: Load): LateStretch {
  const at = (minute: number) => waiting[minute] ?? 0;
  let [end, peak, most, work] = [first, first, 0, 0];
  for (; at(end) > 0; end++) {
    if (at(end) > at(peak)) peak = end;
    most = Math.max(most, wanted[end] ?? 0);
    work += wanted[end] ?? 0;
  }
  const lateMs = Math.round((at(peak) / slots) * minuteMs);
  return { first, end: end < waiting.length ? end + 1 : null, peak, wanted: most, lateMs, work };
}

interface Wanting {
  readonly id: string;
  readonly ticks: number;
  readonly workMs: number;
}

interface ShortfallInput {
  readonly job: string;
  readonly slots: number;
  readonly late: LateStretch;
  readonly wanting: readonly Wanting[];
  readonly window: Window;
}

function shortfallOf({ job, slots, late, wanting, window: { from, current } }: ShortfallInput): Shortfall {
  const { first, end, wanted, lateMs, work } = late;
  const timeOf = (minute: number) => isoTime(from + (current + minute) * minuteMs);
  const most = wanting.toSorted((a, b) => b.workMs - a.workMs || (a.id < b.id ? -1 : 1)).slice(0, namedSchedules);
  return {
    ...{ job, from: timeOf(first), to: end === null ? null : timeOf(end), slots, lateMs },
    wanted: Math.ceil(wanted),
    schedules: most.map(({ id, ticks }) => ({ id, ticks })),
    more: wanting.length - most.length,
    spreadMs: Math.ceil(work / slots) * minuteMs,
  };
}

/** By parts of the whole window; those that are over have none. */
function inParts({ wanted, busy }: Load, { minutes, current }: Window): Pick<JobDay, 'wanted' | 'busy'> {
  const most = (values: Float64Array) => {
    const whole = new Float64Array(minutes);
    whole.set(values, current);
    return partsOf(whole, Math.max).map((slots) => Math.round(slots * 100) / 100);
  };
  return { wanted: most(wanted), busy: most(busy) };
}

function partsOf(minutes: ArrayLike<number>, join: (a: number, b: number) => number): number[] {
  return Array.from({ length: Math.ceil(minutes.length / partMinutes) }, (_, part) => {
    let value = 0;
    for (let minute = part * partMinutes; minute < (part + 1) * partMinutes; minute++) {
      value = join(value, minutes[minute] ?? 0);
    }
    return value;
  });
}

/** What a hand has written into a schedule may be nothing that has times. */
function attempt(count: () => boolean): boolean {
  try {
    return count();
  } catch {
    return false;
  }
}

function minuteOf(time: number, { from, minutes }: Window): number {
  return Math.min(minutes, Math.max(0, Math.ceil((time - from) / minuteMs)));
}

function sum(counts: Uint32Array, from: number, to: number): number {
  let total = 0;
  for (let minute = from; minute < to; minute++) total += counts[minute] ?? 0;
  return total;
}

/** Schedules of a job that have the same ticks. */
interface Group extends Pick<PlannedSchedule, 'timing' | 'next' | 'off'> {
  readonly members: PlannedSchedule[];
}

function byJob(schedules: readonly PlannedSchedule[]): Map<string, readonly Group[]> {
  const jobs = new Map<string, Map<string, Group>>();
  for (const schedule of schedules) {
    const { job, timing, next, off } = schedule;
    const groups = jobs.get(job) ?? new Map<string, Group>();
    jobs.set(job, groups);
    const key = keyOf(schedule);
    const known = groups.get(key);
    if (known) known.members.push(schedule);
    else groups.set(key, { timing, members: [schedule], ...(next && { next }), ...(off && { off }) });
  }
  return new Map([...jobs].map(([job, groups]) => [job, [...groups.values()]]));
}

/** The same for those whose ticks are due in the same minutes. */
function keyOf({ id, timing, off }: PlannedSchedule): string {
  if (timing.kind === 'next' || off) return id;
  const { spread: _spread, offset = 0, ...times } = timing;
  return `${Math.floor(offset / minuteMs)} ${JSON.stringify(times)}`;
}
