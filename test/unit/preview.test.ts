import { describe, expect, it } from 'vitest';
import { preview } from '../../src/jobs/preview.js';
import type { Timing } from '../../src/jobs/schedule.js';

const paris = (cron: string, more: object = {}): Timing => ({ kind: 'cron', cron, timezone: 'Europe/Paris', ...more });
const weekends = { name: 'weekends', weekly: [{ days: ['sat', 'sun'] }] } as const;
const excluding = (...calendars: object[]) => ({ exclude: { timezone: 'Europe/Paris', calendars } });

/** Time and note of each row, in order. */
function rows(timing: Timing, from: string, count: number): [string, string | null][] {
  const { times, left } = preview(timing, Date.parse(from), count);
  return [...times, ...left]
    .sort((a, b) => a.time - b.time)
    .map(({ time, note }) => [new Date(time).toISOString().slice(0, 16), note]);
}

describe('the preview of a schedule', () => {
  it('says what becomes of a time that the clock jumps over, and how the clock stands afterwards', () => {
    expect(rows(paris('30 2 * * *'), '2026-03-28T00:00:00Z', 3)).toEqual([
      ['2026-03-28T01:30', null],
      ['2026-03-29T01:00', 'the clock goes forward from 02:00 to 03:00: 02:30 runs at 03:00'],
      ['2026-03-30T00:30', null],
    ]);
    expect(rows(paris('0 9 * * *'), '2026-03-28T12:00:00Z', 2)).toEqual([
      ['2026-03-29T07:00', 'the clock goes forward from 02:00 to 03:00 before it, on 2026-03-29'],
      ['2026-03-30T07:00', null],
    ]);
  });

  it('has a row for a time that is left out, where the schedule skips the gap', () => {
    expect(rows(paris('30 2 * * *', { dst: 'skip' }), '2026-03-28T12:00:00Z', 1)).toEqual([
      ['2026-03-29T01:00', 'the clock goes forward from 02:00 to 03:00: 02:30 does not run'],
      ['2026-03-30T00:30', 'the clock goes forward from 02:00 to 03:00 before it, on 2026-03-29'],
    ]);
  });

  it('has a row for a tick that is cancelled, and another tick in its place', () => {
    const cancelled = Date.parse('2026-11-21T08:00:00Z');
    const because = (time: number) => (time === cancelled ? 'by ops' : null);
    const { times, left } = preview(paris('0 9 * * *'), Date.parse('2026-11-20T12:00:00Z'), 2, undefined, because);
    expect(left).toEqual([{ kind: 'cancelled', time: cancelled, to: cancelled, count: 1, note: 'cancelled by ops' }]);
    expect(times.map(({ time }) => new Date(time).toISOString())).toEqual([
      '2026-11-22T08:00:00.000Z',
      '2026-11-23T08:00:00.000Z',
    ]);
  });

  it('says which of two equal times runs', () => {
    expect(rows(paris('30 2 * * *'), '2026-10-24T12:00:00Z', 2)).toEqual([
      ['2026-10-25T00:30', 'the clock goes back from 03:00 to 02:00: 02:30 runs the first time only'],
      ['2026-10-26T01:30', 'the clock goes back from 03:00 to 02:00 before it, on 2026-10-25'],
    ]);
  });

  it('has the excluded times between ticks as one row, with their calendar and how many they are', () => {
    expect(
      rows(paris('0 9,17 * * *', excluding(weekends, { dates: ['2026-11-23'] })), '2026-11-20T12:00:00Z', 2),
    ).toEqual([
      ['2026-11-20T16:00', null],
      ['2026-11-21T08:00', '4 times excluded: weekends'],
      ['2026-11-23T08:00', '2 times excluded: its own calendar'],
      ['2026-11-24T08:00', null],
    ]);
  });

  it('says where a tick has moved to, and from where', () => {
    const { exclude } = excluding(weekends);
    const moving = { exclude: { ...exclude, onExcluded: 'next-working-day' } };
    expect(rows(paris('0 9 * * sat', moving), '2026-11-20T12:00:00Z', 1)).toEqual([
      ['2026-11-21T08:00', 'excluded: weekends, moved to 2026-11-23T08:00:00Z'],
      ['2026-11-23T08:00', 'moved here from 2026-11-21T08:00:00Z'],
    ]);
  });

  it('collapses many ranges before one tick, and stops counting in time', () => {
    const odd = { name: 'odd', weekly: [{ days: ['sat'], from: '00:00', to: '24:00' }] };
    const each = Array.from({ length: 20 }, (_, day) => ({
      name: `day-${day}`,
      dates: [`2026-12-${day + 1}`.replace(/-(\d)$/, '-0$1')],
    }));
    const found = rows(paris('0 9 * * *', excluding(...each, odd)), '2026-11-30T12:00:00Z', 1);
    expect(found).toHaveLength(12);
    expect(found.at(-2)).toEqual(['2026-12-11T08:00', '10 more times excluded']);

    const before = process.cpuUsage();
    const nights = { name: 'nights', weekly: [{ days: ['mon', 'wed', 'fri'] }] };
    const long = preview(paris('*/7 * * * * *', excluding(nights)), Date.parse('2026-11-20T12:00:00Z'), 10_000);
    expect(long.times).toHaveLength(10_000);
    expect(process.cpuUsage(before).user / 1_000, 'ms on one core').toBeLessThan(20_000);
  });

  it('says that it did not count all, where there is too much', () => {
    const evenings = {
      name: 'evenings',
      weekly: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], from: '00:01' }],
    };
    const found = preview(paris('*/59 * * * * *', excluding(evenings)), Date.parse('2026-11-20T12:00:00Z'), 1_000);
    expect(found.complete).toBe(false);
    expect(found.times).toHaveLength(1_000);
  }, 240_000);

  it('ends where the schedule does', () => {
    const timing: Timing = { kind: 'at', at: Date.parse('2026-11-21T07:00:00Z') };
    expect(preview(timing, timing.at, 5)).toEqual({ times: [], left: [], complete: true });
  });
});
