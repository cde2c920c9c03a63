import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nextTick, type Timing, ticksAfter } from '../../src/jobs/schedule.js';
import { bruteForce, type WallClock, wallClock, zones } from './wall-clock.js';

const year = 2026;

const seed = 20_261_121;
const hour = 3_600_000;

describe('the wall clock that schedules are judged by', () => {
  test.each(zones)('%s changes as its zone does', (zone) => {
    const { changes } = wallClock(zone, year);
    const half = zone === 'Australia/Lord_Howe' ? 30 : 60;
    expect(changes.map(({ jump }) => jump).sort((a, b) => a - b)).toEqual(zone === 'UTC' ? [] : [-half, half]);
  });
});

describe.each(zones)('cron in %s', (zone) => {
  const clock = wallClock(zone, year);

  test.each([
    '0 0 * * *',
    '30 0 * * *',
    '30 1 * * *',
    '0 2 * * *',
    '15 2 * * *',
    '30 2 * * *',
    '0 3 * * *',
    '0,30 23 * * *',
    '*/30 0-3 * * *',
    '0 0 1 * mon',
  ])('ticks at every minute of the year that "%s" means, and at no other', (cron) => {
    const expected = bruteForce(cron, clock);
    expect(expected.length).toBeGreaterThan(50);
    expect(readable(walk(cron, clock, clock.start - 1, expected.length + 1))).toEqual(readable(expected));
  });
});

test('an hourly cron ticks at every full hour of the year, and at each hour that passes twice', () => {
  for (const zone of ['America/New_York', 'Australia/Lord_Howe']) {
    const clock = wallClock(zone, year);
    const expected = bruteForce('0 * * * *', clock);
    expect(readable(walk('0 * * * *', clock, clock.start - 1, expected.length + 1))).toEqual(readable(expected));
  }
});

test('any cron ticks where a look at every minute of the year says so, strictly one after the other', () => {
  fc.assert(
    fc.property(fc.constantFrom(...zones), cronPattern(), fc.array(fc.nat(), { maxLength: 4 }), (zone, cron, picks) => {
      const clock = wallClock(zone, year);
      const expected = bruteForce(cron, clock);
      for (const { from, count } of stretches(clock, expected, picks)) {
        const first = lowerBound(expected, from + 1);
        const ticks = walk(cron, clock, from, count);
        expect(ticks, cron).toEqual([...ticks].sort((a, b) => a - b));
        expect(new Set(ticks).size, cron).toBe(ticks.length);
        expect(readable(ticks), `"${cron}" in ${zone}`).toEqual(readable(expected.slice(first, first + count)));
      }
    }),
    { seed, numRuns: 700 },
  );
}, 240_000);

test('a cron asked a millisecond before a tick answers that tick, at the tick the one after it', () => {
  fc.assert(
    fc.property(fc.constantFrom(...zones), cronPattern(), fc.nat(), (zone, cron, pick) => {
      const expected = bruteForce(cron, wallClock(zone, year));
      fc.pre(expected.length > 1);
      const index = pick % (expected.length - 1);
      const [tick = 0, following = 0] = expected.slice(index);
      const timing: Timing = { kind: 'cron', cron, timezone: zone };
      expect(nextTick(timing, tick - 1)).toBe(tick);
      expect(nextTick(timing, tick)).toBe(following);
      expect(nextTick({ ...timing, startsAt: tick }, 0)).toBe(tick);
      expect(nextTick({ ...timing, endsAt: tick }, tick - 1)).toBe(tick);
      expect(nextTick({ ...timing, endsAt: following - 1 }, tick)).toBeNull();
    }),
    { seed, numRuns: 300 },
  );
}, 240_000);

describe('every', () => {
  const every = fc.integer({ min: 1, max: 40 * 24 * hour });
  const moment = fc.integer({ min: 0, max: Date.UTC(2100, 0) });

  test('ticks strictly one after the other, a period apart, aligned to the epoch', () => {
    fc.assert(
      fc.property(every, moment, (period, after) => {
        const [first = 0, second] = take(ticksAfter({ kind: 'every', every: period }, after), 2);
        expect(first).toBeGreaterThan(after);
        expect(first - after).toBeLessThanOrEqual(period);
        expect(first % period).toBe(0);
        expect(second).toBe(first + period);
      }),
      { seed },
    );
  });

  test('begins at startsAt and keeps its phase', () => {
    fc.assert(
      fc.property(every, moment, moment, (period, startsAt, after) => {
        const tick = nextTick({ kind: 'every', every: period, startsAt }, after) ?? Number.NaN;
        expect(tick).toBeGreaterThan(after);
        expect((tick - startsAt) % period).toBe(0);
        if (after < startsAt) expect(tick).toBe(startsAt);
        else expect(tick - after).toBeLessThanOrEqual(period);
      }),
      { seed },
    );
  });
});

