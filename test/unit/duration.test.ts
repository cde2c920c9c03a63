import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { duration, formatDuration, parseDuration } from '../../src/duration.js';

describe('parseDuration', () => {
  test.each([
    ['250ms', 250],
    ['10s', 10_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['14d', 1_209_600_000],
    ['0s', 0],
    [0, 0],
    [1_500, 1_500],
  ])('reads %j as %i ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(['', 's', '10', '1.5s', '-1s', '+1s', '1 s', ' 1s', '1S', '1w', '1s30', '1m30s', '1e3s', 'Infinitys'])(
    'refuses %j',
    (text) => {
      expect(parseDuration(text)).toBeNull();
    },
  );

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('refuses the number %d', (number) => {
    expect(parseDuration(number)).toBeNull();
  });

  test('refuses what is longer than ms can count exactly', () => {
    expect(parseDuration('999999999999d')).toBeNull();
  });
});

describe('formatDuration', () => {
  test.each([
    [0, '0ms'],
    [999, '999ms'],
    [1_000, '1s'],
    [1_001, '1001ms'],
    [90_000, '90s'],
    [3_600_000, '1h'],
    [86_400_000, '1d'],
    [90_000_000, '25h'],
  ])('spells %i ms as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  test('spells nothing that parseDuration reads as something else', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat(),
          fc.integer({ min: 0, max: 400 }).map((n) => n * 3_600_000),
        ),
        (ms) => {
          expect(parseDuration(formatDuration(ms))).toBe(ms);
        },
      ),
    );
  });
});

describe('the schema of a duration', () => {
  const bounded = duration({ min: 1_000, max: 60_000 });
  const refusal = (value: unknown) => bounded.safeParse(value).error?.issues.map(({ message }) => message);

  test('reads into ms, bounds included', () => {
    expect(bounded.parse('1s')).toBe(1_000);
    expect(bounded.parse('1m')).toBe(60_000);
    expect(duration().parse(0)).toBe(0);
  });

  test.each(['999ms', '61s', 'soon', 1_500.5, null, undefined, {}, true])(
    'refuses %j once, and tells the bounds',
    (wrong) => {
      expect(refusal(wrong)).toEqual([expect.stringMatching(/'10s'.*at least 1s, at most 1m/)]);
    },
  );

  test('tells no bounds where there are none', () => {
    expect(duration().safeParse('soon').error?.issues[0]?.message).not.toMatch(/at (least|most)/);
  });
});
