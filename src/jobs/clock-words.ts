import { type CronTiming, fieldsOf, localTimes } from './cron.js';
import { type ClockChange, clockChanges, dayMs } from './zone.js';

/** What a change of the clock does to a cron schedule, in words; null where it does nothing. */
export function effectOf(pattern: CronTiming, { at, before, after }: ClockChange): string | null {
  const { fields, fixed } = fieldsOf(pattern.cron);
  const [from, to] = [at + Math.min(before, after), at + Math.max(before, after)];
  // What runs in each hour follows elapsed time.
  const times = fields[2] === '*' ? [] : localTimes(pattern.cron, from, to, 4);
  if (times.length === 0) return null;
  const which = `${times.slice(0, 3).map(clockTime).join(', ')}${times.length > 3 ? ', …' : ''}`;
  const [runs, doesNotRun] = times.length > 1 ? ['run', 'do not run'] : ['runs', 'does not run'];
  if (after < before) return `${which} ${runs} ${fixed ? 'the first time only' : 'twice'}`;
  if (!fixed || pattern.dst === 'skip') return `${which} ${doesNotRun}`;
  return `${which} ${runs}${times.length > 1 ? ' once,' : ''} at ${clockTime(to)}`;
}

/** How a clock changes: "the clock goes forward from 02:00 to 03:00". */
export function changeInWords({ at, before, after }: ClockChange): string {
  return `the clock goes ${after > before ? 'forward' : 'back'} from ${clockTime(at + before)} to ${clockTime(at + after)}`;
}

/** The date of a change, as the clock showed it a moment before. */
export function dateOfChange({ at, before }: ClockChange): string {
  return new Date(at + before - 1).toISOString().slice(0, 10);
}

/** The last change of the clock between two moments, where it shows another offset at the second than at the first. */
export function changeBetween(zone: string, from: number, to: number): ClockChange | null {
  // What comes of a longer time is a season, not a change to tell of.
  const changes = clockChanges(zone, Math.max(from, to - 400 * dayMs), to + 1);
  const [first, last] = [changes[0], changes.at(-1)];
  return first && last && first.before !== last.after ? last : null;
}

const clockTime = (local: number) => new Date(local).toISOString().slice(11, 16);
