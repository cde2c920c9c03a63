import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Calendar, Exclusion, WeeklyWindow } from '../../src/jobs/calendar.js';
import { lookAt } from '../../src/jobs/calendar.js';
import { nextTick, type Timing } from '../../src/jobs/schedule.js';
import { bruteForce, type WallClock, wallClock, zones } from './wall-clock.js';

const year = 2026;
const seed = 20_261_121;
const minute = 60_000;
const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

test('a moment is excluded where a look at every minute of the year says so, and for as long as is said', () => {
  fc.assert(
    fc.property(exclusions(), fc.array(fc.nat(), { minLength: 12, maxLength: 12 }), (exclusion, picks) => {
      const excluded = judge(exclusion);
      const clock = wallClock(exclusion.timezone, year);
      const near = clock.changes.flatMap(({ at }) => [at - 90, at - 1, at, at + 1, at + 60]);
      for (const index of [...near, ...picks.map((pick) => pick % (clock.local.length - 3_000))]) {
        const { by, until } = lookAt(exclusion, clock.start + index * minute);
        expect(by !== null, at(clock, index)).toBe(excluded(index));
        const end = Math.min((until - clock.start) / minute, clock.local.length);
        expect(end, at(clock, index)).toBeGreaterThan(index);
        for (let later = index; later < end; later += 7)
          expect(excluded(later), at(clock, later)).toBe(excluded(index));
      }
    }),
    { seed, numRuns: 40 },
  );
});

test('a schedule with calendars ticks at all of its times but those that are excluded', () => {
  fc.assert(
    fc.property(exclusions(), cronPattern(), dsts, (exclusion, cron, dst) => {
      const clock = wallClock(exclusion.timezone, year);
      const excluded = judge(exclusion);
      const expected = bruteForce(cron, clock, dst).filter((tick) => !excluded(indexOf(clock, tick)));
      expectTicks(timingOf(cron, dst, exclusion), clock, expected);
    }),
    { seed, numRuns: 60 },
  );
}, 240_000);

test('with next-working-day an excluded tick runs once, at its time of the first day that allows it', () => {
  fc.assert(
    fc.property(exclusions(), cronPattern(), dsts, (exclusion, cron, dst) => {
      const clock = wallClock(exclusion.timezone, year);
      const excluded = judge(exclusion);
      const moves = mover(clock, excluded, dst);
      const expected = bruteForce(cron, clock, dst).flatMap((tick) =>
        excluded(indexOf(clock, tick)) ? moves(cron, tick) : [tick],
      );
      const sorted = [...new Set(expected)].sort((a, b) => a - b);
      expectTicks(timingOf(cron, dst, { ...exclusion, onExcluded: 'next-working-day' }), clock, sorted);
    }),
    { seed, numRuns: 60 },
  );
}, 240_000);

test('with dst skip a fixed time that the clock jumps over is no tick, and all others are as without', () => {
  fc.assert(
    fc.property(fc.constantFrom(...zones), cronPattern(), (zone, cron) => {
      const clock = wallClock(zone, year);
      expectTicks({ kind: 'cron', cron, timezone: zone, dst: 'skip' }, clock, bruteForce(cron, clock, 'skip'));
    }),
    { seed, numRuns: 60 },
  );
}, 240_000);

const dsts = fc.constantFrom('run-after' as const, 'skip' as const);

function timingOf(cron: string, dst: 'run-after' | 'skip', exclude: Exclusion): Timing {
  return { kind: 'cron', cron, timezone: exclude.timezone, ...(dst === 'skip' && { dst }), exclude };
}

/** The ticks are these, strictly one after the other: away from the year's ends, which moves may cross. */
function expectTicks(timing: Timing, clock: WallClock, expected: readonly number[]): void {
  const [from, to] = [clock.start + 20 * 1_440 * minute, clock.end - 40 * 1_440 * minute];
  const ticks: number[] = [];
  for (let tick = nextTick(timing, from); tick !== null && tick < to; tick = nextTick(timing, tick)) ticks.push(tick);
  const readable = (times: readonly number[]) => times.map((time) => new Date(time).toISOString());
  expect(readable(ticks), JSON.stringify(timing)).toEqual(
    readable(expected.filter((tick) => tick > from && tick < to)),
  );
}

/** Where excluded ticks go, by trying one day after the other. */
function mover(clock: WallClock, excluded: (index: number) => boolean, dst: 'run-after' | 'skip') {
  const firstAt = firstMinutes(clock);
  const gapAt = (local: number) =>
    clock.changes.find(({ at, jump }) => local < (clock.local[at] ?? 0) && local >= (clock.local[at] ?? 0) - jump)?.at;
  return (cron: string, tick: number): number[] =>
    localTimesOf(cron, clock, tick).flatMap((local) => {
      for (let day = 1; day < 60; day++) {
        const shown = local + day * 1_440;
        const index = firstAt.get(shown) ?? (dst === 'skip' ? undefined : gapAt(shown));
        if (index !== undefined && !excluded(index)) return [clock.start + index * minute];
      }
      return [];
    });
}

const minutes = new Map<string, Map<number, number>>();