/** The ticks after a moment, within the year, at most `count`. */
function walk(cron: string, { zone, end }: WallClock, after: number, count: number): number[] {
  const ticks = take(ticksAfter({ kind: 'cron', cron, timezone: zone }, after), count);
  return ticks.filter((tick) => tick < end);
}

function take(ticks: Iterable<number>, count: number): number[] {
  const taken: number[] = [];
  for (const tick of ticks) if (taken.push(tick) >= count) break;
  return taken;
}

/** A sparse pattern is walked for the whole year; a dense one around each change of the clock, and from a few moments more. */
function stretches({ start, end, changes }: WallClock, expected: readonly number[], picks: readonly number[]) {
  if (expected.length <= 120) return [{ from: start - 1, count: expected.length + 1 }];
  const lead = expected.length > 20_000 ? 10 * 60_000 : 3 * hour;
  const atChanges = changes.map(({ at }) => ({ from: start + at * 60_000 - lead, count: 30 }));
  const elsewhere = picks.map((pick) => ({ from: start + (pick % (end - start)), count: 5 }));
  return [...atChanges, ...elsewhere];
}

function lowerBound(sorted: readonly number[], value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function readable(ticks: readonly number[]): string[] {
  return ticks.map((tick) => new Date(tick).toISOString());
}

/** Patterns of which many fall near the changes of the clock, which are in March, April, and September to November. */
function cronPattern(): fc.Arbitrary<string> {
  const anything = (weight: number) => ({ weight, arbitrary: fc.constant('*') });
  const field = (min: number, max: number, likely: fc.Arbitrary<number>) => {
    const number = fc.oneof({ weight: 3, arbitrary: likely }, { weight: 1, arbitrary: fc.integer({ min, max }) });
    const pair = fc.tuple(number, fc.integer({ min, max })).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    const part = fc.oneof(
      { weight: 6, arbitrary: number.map(String) },
      { weight: 2, arbitrary: pair.map(([from, to]) => `${from}-${to}`) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(pair, fc.integer({ min: 1, max: Math.min(max, 12) }))
          .map(([[from, to], n]) => `${from}-${to}/${n}`),
      },
    );
    return {
      one: number.map(String),
      list: fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join(',')),
      step: fc.integer({ min: 2, max: Math.min(max, 20) }).map((n) => `*/${n}`),
    };
  };
  const minutes = field(0, 59, fc.constantFrom(0, 15, 29, 30, 45, 59));
  const hours = field(0, 23, fc.constantFrom(0, 1, 2, 3, 4, 23));
  const days = field(1, 31, fc.constantFrom(1, 3, 4, 5, 6, 8, 23, 24, 25, 28, 29, 30, 31));
  const months = field(1, 12, fc.constantFrom(3, 4, 9, 10, 11));
  const weekdays = field(0, 7, fc.constantFrom(0, 7, 4, 5, 6));
  const seconds = field(0, 59, fc.constantFrom(0, 1, 30, 59));
  const monthWords = fc.constantFrom('mar', 'apr,sep', 'oct-nov', 'jan-dec/2', 'sep-nov');
  const dayWords = fc.constantFrom('sun', 'mon-fri', 'sat,sun', 'thu-sat', 'fri');
  return fc
    .record({
      second: fc.option(fc.oneof({ weight: 3, arbitrary: seconds.one }, seconds.list, fc.constant('*/20')), {
        freq: 6,
      }),
      minute: fc.oneof(
        { weight: 5, arbitrary: minutes.one },
        { weight: 3, arbitrary: minutes.list },
        minutes.step,
        anything(1),
      ),
      hour: fc.oneof(
        { weight: 5, arbitrary: hours.one },
        { weight: 4, arbitrary: hours.list },
        hours.step,
        anything(1),
      ),
      day: fc.oneof(anything(6), days.one, { weight: 2, arbitrary: days.list }, days.step),
      month: fc.oneof(anything(6), months.one, { weight: 2, arbitrary: months.list }, months.step, monthWords),
      weekday: fc.oneof(anything(6), weekdays.one, { weight: 2, arbitrary: weekdays.list }, weekdays.step, dayWords),
    })
    .map(({ second, minute, hour, day, month, weekday }) =>
      [...(second === null ? [] : [second]), minute, hour, day, month, weekday].join(' '),
    );
}
