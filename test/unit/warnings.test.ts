import { describe, expect, it } from 'vitest';
import type { Timing } from '../../src/jobs/schedule.js';
import { type WarnedSchedule, type Warning, warningsOf } from '../../src/producers/warnings.js';

const hour = 3_600_000;
const paris = (cron: string, more: object = {}): Timing => ({ kind: 'cron', cron, timezone: 'Europe/Paris', ...more });
const many = (count: number, timing: Timing, prefix = 's'): WarnedSchedule[] =>
  Array.from({ length: count }, (_, index) => ({ id: `${prefix}${index}`, timing }));
const about = (warnings: readonly Warning[]) => warnings.map(({ message, schedules }) => [message, schedules]);

describe('plan warns of changes of the clock', () => {
  const spring = Date.parse('2026-03-20T00:00:00Z');
  const forward = 'on 2026-03-29 the clock goes forward from 02:00 to 03:00 in Europe/Paris: ';

  it('within two weeks, of each effect once, with all schedules that it has', () => {
    const schedules = [
      { id: 'late', timing: paris('30 2 * * *') },
      { id: 'late-too', timing: paris('30 2 * * *') },
      { id: 'skips', timing: paris('30 2 * * *', { dst: 'skip' }) },
      { id: 'follows', timing: paris('*/20 2 * * *') },
      { id: 'hourly', timing: paris('30 * * * *') },
      { id: 'elsewhen', timing: paris('30 3 * * *') },
      { id: 'weekly', timing: paris('30 2 * * mon') },
      { id: 'elsewhere', timing: { ...paris('30 2 * * *'), timezone: 'UTC' } as Timing },
    ];
    expect(about(warningsOf(schedules, spring))).toEqual([
      [`${forward}02:00, 02:20, 02:40 do not run`, ['follows']],
      [`${forward}02:30 does not run`, ['skips']],
      [`${forward}02:30 runs at 03:00`, ['late', 'late-too']],
    ]);
    expect(warningsOf(schedules, spring - 10 * 24 * hour)).toEqual([]);
    expect(warningsOf(schedules, spring + 10 * 24 * hour)).toEqual([]);
  });

  it('of what makes sense, where a hand has been at the times of another', () => {
    const senseless = { calendars: [{ dates: 7 }], timezone: 'UTC' } as never;
    const schedules = [
      { id: 'no-cron', timing: paris('x y') },
      { id: 'no-dates', timing: paris('30 2 * * *', { exclude: senseless }) },
      { id: 'late', timing: paris('30 2 * * *') },
    ];
    expect(about(warningsOf(schedules, spring))).toEqual([[`${forward}02:30 runs at 03:00`, ['late']]]);
  });

  it('in autumn too: what runs once of two equal times, and what twice', () => {
    const schedules = [
      { id: 'once', timing: paris('30 2 * * *') },
      { id: 'twice', timing: paris('*/30 2 * * *') },
    ];
    const back = 'on 2026-10-25 the clock goes back from 03:00 to 02:00 in Europe/Paris: ';
    expect(about(warningsOf(schedules, Date.parse('2026-10-20T00:00:00Z')))).toEqual([
      [`${back}02:00, 02:30 run twice`, ['twice']],
      [`${back}02:30 runs the first time only`, ['once']],
    ]);
  });

  it('not where the schedule does not run then anyway', () => {
    const exclude = { timezone: 'Europe/Paris', calendars: [{ weekly: [{ days: ['sun'] }] }] };
    const schedules = [
      { id: 'excluded', timing: paris('30 2 * * *', { exclude }) },
      { id: 'ended', timing: paris('30 2 * * *', { endsAt: spring + 24 * hour }) },
    ];
    expect(warningsOf(schedules, spring)).toEqual([]);
  });
});

