import { Cron } from 'croner';
import { clockAt, dayMs, localAt, momentAt } from './zone.js';

/** The first time strictly after a moment that a pattern means in a zone, in ms since the epoch. */
export function cronTick(pattern: CronTiming, after: number): number | null {
  const { cron, timezone, dst } = pattern;
  let time = nextOf(pattern, after);
  if (dst === 'skip') while (time !== null && isAfterGap(cron, timezone, time)) time = nextOf(pattern, time);
  return time;
}

export interface CronTiming {
  readonly cron: string;
  readonly timezone: string;
  readonly dst?: 'skip';
}

/** Whether a tick is one that the clock has jumped over, at the first moment after the gap. */
export function isAfterGap(cron: string, timezone: string, tick: number): boolean {
  const forward = clockAt(timezone, tick).ahead > clockAt(timezone, tick - 1).ahead;
  return forward && !parseCron(cron, timezone).match(new Date(tick));
}

/** Croner's reading of a pattern of 5 or 6 fields or a nickname such as `@daily`; throws where it is none. */
export function parseCron(cron: string, timezone: string): Cron {
  const key = `${cron}\n${timezone}`;
  const known = parsed.get(key);
  if (known) return known;
  const made = new Cron(cron, { timezone, mode: '5-or-6-parts', fixedTimeRule: 'no-wildcard' });
  // Croner also reads an ISO time, as a pattern that fires once: here that is what `at` is for.
  if (made.getOnce()) throw new TypeError('a single time is given as "at"');
  if (parsed.size >= 10_000) parsed.clear();
  parsed.set(key, made);
  return made;
}

// Reading a pattern costs as much as asking it for a time, and a worker asks for the same few over and over.
const parsed = new Map<string, Cron>();

/**
 * The fields of a pattern: second, minute, hour, day, month, weekday. It means fixed times of day where the first three
 * have no wildcard and no step.
 */
export function fieldsOf(cron: string): { readonly fields: readonly string[]; readonly fixed: boolean } {
  const given = (nicknames[cron.trim().toLowerCase()] ?? cron.trim()).split(/\s+/);
  const fields = given.length === 5 ? ['0', ...given] : given;
  return { fields, fixed: !/[*?/]/.test(fields.slice(0, 3).join()) };
}

const nicknames: Record<string, string> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/** The times of day that a pattern means, in ms, ascending; null where it follows elapsed time. */
export function timesOfDay(cron: string): readonly number[] | null {
  const { fields, fixed } = fieldsOf(cron);
  if (!fixed) return null;
  const known = daytimes.get(cron);
  if (known) return known;
  const everyDay = parseCron(`${fields.slice(0, 3).join(' ')} * * *`, 'UTC');
  const times: number[] = [];
  let time = everyDay.nextRun(new Date(-1))?.getTime();
  while (time !== undefined && time < dayMs) {
    times.push(time);
    time = everyDay.nextRun(new Date(time))?.getTime();
  }
  if (daytimes.size >= 1_000) daytimes.clear();
  daytimes.set(cron, times);
  return times;
}

/** The first local times that a pattern means from one on and before another, all in ms as if they were UTC. */
export function localTimes(cron: string, from: number, to: number, most: number): number[] {
  const read = parseCron(cron, 'UTC');
  const times: number[] = [];
  let time = read.nextRun(new Date(from - 1_000))?.getTime();
  while (time !== undefined && time < to && times.length < most) {
    times.push(time);
    time = read.nextRun(new Date(time))?.getTime();
  }
  return times;
}

const daytimes = new Map<string, readonly number[]>();

/** Thousands of schedules may share a pattern, and each tick asks twice: what lies between two ticks has one answer. */
function nextOf({ cron, timezone }: CronTiming, after: number): number | null {
  const read = parseCron(cron, timezone);
  const known = answers.get(read);
  if (known && after >= known.after && after < known.next) return known.next;
  const isByClock = timezone !== 'UTC' && fieldsOf(cron).fixed;
  const next = isByClock ? nextByClock(cron, timezone, after) : (read.nextRun(new Date(after))?.getTime() ?? null);
  if (next !== null) answers.set(read, { after, next });
  return next;
}

const answers = new WeakMap<Cron, { readonly after: number; readonly next: number }>();

/** Of fixed times of day, which croner drops where the clock jumps over them into another day, as in Nuuk. */
function nextByClock(cron: string, timezone: string, after: number): number | null {
  const read = parseCron(cron, 'UTC');
  let local = read.nextRun(new Date(localAt(timezone, after)))?.getTime();
  while (local !== undefined) {
    const { time } = momentAt(timezone, local);
    if (time > after) return time;
    local = read.nextRun(new Date(local))?.getTime();
  }
  return null;
}
