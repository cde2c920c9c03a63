import { formatDuration } from '../duration.js';
import { lookAt } from '../jobs/calendar.js';
import { changeInWords, dateOfChange, effectOf } from '../jobs/clock-words.js';
import { fieldsOf } from '../jobs/cron.js';
import { memo } from '../jobs/memo.js';
import { type NextTick, type Timing, ticksAfter } from '../jobs/schedule.js';
import { briefly, isoTime } from '../jobs/words.js';
import { clockChanges, dayMs } from '../jobs/zone.js';

/** What `plan` warns of, in plain data. Times are ISO, durations in ms. */
export type Warning =
  | {
      readonly kind: 'clock-change';
      readonly at: string;
      readonly timezone: string;
      readonly schedules: readonly string[];
      readonly message: string;
    }
  | {
      readonly kind: 'overlaps-itself';
      readonly schedules: readonly string[];
      readonly durationMs: number;
      readonly intervalMs: number;
      readonly message: string;
    }
  | {
      readonly kind: 'pile-up';
      readonly at: string;
      readonly schedules: readonly string[];
      /** At how many other seconds of the next day there are as many as is worth a warning, at least. */
      readonly alsoAt: number;
      readonly spreadMs: number;
      readonly message: string;
    };

export interface WarnedSchedule {
  readonly id: string;
  readonly timing: Timing;
  readonly next?: NextTick;
  /** Of its last runs, in ms. */
  readonly durations?: readonly number[];
}

/** Of this many schedules that are due at one second it is warned. */
export const pileUpFrom = 50;
const clockAheadMs = 14 * dayMs;

/** @param now in ms since the epoch */
export function warningsOf(schedules: readonly WarnedSchedule[], now: number): Warning[] {
  return [...clockWarnings(schedules, now), ...overlapWarnings(schedules, now), ...pileUpWarnings(schedules, now)];
}

/** Changes of the clock within two weeks, each with the schedules to which it does the same. */
function clockWarnings(schedules: readonly WarnedSchedule[], now: number): Warning[] {
  const changes = memo((timezone: string) => clockChanges(timezone, now, now + clockAheadMs));
  const effects = memo((key: string) => {
    const [cron = '', timezone = '', dst, at] = key.split('\n');
    const change = changes(timezone).find((it) => it.at === Number(at));
    return change ? effectOf({ cron, timezone, ...(dst === 'skip' && { dst }) }, change) : null;
  });
  const found = new Map<string, Warning & { schedules: string[] }>();
  for (const { id, timing } of schedules) {
    if (timing.kind !== 'cron') continue;
    for (const change of changes(timing.timezone)) {
      const { cron, timezone, dst = '' } = timing;
      const effect = orNull(() =>
        isOff(timing, change.at) ? null : effects([cron, timezone, dst, change.at].join('\n')),
      );
      if (!effect) continue;
      const message = `on ${dateOfChange(change)} ${changeInWords(change)} in ${timezone}: ${effect}`;
      const same = found.get(message);
      if (same) same.schedules.push(id);
      else found.set(message, { kind: 'clock-change', at: isoTime(change.at), timezone, schedules: [id], message });
    }
  }
  return [...found.values()].sort((a, b) => (a.message < b.message ? -1 : 1));
}

/** A hand may have been at the times of what others have stored: that is told elsewhere. */
function orNull<Answer>(ask: () => Answer): Answer | null {
  try {
    return ask();
  } catch {
    return null;
  }
}

function isOff({ exclude, startsAt = time0, endsAt = Number.POSITIVE_INFINITY }: Timing, time: number): boolean {
  return time < startsAt || time > endsAt || (exclude !== undefined && lookAt(exclude, time).by !== null);
}

const time0 = Number.NEGATIVE_INFINITY;

/** Schedules whose next run comes before the last is done, by what their runs have taken. */
function overlapWarnings(schedules: readonly WarnedSchedule[], now: number): Warning[] {
  const intervals = new Map<string, number | null>();
  const intervalOf = (schedule: WarnedSchedule) => {
    const key = keyOf(schedule);
    const known = intervals.get(key);
    if (known !== undefined) return known;
    const interval = shortestInterval(schedule, now);
    intervals.set(key, interval);
    return interval;
  };
  return schedules.flatMap((schedule) => {
    const { id, timing, durations = [] } = schedule;
    const durationMs = median(durations);
    if (durationMs === null || durationMs <= leastInterval(timing)) return [];
    const intervalMs = intervalOf(schedule);
    if (intervalMs === null || durationMs <= intervalMs) return [];
    const message = `it runs for ${briefly(durationMs)}, and ticks ${briefly(intervalMs)} apart`;
    return [{ kind: 'overlaps-itself' as const, schedules: [id], durationMs, intervalMs, message }];
  });
}

