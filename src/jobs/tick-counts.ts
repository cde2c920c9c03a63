import { lookAt } from './calendar.js';
import { fieldsOf, parseCron } from './cron.js';
import { memo } from './memo.js';
import { type NextTick, offsetOf, type Timing, ticksAfter } from './schedule.js';
import { clockChanges, dayMs, localAt } from './zone.js';

/** Whole minutes, from a whole one on, in ms since the epoch. */
export interface MinuteWindow {
  readonly from: number;
  readonly minutes: number;
}

/**
 * How many ticks of a schedule are due in each minute, without asking for them one by one: a pattern takes some
 * microseconds, and one that ticks every second no more. To the minute, where `spread` is no whole number of them.
 *
 * @param counts is filled: one number for each minute of the window
 * @returns false where not all could be counted: code computes them that is not here, that fails, or has too many
 */
export type CountTicks = (timing: Timing, counts: Uint32Array, next?: NextTick) => boolean;

/** What cannot be reckoned is asked for, this often in all, and so often of one schedule. */
const mostAsked = 5_000;
const mostAskedOfOne = 500;

/** What is remembered is large: a day of minutes, or all of the window's. */
const mostAnswers = 2_000;

/** @returns a counter for one window, which remembers what schedules have in common */
export function createTickCounter({ from, minutes }: MinuteWindow): CountTicks {
  const excludedIn = memo((key: string) => excludedMinutes(JSON.parse(key), reach), mostAnswers);
  const stretchesIn = memo((zone: string) => stretchesOf(zone, reach), mostAnswers);
  // A tick is due up to a spread later: what is due in the window began before it, by as much as a day.
  const before = 1_440;
  const reach: MinuteWindow = { from: from - before * 60_000, minutes: minutes + before };
  const ticks = new Uint32Array(reach.minutes);
  let asked = 0;

  function ask(timing: Timing, counts: Uint32Array, next?: NextTick): boolean {
    const offset = offsetOf(timing);
    const end = from + minutes * 60_000;
    let own = 0;
    try {
      for (const tick of ticksAfter(timing, from - offset - 1, next)) {
        const minute = Math.floor((tick + offset - from) / 60_000);
        if (tick + offset >= end) return true;
        counts[minute] = (counts[minute] ?? 0) + 1;
        if (++asked >= mostAsked || ++own >= mostAskedOfOne) return false;
      }
      return true;
    } catch {
      return false; // a schedule's own rule may fail
    }
  }

  function reckon(timing: Timing): void {
    ticks.fill(0);
    if (timing.kind === 'cron') addPattern(timing, stretchesIn(timing.timezone), reach, ticks);
    else if (timing.kind === 'every') addInterval(timing, reach, ticks);
    if (timing.kind === 'cron') cutToBounds(timing, reach, ticks);
    const excluded = timing.exclude && excludedIn(JSON.stringify(timing.exclude));
    excluded?.forEach((isExcluded, minute) => {
      if (isExcluded) ticks[minute] = 0;
    });
  }

  return (timing, counts, next) => {
    counts.fill(0);
    const isMoved = timing.exclude?.onExcluded !== undefined;
    if (timing.kind === 'at' && !timing.exclude) return addOnce(timing, { from, minutes }, counts);
    if (timing.kind === 'next' && !next) return false;
    if (timing.kind === 'next' || timing.kind === 'at' || (isMoved && asked < mostAsked)) {
      return ask(timing, counts, next);
    }
    reckon(timing);
    const shift = Math.floor(offsetOf(timing) / 60_000);
    const first = Math.max(0, before - shift);
    counts.set(ticks.subarray(first, first + minutes));
    return !isMoved && shift <= before;
  };
}

function addInterval(timing: Timing & { kind: 'every' }, { from, minutes }: MinuteWindow, ticks: Uint32Array): void {
  const { every, startsAt = Number.NEGATIVE_INFINITY, endsAt = Number.POSITIVE_INFINITY } = timing;
  const phase = Number.isFinite(startsAt) ? startsAt % every : 0;
  const upTo = (time: number) => Math.floor((Math.min(time, endsAt + 1) - 1 - phase) / every);
  const first = Math.max(from, startsAt);
  let counted = upTo(first);
  const step = Math.max(1, Math.floor(every / 60_000));
  const start = Math.max(0, Math.floor((first - from) / 60_000));
  for (let minute = start; minute < minutes; minute++) {
    const found = upTo(from + (minute + 1) * 60_000);
    if (found <= counted) continue;
    ticks[minute] = found - counted;
    counted = found;
    minute += step - 1; // no other is nearer
  }
}

function addOnce(timing: Timing & { kind: 'at' }, { from }: MinuteWindow, counts: Uint32Array): true {
  const { at, startsAt = at, endsAt = at } = timing;
  const minute = Math.floor((at + offsetOf(timing) - from) / 60_000);
  if (minute >= 0 && minute < counts.length && at >= startsAt && at <= endsAt) counts[minute] = 1;
  return true;
}

