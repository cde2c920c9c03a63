import cronstrue from 'cronstrue';
import { formatDuration } from '../duration.js';
import { unnamed } from './calendar.js';
import type { Misfire, MisfirePolicy } from './misfire.js';
import type { Timing } from './schedule.js';

/** When a schedule runs, as one would say it: "At 07:00, Monday through Friday (Europe/Paris)". */
export function inWords(timing: Timing): string {
  const { exclude } = timing;
  if (!exclude) return kindInWords(timing);
  const names = exclude.calendars.map(({ name }) => name ?? unnamed).join(' and ');
  const then = exclude.onExcluded ? ': then on the next working day' : '';
  return `${kindInWords(timing)}, except ${names}${then}`;
}

function kindInWords(timing: Timing): string {
  switch (timing.kind) {
    case 'cron':
      return timing.timezone === 'UTC' ? cronInWords(timing.cron) : `${cronInWords(timing.cron)} (${timing.timezone})`;
    case 'every':
      return `Every ${formatDuration(timing.every)}`;
    case 'at':
      return `Once, at ${new Date(timing.at).toISOString()}`;
    case 'next':
      return 'Computed by code';
  }
}

/** What becomes of ticks that are found late: "run-once: the latest runs, late is after 1m". */
export function policyInWords({ misfire, grace, maxCatchUp }: MisfirePolicy): string {
  const what: Record<Misfire, string> = {
    'run-once': 'of missed ticks the latest runs',
    'run-all': `missed ticks all run, the latest ${maxCatchUp} at most`,
    skip: `missed ticks do not run, but for the latest where it is less than ${formatDuration(grace)} late`,
  };
  return `${misfire}: ${what[misfire]}`;
}

/** How long, to about two digits: `40ms`, `1.2s`, `4m`, `1h 5m`, `3d 4h`. */
export function briefly(ms: number): string {
  if (ms < 0) return `-${briefly(-ms)}`;
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1).replace('.0', '')}s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return twoUnits(minutes, 'm', seconds % 60, 's');
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return twoUnits(hours, 'h', minutes % 60, 'm');
  const days = Math.floor(hours / 24);
  return twoUnits(days, 'd', days < 10 ? hours % 24 : 0, 'h');
}

/** A time in ms since the epoch as ISO, without milliseconds where it has none. */
export function isoTime(time: number): string {
  // What is no number at all makes its whole entry senseless: whoever lists such ones says so.
  if (Number.isNaN(Number(time))) throw new RangeError(`no time: ${String(time)}`);
  return isoMs(time).replace('.000Z', 'Z');
}

/** With them. What a hand has written may be no time at all: that is told as the last one of the year 9999. */
export function isoMs(time: number): string {
  return new Date(Math.abs(time) <= lastMs ? time : lastMs).toISOString();
}

const lastMs = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** The same, where there may be none. */
export function isoOr(time: number | null | undefined): string | null {
  return time == null ? null : isoTime(time);
}

function twoUnits(most: number, unit: string, rest: number, smaller: string): string {
  return rest > 0 ? `${most}${unit} ${rest}${smaller}` : `${most}${unit}`;
}

// Thousands of schedules share a few patterns, and one takes 20 µs.
const cronWords = new Map<string, string>();

/** Croner reads a few patterns that have no words. */
function cronInWords(cron: string): string {
  let words = cronWords.get(cron);
  if (words !== undefined) return words;
  try {
    words = cronstrue.toString(cron, { use24HourTimeFormat: true });
  } catch {
    words = cron;
  }
  if (cronWords.size >= 2_000) cronWords.clear();
  cronWords.set(cron, words);
  return words;
}
