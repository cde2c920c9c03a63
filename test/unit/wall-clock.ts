/**
 * What a wall clock shows at every minute of a year, and which of those minutes a cron pattern means: the long
 * way round, from Intl alone, to judge the schedules by.
 */
export interface WallClock {
  readonly zone: string;
  /** In ms since the epoch: the year, end exclusive. */
  readonly start: number;
  readonly end: number;
  /** At each minute of the year: local time in minutes, counted as if it were UTC. */
  readonly local: Int32Array;
  readonly changes: readonly ClockChange[];
}

export interface ClockChange {
  /** The first minute of the year with the new offset. */
  readonly at: number;
  /** Minutes jumped over, where positive; minutes passed twice, where negative. */
  readonly jump: number;
}

/** Zones whose clocks change in ways of their own: at midnight, up to midnight, by half an hour, south of the equator, never. */
export const zones = [
  'Asia/Beirut',
  'Africa/Cairo',
  'America/Havana',
  'America/Nuuk',
  'America/Santiago',
  'Australia/Lord_Howe',
  'America/New_York',
  'Europe/Paris',
  'UTC',
] as const;

const minute = 60_000;
const clocks = new Map<string, WallClock>();

export function wallClock(zone: string, year: number): WallClock {
  const key = `${zone} ${year}`;
  const clock = clocks.get(key) ?? readWallClock(zone, year);
  clocks.set(key, clock);
  return clock;
}

/**
 * Every tick of the year, in ms since the epoch, by looking at each of its minutes.
 *
 * @param dst whether a fixed time that the clock jumps over is a tick after the gap, or none
 */
export function bruteForce(
  cron: string,
  { start, local, changes }: WallClock,
  dst: 'run-after' | 'skip' = 'run-after',
): number[] {
  const pattern = expand(cron);
  const passedBefore = new Set(changes.flatMap(({ at, jump }) => range(at, at - jump)));
  const lateAt = new Set(
    changes.filter(({ at, jump }) => jumpedOver(local, at, jump).some(pattern.means)).map(({ at }) => at),
  );
  const ticks: number[] = [];
  for (let index = 0; index < local.length; index++) {
    const time = start + index * minute;
    if (dst === 'run-after' && pattern.fixed && lateAt.has(index)) ticks.push(time);
    if (!pattern.means(local[index] ?? 0)) continue;
    if (pattern.fixed && passedBefore.has(index)) continue;
    for (const second of pattern.seconds) ticks.push(time + second * 1_000);
  }
  // A late tick may meet one that is due at that moment anyway.
  return ticks.filter((tick, index) => tick !== ticks[index - 1]);
}

function jumpedOver(local: Int32Array, at: number, jump: number): number[] {
  const shown = local[at] ?? 0;
  return range(shown - jump, shown);
}

function range(from: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - from) }, (_, index) => from + index);
}

function expand(cron: string) {
  const fields = cron.split(' ');
  const [seconds = '', minutes = '', hours = '', days = '', months = '', weekdays = ''] =
    fields.length === 5 ? ['0', ...fields] : fields;
  const [atMinute, atHour] = [values(minutes, 0, 59), values(hours, 0, 23)];
  const [onDay, inMonth] = [values(days, 1, 31), values(months, 1, 12, monthNames)];
  const onWeekday = new Set([...values(weekdays, 0, 7, weekdayNames)].map((day) => day % 7));
  const [anyDay, anyWeekday] = [days === '*', weekdays === '*'];

  const ofDay = Uint8Array.from({ length: 1_440 }, (_, i) =>
    Number(atMinute.has(i % 60) && atHour.has(Math.floor(i / 60))),
  );
  const dates = new Map<number, boolean>();
  const meansDate = (days: number): boolean => {
    const date = new Date(days * 1_440 * minute);
    const [day, weekday] = [onDay.has(date.getUTCDate()), onWeekday.has(date.getUTCDay())];
    return inMonth.has(date.getUTCMonth() + 1) && (anyDay || anyWeekday ? day && weekday : day || weekday);
  };
  const means = (local: number): boolean => {
    if (!ofDay[local % 1_440]) return false;
    const days = Math.floor(local / 1_440);
    const known = dates.get(days) ?? meansDate(days);
    dates.set(days, known);
    return known;
  };
  const fixed = !/[*/]/.test(seconds + minutes + hours);
  return { means, fixed, seconds: [...values(seconds, 0, 59)].sort((a, b) => a - b) };
}

const monthNames = ['', 'jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

function values(field: string, min: number, max: number, names: readonly string[] = []): Set<number> {
  const read = (text: string) => (names.includes(text) ? names.indexOf(text) : Number(text));
  const all = new Set<number>();
  for (const part of field.split(',')) {
    const [range = '', step = '1'] = part.split('/');
    const [from = min, to = range === '*' ? max : from] = range === '*' ? [] : range.split('-').map(read);
    for (let value = from; value <= to; value += Number(step)) all.add(value);
  }
  return all;
}

/** An offset that changes and changes back within a quarter of an hour has never been; at the others, every minute is asked. */
function readWallClock(zone: string, year: number): WallClock {
  const [start, end] = [Date.UTC(year, 0), Date.UTC(year + 1, 0)];
  const length = (end - start) / minute;
  const offsetAt = offsetReader(zone);
  const local = new Int32Array(length);
  const changes: ClockChange[] = [];
  let offset = offsetAt(start);
  for (let quarter = 0; quarter < length; quarter += 15) {
    const steady = offsetAt(start + (quarter + 15) * minute) === offset;
    for (let index = quarter; index < quarter + 15; index++) {
      const now = steady ? offset : offsetAt(start + index * minute);
      if (now !== offset) changes.push({ at: index, jump: now - offset });
      offset = now;
      local[index] = start / minute + index + offset;
    }
  }
  return { zone, start, end, local, changes };
}

function offsetReader(zone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  });
  return (time) => {
    // 11/21/2026, 07:30
    const [month = 0, day = 0, year = 0, hour = 0, minutes = 0] = format.format(time).match(/\d+/g)?.map(Number) ?? [];
    return (Date.UTC(year, month - 1, day, hour, minutes) - time) / minute;
  };
}
