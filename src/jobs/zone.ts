/** What the clock of a zone is ahead of UTC by, in ms, and until when, in ms since the epoch, it stays so at least. */
export interface ZoneClock {
  readonly ahead: number;
  readonly until: number;
}

/** A change of a zone's clock. Times in ms since the epoch, and ahead of UTC in ms. */
export interface ClockChange {
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

export const dayMs = 86_400_000;

export function clockAt(zone: string, time: number): ZoneClock {
  if (zone === 'UTC') return { ahead: 0, until: Number.POSITIVE_INFINITY };
  const index = Math.floor(time / dayMs);
  const { start, end, change } = dayOf(zone, index);
  return change === null || time < change
    ? { ahead: start, until: change ?? (index + 1) * dayMs }
    : { ahead: end, until: (index + 1) * dayMs };
}

/** What the clock shows at a moment, counted in ms as if it were UTC. */
export function localAt(zone: string, time: number): number {
  return time + clockAt(zone, time).ahead;
}

/** When the clock shows a local time first, or, where it jumps over it, the first moment after the gap. */
export function momentAt(zone: string, local: number): { readonly time: number; readonly jumpedOver: boolean } {
  const around = [clockAt(zone, local - dayMs).ahead, clockAt(zone, local + dayMs).ahead];
  const ahead = Math.max(...around);
  for (const time of [local - ahead, local - Math.min(...around)]) {
    if (localAt(zone, time) === local) return { time, jumpedOver: false };
  }
  let time = local - ahead;
  for (let clock = clockAt(zone, time); clock.ahead !== ahead; clock = clockAt(zone, time)) time = clock.until;
  return { time, jumpedOver: true };
}

/** The changes of a zone's clock from a moment on, before another. */
export function clockChanges(zone: string, from: number, to: number): ClockChange[] {
  const changes: ClockChange[] = [];
  for (let time = from; time < to; ) {
    const { ahead, until } = clockAt(zone, time);
    if (until < to && clockAt(zone, until).ahead !== ahead)
      changes.push({ at: until, before: ahead, after: clockAt(zone, until).ahead });
    time = until;
  }
  return changes;
}

interface Day {
  readonly start: number;
  readonly end: number;
  /** The moment of the change, where start and end differ. No clock changes twice in a day. */
  readonly change: number | null;
}

// Each question to Intl takes a microsecond, and every tick of a calendar asks some.
const days = new Map<string, Map<number, Day>>();

function dayOf(zone: string, index: number): Day {
  const known = days.get(zone) ?? new Map<number, Day>();
  days.set(zone, known);
  let day = known.get(index);
  if (day) return day;
  const format = formatOf(zone);
  const [start, end] = [aheadBy(format, index * dayMs), aheadBy(format, (index + 1) * dayMs)];
  day = { start, end, change: start === end ? null : changeWithin(format, index, start) };
  if (known.size >= 10_000) known.clear();
  known.set(index, day);
  return day;
}

function changeWithin(format: Intl.DateTimeFormat, index: number, start: number): number {
  let [low, high] = [index * 1_440, (index + 1) * 1_440];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (aheadBy(format, middle * 60_000) === start) low = middle;
    else high = middle;
  }
  return high * 60_000;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' });
    formats.set(zone, format);
  }
  return format;
}

/** Reads "11/21/2026, GMT+05:30". */
function aheadBy(format: Intl.DateTimeFormat, time: number): number {
  const [, sign, hours = 0, minutes = 0, seconds = 0] =
    /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(format.format(time)) ?? [];
  const ms = ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
  return sign === '-' ? -ms : ms;
}
