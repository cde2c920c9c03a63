import { describe, expect, test } from 'vitest';
import type { Weekday } from '../../src/jobs/calendar.js';
import { parseCron } from '../../src/jobs/cron.js';
import {
  type Clock,
  daily,
  firstOfMonth,
  nextTick,
  type Timing,
  ticksAfter,
  weekdays,
  weekly,
} from '../../src/jobs/schedule.js';

const ms = (text: string) => new Date(text).getTime();

/** The next ticks after a moment, as UTC without the seconds where they are zero. */
function ticks(timing: Timing, after: string, count: number): string[] {
  const found: string[] = [];
  for (const tick of ticksAfter(timing, ms(after))) if (found.push(iso(tick)) === count) break;
  return found;
}

function cron(pattern: string, timezone: string, after: string, count: number): string[] {
  return ticks({ kind: 'cron', cron: pattern, timezone }, after, count);
}

function iso(tick: number): string {
  return new Date(tick).toISOString().replace(/(:00)?\.000Z$/, 'Z');
}

describe('cron', () => {
  test('ticks at the times of its zone', () => {
    expect(cron('0 7 * * *', 'Europe/Paris', '2026-07-01T12:00Z', 2)).toEqual([
      '2026-07-02T05:00Z',
      '2026-07-03T05:00Z',
    ]);
    expect(cron('0 7 * * *', 'UTC', '2026-07-01T12:00Z', 2)).toEqual(['2026-07-02T07:00Z', '2026-07-03T07:00Z']);
  });

  test('answers a time strictly after the moment, however close', () => {
    expect(cron('0 7 * * *', 'UTC', '2026-07-01T06:59:59.999Z', 1)).toEqual(['2026-07-01T07:00Z']);
    expect(cron('0 7 * * *', 'UTC', '2026-07-01T07:00:00.000Z', 1)).toEqual(['2026-07-02T07:00Z']);
    expect(cron('0 7 * * *', 'UTC', '2026-07-01T07:00:00.001Z', 1)).toEqual(['2026-07-02T07:00Z']);
  });

  test('reads a sixth field, in front, as seconds', () => {
    expect(cron('15,45 59 23 * * *', 'UTC', '2026-07-01T23:59:20Z', 2)).toEqual([
      '2026-07-01T23:59:45Z',
      '2026-07-02T23:59:15Z',
    ]);
  });

  test.each([
    ['@hourly', '2026-11-21T11:00Z'],
    ['@daily', '2026-11-22T00:00Z'],
    ['@midnight', '2026-11-22T00:00Z'],
    ['@weekly', '2026-11-22T00:00Z'],
    ['@monthly', '2026-12-01T00:00Z'],
    ['@yearly', '2027-01-01T00:00Z'],
    ['@annually', '2027-01-01T00:00Z'],
  ])('reads %s', (nickname, next) => {
    expect(cron(nickname, 'UTC', '2026-11-21T10:30Z', 1)).toEqual([next]);
  });

  test('takes day of month or day of week where both are given', () => {
    expect(cron('0 0 24 * mon', 'UTC', '2026-11-21T00:00Z', 3)).toEqual([
      '2026-11-23T00:00Z',
      '2026-11-24T00:00Z',
      '2026-11-30T00:00Z',
    ]);
  });

  test('knows the last day of a month and the n-th weekday', () => {
    expect(cron('0 0 L * *', 'UTC', '2028-02-01T00:00Z', 2)).toEqual(['2028-02-29T00:00Z', '2028-03-31T00:00Z']);
    expect(cron('0 0 * * 5#2', 'UTC', '2026-11-21T00:00Z', 1)).toEqual(['2026-12-11T00:00Z']);
  });

  test('waits for a leap year', () => {
    expect(cron('0 0 29 2 *', 'UTC', '2026-01-01T00:00Z', 2)).toEqual(['2028-02-29T00:00Z', '2032-02-29T00:00Z']);
  });

  test('answers null where it never ticks', () => {
    expect(nextTick({ kind: 'cron', cron: '0 0 30 2 *', timezone: 'UTC' }, 0)).toBeNull();
  });

  test('may tick at startsAt and at endsAt, and at no time outside', () => {
    const bounds = { startsAt: ms('2026-11-22T00:00Z'), endsAt: ms('2026-11-24T00:00Z') };
    const timing: Timing = { kind: 'cron', cron: '@daily', timezone: 'UTC', ...bounds };
    expect(ticks(timing, '2026-01-01T00:00Z', 9)).toEqual([
      '2026-11-22T00:00Z',
      '2026-11-23T00:00Z',
      '2026-11-24T00:00Z',
    ]);
    expect(ticks({ ...timing, endsAt: bounds.endsAt - 1 }, '2026-01-01T00:00Z', 9)).toHaveLength(2);
    expect(ticks({ ...timing, startsAt: bounds.startsAt + 1 }, '2026-01-01T00:00Z', 9)).toHaveLength(2);
  });

  test('refuses what is no pattern of five or six fields', () => {
    for (const wrong of [
      '',
      '* * * *',
      '0 0 * * * * *',
      '60 * * * *',
      '0 24 * * *',
      '0 0 0 * *',
      '*/0 * * * *',
      'every day',
    ]) {
      expect(() => parseCron(wrong, 'UTC'), wrong).toThrow();
    }
  });

  test('refuses a single time, which is given as at', () => {
    expect(() => parseCron('2026-11-21T07:00:00', 'UTC')).toThrow(/"at"/);
  });
});