/** What a pattern's ticks are apart at least, as good as always, without asking for them. */
function leastInterval(timing: Timing): number {
  if (timing.kind !== 'cron') return 0;
  const [second = ''] = fieldsOf(timing.cron).fields;
  return /^\d+$/.test(second) ? 60_000 : 1_000;
}

/** The one in the middle, the upper of two; null of none. */
export function median(values: readonly number[]): number | null {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? null;
}

/** Of the next few ticks; null where there are none, or their rule fails. */
function shortestInterval(schedule: WarnedSchedule, now: number): number | null {
  const { timing } = schedule;
  if (timing.kind === 'every' && !timing.exclude) return timing.every;
  const ticks = firstTicks(schedule, now, Number.POSITIVE_INFINITY, 6);
  let shortest: number | null = null;
  ticks.forEach((tick, index) => {
    const before = ticks[index - 1];
    if (before !== undefined) shortest = Math.min(shortest ?? Number.POSITIVE_INFINITY, tick - before);
  });
  return shortest;
}

/** How many ticks are looked at, of all schedules together: those of patterns are dear, at 40 µs each. */
const mostPatternTicks = 20_000;
const mostIntervalTicks = 2_000_000;
const secondsOfDay = 86_400;

/** The second of the next day at which most schedules are due, where these are many, of those without a spread. */
function pileUpWarnings(schedules: readonly WarnedSchedule[], now: number): Warning[] {
  const start = Math.floor(now / 1_000) * 1_000;
  const groups = groupsOf(schedules);
  const due = new Uint32Array(secondsOfDay);
  for (const group of groups) {
    for (const second of secondsOf(group, start, groups.length))
      due[second] = (due[second] ?? 0) + group.members.length;
  }
  let [most, alsoAt] = [0, -1];
  due.forEach((count, second) => {
    if (count > (due[most] ?? 0)) most = second;
    if (count >= pileUpFrom) alsoAt++;
  });
  const count = due[most] ?? 0;
  if (count < pileUpFrom) return [];
  const at = start + most * 1_000;
  const there = groups.filter((group) => firstTicks(group.first, at - 1, at + 999, 1).length > 0);
  const ids = there.flatMap(({ members }) => members).sort();
  const intervals = there.slice(0, 100).map(({ first }) => shortestInterval(first, at - 1) ?? dayMs);
  const spreadMs = Math.min(5 * 60_000, ...intervals);
  const others =
    alsoAt > 0
      ? `, and ${pileUpFrom} or more at ${alsoAt} other second${alsoAt === 1 ? '' : 's'} of the next 24 h`
      : '';
  const message = `${ids.length} schedules are due at ${isoTime(at)}${others}: a spread such as '${formatDuration(spreadMs)}' divides them`;
  return [{ kind: 'pile-up', at: isoTime(at), schedules: ids, alsoAt: Math.max(0, alsoAt), spreadMs, message }];
}

/** Schedules with the same times. */
interface Group {
  readonly first: WarnedSchedule;
  readonly members: string[];
}

function groupsOf(schedules: readonly WarnedSchedule[]): Group[] {
  const groups = new Map<string, Group>();
  for (const schedule of schedules) {
    if (schedule.timing.spread !== undefined) continue;
    const key = keyOf(schedule);
    const group = groups.get(key);
    if (group) group.members.push(schedule.id);
    else groups.set(key, { first: schedule, members: [schedule.id] });
  }
  return [...groups.values()];
}

/** The same for schedules with the same times. */
function keyOf({ id, timing }: WarnedSchedule): string {
  const { spread: _spread, offset: _offset, ...times } = timing;
  return times.kind === 'next' ? id : JSON.stringify(times);
}

/** The seconds of the day from a moment on at which a group is due: as many of them as it has a share of the work. */
function secondsOf({ first }: Group, start: number, groups: number): Set<number> {
  const { timing } = first;
  const cheap = timing.kind === 'every' && !timing.exclude;
  const share = Math.max(2, Math.floor((cheap ? mostIntervalTicks : mostPatternTicks) / groups));
  const ticks = firstTicks(first, start - 1, start + dayMs - 1, Math.min(share, secondsOfDay));
  return new Set(ticks.map((tick) => Math.floor((tick - start) / 1_000)));
}

/** The first ticks strictly after a moment, up to another; none where their rule fails. */
function firstTicks({ timing, next }: WarnedSchedule, after: number, upTo: number, most: number): number[] {
  const ticks: number[] = [];
  try {
    for (const tick of ticksAfter(timing, after, next)) {
      if (tick > upTo) break;
      if (ticks.push(tick) >= most) break;
    }
  } catch {
    // A rule may fail, or be another release's: that is told elsewhere.
  }
  return ticks;
}