/** The first minute of the year at which the clock shows each local time. */
function firstMinutes({ zone, local }: WallClock): Map<number, number> {
  const known = minutes.get(zone);
  if (known) return known;
  const firstAt = new Map<number, number>();
  local.forEach((shown, index) => {
    if (!firstAt.has(shown)) firstAt.set(shown, index);
  });
  minutes.set(zone, firstAt);
  return firstAt;
}

/** The local times that a tick stands for: its own, and those that the clock jumped over right before it. */
function localTimesOf(cron: string, clock: WallClock, tick: number): number[] {
  const index = indexOf(clock, tick);
  const shown = clock.local[index] ?? 0;
  const [atMinutes = '', atHours = ''] = cron.split(' ');
  const means = (local: number) =>
    atMinutes.split(',').includes(String(local % 60)) &&
    atHours.split(',').includes(String(Math.floor(local / 60) % 24));
  const jump = clock.changes.find(({ at }) => at === index)?.jump ?? 0;
  return Array.from({ length: Math.max(0, jump) + 1 }, (_, back) => shown - back).filter(means);
}

/** Whether the minute of the year is excluded, from what the clocks show alone. */
function judge({ timezone, calendars, except = [] }: Exclusion): (index: number) => boolean {
  const own = wallClock(timezone, year);
  const within = calendars.map((calendar) => judgeOne(calendar, wallClock(calendar.timezone ?? timezone, year)));
  return (index) =>
    !except.includes(dateOf(own.local[index] ?? 0).slice(0, 10)) && within.some((excludes) => excludes(index));
}

function judgeOne({ dates = [], yearly = [], weekly = [] }: Calendar, { local }: WallClock) {
  return (index: number): boolean => {
    const shown = local[index] ?? 0;
    const date = dateOf(shown);
    const clock = date.slice(11, 16);
    const weekday = new Date(shown * minute).getUTCDay();
    const today = weekdays[(weekday + 6) % 7] ?? 'mon';
    const yesterday = weekdays[(weekday + 5) % 7] ?? 'mon';
    const inWindow = weekly.some(({ days, from = '00:00', to = '24:00' }) =>
      from < to
        ? days.includes(today) && from <= clock && clock < to
        : (days.includes(today) && from <= clock) || (days.includes(yesterday) && clock < to),
    );
    return inWindow || dates.includes(date.slice(0, 10)) || yearly.includes(date.slice(5, 10));
  };
}

const dateOf = (local: number) => new Date(local * minute).toISOString();
const indexOf = (clock: WallClock, time: number) => Math.floor((time - clock.start) / minute);
const at = (clock: WallClock, index: number) => new Date(clock.start + index * minute).toISOString();

function exclusions(): fc.Arbitrary<Exclusion> {
  const zone = fc.constantFrom(...zones);
  const month = fc.constantFrom('03', '04', '09', '10', '11', '06');
  const day = fc.constantFrom('01', '05', '06', '08', '25', '29', '30');
  const yearly = fc.tuple(month, day).map((parts) => parts.join('-'));
  const date = yearly.map((text) => `${year}-${text}`);
  const time = fc
    .tuple(fc.constantFrom(0, 1, 2, 3, 6, 12, 22, 23), fc.constantFrom('00', '30', '45'))
    .map(([hour, minutes]) => `${String(hour).padStart(2, '0')}:${minutes}`);
  const days = fc.uniqueArray(fc.constantFrom(...weekdays), { minLength: 1, maxLength: 3 });
  const whole = days.map((these): WeeklyWindow => ({ days: these }));
  const part = fc
    .tuple(days, time, fc.oneof(time, fc.constant('24:00')))
    .filter(([, from, to]) => from !== to)
    .map(([these, from, to]): WeeklyWindow => ({ days: these, from, to }));
  const calendar = fc.record(
    {
      timezone: zone,
      dates: fc.array(date, { minLength: 1, maxLength: 6 }),
      yearly: fc.array(yearly, { minLength: 1, maxLength: 4 }),
      weekly: fc.array(fc.oneof(whole, part), { minLength: 1, maxLength: 2 }),
    },
    { requiredKeys: [] },
  );
  return fc.record(
    {
      timezone: zone,
      calendars: fc.array(calendar, { minLength: 1, maxLength: 2 }),
      except: fc.array(date, { minLength: 1, maxLength: 3 }),
    },
    { requiredKeys: ['timezone', 'calendars'] },
  );
}

/** Fixed local times, many of them near the changes of the clock. */
function cronPattern(): fc.Arbitrary<string> {
  const list = (...values: number[]) =>
    fc
      .uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 })
      .map((some) => some.sort((a, b) => a - b));
  return fc
    .record({
      minutes: list(0, 15, 30, 45),
      hours: list(0, 1, 2, 3, 9, 23),
      day: fc.constantFrom('*', '*', '*', '1', '5,29'),
      weekday: fc.constantFrom('*', '*', '*', 'sat', 'sun,wed'),
    })
    .map(({ minutes, hours, day, weekday }) => `${minutes} ${hours} ${day} * ${day === '*' ? weekday : '*'}`);
}