describe('cron where the clock is changed', () => {
  test('runs midnight once, at 01:00, on the day that begins at 01:00 in Beirut', () => {
    expect(cron('0 0 * * *', 'Asia/Beirut', '2026-03-27T12:00Z', 3)).toEqual([
      '2026-03-27T22:00Z',
      '2026-03-28T22:00Z', // 01:00 on 29 March: midnight does not exist
      '2026-03-29T21:00Z',
    ]);
  });

  test('runs 02:30 at 03:00 EDT where New York jumps over it', () => {
    expect(cron('30 2 * * *', 'America/New_York', '2026-03-07T12:00Z', 2)).toEqual([
      '2026-03-08T07:00Z', // 03:00 EDT
      '2026-03-09T06:30Z', // 02:30 EDT
    ]);
  });

  test('runs 01:30 only the first time where New York passes it twice', () => {
    expect(cron('30 1 * * *', 'America/New_York', '2026-10-31T12:00Z', 2)).toEqual([
      '2026-11-01T05:30Z', // 01:30 EDT; at 06:30 it is 01:30 EST
      '2026-11-02T06:30Z',
    ]);
  });

  test('moves no further than the half hour that Lord Howe shifts by', () => {
    expect(cron('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03T00:00Z', 2)).toEqual([
      '2026-10-03T15:30Z', // 02:30 +11: 02:00 to 02:30 do not exist
      '2026-10-04T15:15Z', // 02:15 +11
    ]);
    expect(cron('45 1 * * *', 'Australia/Lord_Howe', '2026-04-04T00:00Z', 2)).toEqual([
      '2026-04-04T14:45Z', // 01:45 +11; at 15:15 it is 01:45 +10:30
      '2026-04-05T15:15Z',
    ]);
  });

  test('runs a time of a list that is jumped over after the gap, the others as always', () => {
    expect(cron('30 2,14 * * *', 'America/New_York', '2026-03-08T00:00Z', 3)).toEqual([
      '2026-03-08T07:00Z',
      '2026-03-08T18:30Z',
      '2026-03-09T06:30Z',
    ]);
  });

  test('runs 23:30 at midnight where Nuuk jumps over the last hour of a day', () => {
    expect(cron('30 23 * * *', 'America/Nuuk', '2026-03-28T00:00Z', 3)).toEqual([
      '2026-03-28T01:30Z',
      '2026-03-29T01:00Z', // 00:00 on 29 March
      '2026-03-30T00:30Z',
    ]);
    expect(cron('30 23 28 3 *', 'America/Nuuk', '2026-03-01T00:00Z', 1)).toEqual(['2026-03-29T01:00Z']);
    const skipping: Timing = { kind: 'cron', cron: '30 23 * * *', timezone: 'America/Nuuk', dst: 'skip' };
    expect(ticks(skipping, '2026-03-28T00:00Z', 2)).toEqual(['2026-03-28T01:30Z', '2026-03-30T00:30Z']);
  });

  test('runs once for several times that are jumped over together', () => {
    expect(cron('0,15,30,45 2 * * *', 'America/New_York', '2026-03-08T00:00Z', 2)).toEqual([
      '2026-03-08T07:00Z',
      '2026-03-09T06:00Z',
    ]);
  });

  test('follows elapsed time with a step: no tick is lost or doubled over either change', () => {
    const quarters = (from: string) => cron('*/15 * * * *', 'America/New_York', from, 12);
    for (const from of ['2026-03-08T05:50Z', '2026-11-01T04:50Z']) {
      const found = quarters(from).map(ms);
      expect(found.slice(1).map((tick, index) => tick - (found[index] ?? 0))).toEqual(Array(11).fill(15 * 60_000));
    }
  });
});

describe('every', () => {
  test('is aligned to the epoch, whenever it is asked', () => {
    expect(ticks({ kind: 'every', every: 900_000 }, '2026-11-21T10:07:31.250Z', 2)).toEqual([
      '2026-11-21T10:15Z',
      '2026-11-21T10:30Z',
    ]);
  });

  test('begins at startsAt, takes its phase, and ends with endsAt', () => {
    const timing: Timing = {
      kind: 'every',
      every: 3_600_000,
      startsAt: ms('2026-11-21T10:20Z'),
      endsAt: ms('2026-11-21T12:20Z'),
    };
    expect(ticks(timing, '2026-01-01T00:00Z', 9)).toEqual([
      '2026-11-21T10:20Z',
      '2026-11-21T11:20Z',
      '2026-11-21T12:20Z',
    ]);
    expect(ticks(timing, '2026-11-21T11:20Z', 9)).toEqual(['2026-11-21T12:20Z']);
  });
});

