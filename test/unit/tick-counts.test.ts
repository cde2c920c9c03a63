import { describe, expect, it } from 'vitest';
import { type Timing, ticksAfter } from '../../src/jobs/schedule.js';
import { createTickCounter, type MinuteWindow } from '../../src/jobs/tick-counts.js';

const hour = 3_600_000;
const day = 24 * hour;
const start = Date.UTC(2026, 10, 21, 7);

/** Counted one by one: what the counter must come to. */
function oneByOne(timing: Timing, { from, minutes }: MinuteWindow): number[] {
  const counts = Array<number>(minutes).fill(0);
  const offset = timing.offset ?? 0;
  for (const tick of ticksAfter(timing, from - offset - 1)) {
    const minute = Math.floor((tick + offset - from) / 60_000);
    if (minute >= minutes) break;
    counts[minute] = (counts[minute] ?? 0) + 1;
  }
  return counts;
}

function counted(timing: Timing, window: MinuteWindow): number[] {
  const counts = new Uint32Array(window.minutes);
  expect(createTickCounter(window)(timing, counts)).toBe(true);
  return [...counts];
}

const cron = (pattern: string, timezone = 'UTC', more: object = {}): Timing => ({
  kind: 'cron',
  cron: pattern,
  timezone,
  ...more,
});

describe('ticks are counted to the minute as they are one by one', () => {
  it.each<[string, Timing]>([
    ['a pattern', cron('*/7 3-5 * * mon-sat')],
    ['seconds', cron('*/20 0 7,8 * * *', 'Europe/Paris')],
    ['a zone at three quarters of an hour', cron('0 */6 * * *', 'Asia/Kathmandu')],
    ['a nickname', cron('@daily', 'America/New_York')],
    ['days of the month or of the week', cron('0 9 22 * fri')],
    ['the last of the month', cron('0 9 L * *')],
    ['a spread of whole minutes', cron('0 * * * *', 'UTC', { spread: 10 * 60_000, offset: 7 * 60_000 })],
    ['a spread of any length', cron('0 * * * *', 'UTC', { spread: 600_000, offset: 599_999 })],
    ['bounds', cron('*/5 * * * *', 'UTC', { startsAt: start + 6 * hour, endsAt: start + 9 * hour })],
    ['one that has ended', cron('* * * * *', 'UTC', { endsAt: start - day })],
    ['each second', { kind: 'every', every: 1_000 }],
    ['an interval that is no part of a minute', { kind: 'every', every: 90_500 }],
    ['a long interval, with a phase', { kind: 'every', every: 7 * hour, startsAt: Date.UTC(2020, 1, 1, 0, 13, 5) }],
    ['an interval within bounds', { kind: 'every', every: 45_000, startsAt: start + hour, endsAt: start + 3 * hour }],
    ['a time that comes once', { kind: 'at', at: start + 90 * 60_000 }],
    [
      'what calendars exclude',
      cron('*/10 * * * *', 'Europe/Paris', {
        exclude: {
          timezone: 'Europe/Paris',
          calendars: [{ weekly: [{ days: ['sat', 'sun'], from: '22:05', to: '02:30' }] }, { dates: ['2026-11-23'] }],
        },
      }),
    ],
    [
      'what is moved to the next working day',
      cron('0 9 * * *', 'UTC', {
        exclude: { timezone: 'UTC', calendars: [{ dates: ['2026-11-21'] }], onExcluded: 'next-working-day' },
      }),
    ],
  ])('%s', (_, timing) => {
    const window = { from: start, minutes: 2_880 };
    expect(counted(timing, window)).toEqual(oneByOne(timing, window));
  });

  const changes = [
    ['Europe/Paris', Date.UTC(2027, 2, 27, 12)],
    ['Europe/Paris', Date.UTC(2026, 9, 24, 12)],
    ['America/New_York', Date.UTC(2027, 2, 13, 12)],
    ['America/New_York', Date.UTC(2026, 9, 31, 12)],
    ['Australia/Lord_Howe', Date.UTC(2027, 3, 3, 0)],
    ['Australia/Lord_Howe', Date.UTC(2026, 9, 3, 0)],
    ['Africa/Cairo', Date.UTC(2027, 3, 29, 12)],
  ] as const;

  it.each(changes)('over a change of the clock in %s, %d', (timezone, from) => {
    const window = { from, minutes: 1_260 };
    const minutes = ['0', '15,45', '*/20'];
    const hours = ['0', '1', '2', '3', '1-3', '*/2'];
    const hands = minutes.flatMap((minute) => hours.map((hourOfDay) => `${minute} ${hourOfDay} * * sat,sun`));
    const timings = hands.flatMap((hand) => [cron(hand, timezone), cron(hand, timezone, { dst: 'skip' })]);
    for (const timing of timings) {
      expect({ timing, counts: counted(timing, window) }).toEqual({ timing, counts: oneByOne(timing, window) });
    }
  });
});

it('says where code computes the times that is not here, fails, or has too many', () => {
  const window = { from: start, minutes: 60 };
  const counts = new Uint32Array(60);
  const count = createTickCounter(window);
  const failing = () => {
    throw new Error('no');
  };
  expect(count({ kind: 'next' }, counts)).toBe(false);
  expect(count({ kind: 'next' }, counts, failing)).toBe(false);
  expect(count({ kind: 'next' }, counts, (after) => new Date(after.getTime() + 10))).toBe(false);
  expect(count({ kind: 'next' }, counts, (after) => new Date(after.getTime() + 600_000))).toBe(true);
  expect([...counts].filter((found) => found > 0)).toHaveLength(6);
});