function cutToBounds({ startsAt, endsAt }: Timing, { from }: MinuteWindow, ticks: Uint32Array): void {
  if (startsAt !== undefined) ticks.fill(0, 0, clamp(Math.ceil((startsAt - from) / 60_000), ticks.length));
  if (endsAt !== undefined) ticks.fill(0, clamp(Math.floor((endsAt - from) / 60_000) + 1, ticks.length));
}

const clamp = (minute: number, most: number) => Math.min(most, Math.max(0, minute));

/** Minutes in which a zone's clock stays as it is; `jump` is by how much, in minutes, it has just been put. */
interface Stretch {
  readonly first: number;
  readonly end: number;
  readonly ahead: number;
  readonly jump: number;
}

function stretchesOf(zone: string, { from, minutes }: MinuteWindow): Stretch[] {
  const changes = clockChanges(zone, from, from + minutes * 60_000);
  const starts = [{ at: from, jump: 0 }, ...changes.map(({ at, before, after }) => ({ at, jump: after - before }))];
  return starts.map(({ at, jump }, index) => ({
    first: Math.round((at - from) / 60_000),
    end: Math.round(((starts[index + 1]?.at ?? from + minutes * 60_000) - from) / 60_000),
    ahead: localAt(zone, at) - at,
    jump: jump / 60_000,
  }));
}

/** Fixed times that the clock passes twice are ticks once, those that it jumps over once after the gap. */
function addPattern(
  { cron, dst }: Timing & { kind: 'cron' },
  stretches: readonly Stretch[],
  { from }: MinuteWindow,
  ticks: Uint32Array,
): void {
  const { fields, fixed } = fieldsOf(cron);
  const [second = '', minute = '', hour = '', ...days] = fields;
  const inMinute = minutesOfDay(`${second} ${minute} ${hour}`);
  const isDay = days.join(' ');
  for (const { first, end, ahead, jump } of stretches) {
    const local = Math.round((from + ahead) / 60_000);
    const again = fixed && jump < 0 ? -jump : 0;
    addLocal(inMinute, isDay, { first: first + again, end, local }, ticks);
    if (!fixed || jump <= 0 || dst === 'skip') continue;
    const gap = { first: first - jump, end: first, local };
    if (ticks[first] === 0 && hasLocal(inMinute, isDay, gap)) ticks[first] = 1;
  }
}

interface LocalMinutes {
  readonly first: number;
  readonly end: number;
  /** What the clock shows at minute 0, in minutes since 1970. */
  readonly local: number;
}

function addLocal(inMinute: Uint8Array, days: string, { first, end, local }: LocalMinutes, ticks: Uint32Array): void {
  for (let minute = first; minute < end; ) {
    const day = Math.floor((local + minute) / 1_440);
    const startOfDay = day * 1_440 - local;
    const endOfDay = Math.min(end, startOfDay + 1_440);
    if (matchesDay(days, day)) {
      for (; minute < endOfDay; minute++) ticks[minute] = inMinute[minute - startOfDay] ?? 0;
    }
    minute = endOfDay;
  }
}

function hasLocal(inMinute: Uint8Array, days: string, { first, end, local }: LocalMinutes): boolean {
  for (let minute = first; minute < end; minute++) {
    const day = Math.floor((local + minute) / 1_440);
    if (inMinute[local + minute - day * 1_440] && matchesDay(days, day)) return true;
  }
  return false;
}

/** How many times a pattern of second, minute and hour means in each minute of a day. Croner reads the fields. */
const minutesOfDay = memo((text: string) => {
  const [second = '', minute = '', hour = ''] = text.split(' ');
  const perMinute = matches(`${second} * * * * *`, 1_000, 60).length;
  const minutes = matches(`0 ${minute} * * * *`, 60_000, 60);
  const found = new Uint8Array(1_440);
  for (const h of matches(`0 0 ${hour} * * *`, 3_600_000, 24)) {
    for (const m of minutes) found[60 * h + m] = perMinute;
  }
  return found;
}, mostAnswers);

/** Which of so many steps from 1970 on a pattern means. */
function matches(pattern: string, stepMs: number, steps: number): number[] {
  const read = parseCron(pattern, 'UTC');
  return Array.from({ length: steps }, (_, step) => step).filter((step) => read.match(new Date(step * stepMs)));
}

const dayAnswers = memo((key: string) => {
  const [days = '', day] = key.split('|');
  return parseCron(`0 0 0 ${days}`, 'UTC').match(new Date(Number(day) * dayMs));
}, mostAnswers);

function matchesDay(days: string, day: number): boolean {
  return days === '* * *' || dayAnswers(`${days}|${day}`);
}

function excludedMinutes(exclude: NonNullable<Timing['exclude']>, { from, minutes }: MinuteWindow): Uint8Array {
  const found = new Uint8Array(minutes);
  for (let minute = 0; minute < minutes; ) {
    const { by, until } = lookAt(exclude, from + minute * 60_000);
    const end = Math.min(minutes, Math.max(minute + 1, Math.ceil((until - from) / 60_000)));
    if (by !== null) found.fill(1, minute, end);
    minute = end;
  }
  return found;
}