describe('at', () => {
  const timing: Timing = { kind: 'at', at: ms('2026-11-21T07:00Z') };

  test('ticks once', () => {
    expect(ticks(timing, '2026-01-01T00:00Z', 9)).toEqual(['2026-11-21T07:00Z']);
  });

  test('answers null at its time and after it', () => {
    expect(nextTick(timing, timing.at)).toBeNull();
    expect(nextTick(timing, timing.at - 1)).toBe(timing.at);
  });

  test('may be at startsAt and at endsAt, and not outside', () => {
    expect(nextTick({ ...timing, startsAt: timing.at, endsAt: timing.at }, 0)).toBe(timing.at);
    expect(nextTick({ ...timing, startsAt: timing.at + 1 }, 0)).toBeNull();
    expect(nextTick({ ...timing, endsAt: timing.at - 1 }, 0)).toBeNull();
  });
});

describe('next', () => {
  const timing: Timing = { kind: 'next' };
  const doubling = (after: Date) => new Date(after.getTime() * 2);

  test('ticks where its rule says', () => {
    expect(nextTick(timing, 21, doubling)).toBe(42);
  });

  test('is asked from just before startsAt, and ends with endsAt', () => {
    const asked: number[] = [];
    const rule = (after: Date) => {
      asked.push(after.getTime());
      return new Date(after.getTime() + 1);
    };
    expect(nextTick({ ...timing, startsAt: 1_000 }, 5, rule)).toBe(1_000);
    expect(asked).toEqual([999]);
    expect(nextTick({ ...timing, endsAt: 1_000 }, 999, rule)).toBe(1_000);
    expect(nextTick({ ...timing, endsAt: 1_000 }, 1_000, rule)).toBeNull();
  });

  test('ends where its rule answers null, and where there is none', () => {
    expect(nextTick(timing, 21, () => null)).toBeNull();
    expect(nextTick(timing, 21)).toBeNull();
  });

  test.each([
    ['the moment it was asked about', (after: Date) => after],
    ['an earlier one', (after: Date) => new Date(after.getTime() - 1)],
    ['no time at all', () => new Date(Number.NaN)],
    ['a number', () => 4_000_000_000_000],
    ['nothing', () => undefined],
  ])('refuses a rule that answers %s', (_, rule) => {
    expect(() => nextTick(timing, 21, rule as never)).toThrow(TypeError);
    expect(() => nextTick(timing, 21, rule as never)).toThrow('1970-01-01T00:00:00.021Z');
  });

  test('passes on what its rule throws', () => {
    const rule = () => {
      throw new Error('no calendar');
    };
    expect(() => nextTick(timing, 21, rule)).toThrow('no calendar');
  });
});

describe('helpers that read as words', () => {
  test('daily, weekly, weekdays and firstOfMonth are crons', () => {
    const from = '2026-11-21T12:00Z'; // a Saturday
    expect(cron(daily('03:00'), 'UTC', from, 2)).toEqual(['2026-11-22T03:00Z', '2026-11-23T03:00Z']);
    expect(cron(weekly('mon', '02:00'), 'UTC', from, 2)).toEqual(['2026-11-23T02:00Z', '2026-11-30T02:00Z']);
    expect(cron(weekly('sun', '23:59'), 'UTC', from, 1)).toEqual(['2026-11-22T23:59Z']);
    expect(cron(weekdays('8:30'), 'UTC', from, 6).at(-1)).toBe('2026-11-30T08:30Z');
    expect(cron(firstOfMonth(), 'UTC', from, 2)).toEqual(['2026-12-01T00:00Z', '2027-01-01T00:00Z']);
    expect(cron(firstOfMonth('06:00'), 'UTC', from, 1)).toEqual(['2026-12-01T06:00Z']);
  });

  test.each(['24:00', '12:60', '3', '03:0', '3:00 pm', '', '-1:00'])('refuse %j as a time of day', (wrong) => {
    const expected = `got ${JSON.stringify(wrong)}`;
    for (const helper of [daily, weekdays, firstOfMonth, (time: Clock) => weekly('mon', time)]) {
      expect(() => helper(wrong as Clock)).toThrow(RangeError);
      expect(() => helper(wrong as Clock)).toThrow(expected);
    }
  });

  test('weekly refuses a day that is none, and names those that are', () => {
    expect(() => weekly('monday' as Weekday, '02:00')).toThrow(/mon, tue, wed.*"monday"/);
  });
});