describe('plan warns of schedules that overlap themselves', () => {
  const now = Date.parse('2026-06-01T00:00:00Z');
  const took = (timing: Timing, ...durations: number[]) => warningsOf([{ id: 'slow', timing, durations }], now);

  it('where their runs typically take longer than it is to the next tick', () => {
    expect(took({ kind: 'every', every: 1_000 }, 2_300, 2_200, 400, 2_400)).toEqual([
      {
        kind: 'overlaps-itself',
        schedules: ['slow'],
        durationMs: 2_300,
        intervalMs: 1_000,
        message: 'it runs for 2.3s, and ticks 1s apart',
      },
    ]);
    expect(took(paris('0 9,10 * * *'), 2 * hour)).toMatchObject([{ intervalMs: hour }]);
  });

  it('not for one slow run among many, nor without any', () => {
    expect(took({ kind: 'every', every: 1_000 }, 200, 60_000, 300)).toEqual([]);
    expect(took({ kind: 'every', every: 1_000 })).toEqual([]);
    expect(took(paris('0 9 * * *'), 2 * hour)).toEqual([]);
  });
});

describe('plan warns of pile-ups', () => {
  const now = Date.parse('2026-06-01T05:00:00Z');

  it('at one second of the next day, with a spread that fits', () => {
    const schedules = [
      ...many(40, paris('0 9 * * *'), 'daily'),
      ...many(10, { kind: 'every', every: hour }, 'hourly'),
      ...many(49, paris('0 10 * * *'), 'later'),
    ];
    const [warning, ...others] = warningsOf(schedules, now);
    expect(others).toEqual([]);
    expect(warning).toMatchObject({ kind: 'pile-up', at: '2026-06-01T08:00:00Z', alsoAt: 1, spreadMs: 300_000 });
    expect(warning?.schedules).toHaveLength(59);
    expect(warning?.message).toBe(
      "59 schedules are due at 2026-06-01T08:00:00Z, and 50 or more at 1 other second of the next 24 h: a spread such as '5m' divides them",
    );
  });

  it('of as many as fifty, and not of those that have a spread', () => {
    expect(warningsOf(many(49, paris('0 9 * * *')), now)).toEqual([]);
    expect(warningsOf(many(50, paris('0 9 * * *')), now)).toHaveLength(1);
    expect(warningsOf(many(50, paris('0 9 * * *', { spread: 60_000, offset: 5 })), now)).toEqual([]);
    const soon = { kind: 'at', at: now + 24 * hour - 1 } as const;
    expect(warningsOf(many(50, soon), now)).toHaveLength(1);
    expect(warningsOf(many(50, { ...soon, at: now + 24 * hour + 1_000 }), now)).toEqual([]);
  });

  it('with a spread no longer than the schedules tick apart', () => {
    expect(warningsOf(many(1_000, { kind: 'every', every: 1_000 }), now)).toMatchObject([{ spreadMs: 1_000 }]);
  });

  it('within a moment of ten thousand schedules, whether they are all the same or all different', () => {
    const different = Array.from({ length: 10_000 }, (_, index): WarnedSchedule => {
      const cron = `${index % 60} ${Math.floor(index / 60) % 24} * * *`;
      const timing: Timing =
        index % 2 === 0 ? paris(cron, { startsAt: index }) : { kind: 'every', every: 1_000 + index };
      return { id: `d${index}`, timing, durations: [5_000, 6_000, 20] };
    });
    const before = process.cpuUsage();
    expect(warningsOf(many(10_000, paris('* * * * * *')), now)).toMatchObject([{ kind: 'pile-up' }]);
    warningsOf(different, now);
    expect(process.cpuUsage(before).user / 1_000, 'ms on one core').toBeLessThan(15_000);
  }, 120_000);
});

it('has no warning for a rule that fails', () => {
  const next = () => {
    throw new Error('no calendar');
  };
  const schedules = Array.from({ length: 60 }, (_, index) => ({
    id: `s${index}`,
    timing: { kind: 'next' } as const,
    next,
    durations: [1],
  }));
  expect(warningsOf(schedules, 0)).toEqual([]);
});
