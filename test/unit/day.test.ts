import { describe, expect, it } from 'vitest';
import { dayPage } from '../../src/http/site/day/page.js';
import type { Timing } from '../../src/jobs/schedule.js';
import { type PlannedSchedule, reckonDay } from '../../src/producers/day.js';

const minute = 60_000;
const hour = 60 * minute;
const now = Date.UTC(2026, 10, 21, 12, 34, 56);
/** 12:30, where the part begins that is now. */
const current = 144;

const cron = (pattern: string): Timing => ({ kind: 'cron', cron: pattern, timezone: 'UTC' });
const schedule = (id: string, timing: Timing, more: Partial<PlannedSchedule> = {}): PlannedSchedule => ({
  ...{ id, job: 'mail', timing, overlap: 'allow', durationMs: 1_000 },
  ...more,
});
const many = (count: number, timing: Timing, more: Partial<PlannedSchedule> = {}) =>
  Array.from({ length: count }, (_, index) => schedule(`s-${String(index).padStart(2, '0')}`, timing, more));
const reckon = (schedules: readonly PlannedSchedule[], slots: Record<string, number> = { mail: 5 }) =>
  reckonDay({ schedules, slots: new Map(Object.entries(slots)), now });

describe('the day', () => {
  it('has the last and the next 24 hours in parts of ten minutes, and the part that is now', async () => {
    const day = await reckon([schedule('hourly', cron('5 * * * *'))]);
    expect(day).toMatchObject({ from: '2026-11-20T12:30:00Z', now: '2026-11-21T12:34:56Z', partMs: 600_000, current });
    const [mail] = day.jobs;
    expect(mail).toMatchObject({ job: 'mail', schedules: 1, total: 48, slots: 5, unmeasured: 0, uncounted: [] });
    expect(mail?.ticks).toHaveLength(289);
    // 13:00 is three parts after 12:30.
    expect([mail?.ticks[0], mail?.ticks[3], mail?.ticks[current + 3], mail?.ticks[current + 4]]).toEqual([0, 1, 1, 0]);
  });

  it('puts the job with most ticks first, and leaves out what is paused', async () => {
    const often = schedule('often', { kind: 'every', every: 1_000 }, { job: 'beat', overlap: 'skip' });
    const off = { from: now - hour, to: now + hour };
    const day = await reckon([schedule('hourly', cron('0 * * * *'), { off }), often]);
    expect(day.jobs.map(({ job, total }) => [job, total])).toEqual([
      ['beat', 289 * 600],
      ['mail', 46],
    ]);
    expect(day.jobs[0]?.slots).toBeNull();
  });

  it('says whose ticks cannot be counted, and which have no run that was measured', async () => {
    const odd = schedule('odd', { kind: 'next' });
    const broken = schedule('broken', { kind: 'cron', cron: 'no cron', timezone: 'UTC' });
    const fresh = schedule('fresh', cron('0 * * * *'), { durationMs: null });
    const day = await reckon([odd, broken, fresh, schedule('past', { kind: 'at', at: now - hour })]);
    expect(day.jobs).toMatchObject([{ uncounted: ['odd', 'broken'], unmeasured: 1, schedules: 2, total: 49 }]);
  });
});

describe('the slots that ticks want', () => {
  it('are as many as runs that execute at one time, and none of the past', async () => {
    const [mail] = (await reckon(many(4, cron('0 * * * *'), { durationMs: 25 * minute }))).jobs;
    expect(mail?.wanted.slice(current, current + 8)).toEqual([0, 0, 0, 4, 4, 4, 0, 0]);
    expect(mail?.busy).toEqual(mail?.wanted);
    expect(Math.max(...(mail?.wanted.slice(0, current) ?? []))).toBe(0);
  });

  it('are a share of a minute where runs are short, and one at a time where they may not overlap', async () => {
    const short = (await reckon(many(30, cron('* * * * *'), { durationMs: 4_000 }))).jobs[0];
    expect(short?.wanted[current + 1]).toBe(2);
    const single = { durationMs: 3 * minute, overlap: 'skip' as const };
    const [alone] = (await reckon([schedule('alone', cron('* * * * *'), single)])).jobs;
    expect(alone?.wanted[current + 1]).toBe(1);
    const [overlapping] = (await reckon([schedule('alone', cron('* * * * *'), { durationMs: 3 * minute })])).jobs;
    expect(overlapping?.wanted[current + 1]).toBe(3);
  });
});

describe('a shortfall', () => {
  it('is told of where runs start a minute late or more, with when it is over and what to spread', async () => {
    // 40 runs of 10 minutes in 5 slots take 80 minutes: the last begin 70 minutes late.
    const day = await reckon(many(40, cron('0 15 * * *'), { durationMs: 10 * minute }));
    expect(day.shortfalls).toEqual([
      {
        ...{ job: 'mail', from: '2026-11-21T15:00:00Z', to: '2026-11-21T16:20:00Z', wanted: 40, slots: 5 },
        lateMs: 70 * minute,
        schedules: ['s-00', 's-01', 's-02', 's-03', 's-04'].map((id) => ({ id, ticks: 1 })),
        more: 35,
        spreadMs: 80 * minute,
      },
    ]);
    expect(day.jobs[0]?.busy.slice(current + 14, current + 25)).toEqual([0, 5, 5, 5, 5, 5, 5, 5, 5, 0, 0]);
  });

  it('names those first that take most of it', async () => {
    const heavy = schedule('heavy', cron('*/2 15 * * *'), { durationMs: 30 * minute });
    const day = await reckon([...many(8, cron('0 15 * * *'), { durationMs: 20 * minute }), heavy]);
    expect(day.shortfalls[0]?.schedules[0]?.id).toBe('heavy');
    expect(day.shortfalls[0]?.more).toBe(4);
  });

  it('is none where the slots do, where runs are a moment late, or where there is no slot at all', async () => {
    const busy = many(5, cron('0 * * * *'), { durationMs: 50 * minute });
    expect((await reckon(busy)).shortfalls).toEqual([]);
    expect((await reckon(many(60, cron('0 * * * *'), { durationMs: 9_000 }))).shortfalls).toEqual([]);
    expect((await reckon(busy, {})).shortfalls).toEqual([]);
    expect((await reckon(busy, { mail: 4 })).shortfalls.length).toBeGreaterThan(0);
  });

  it('that comes back all day is told of each time, and said once on the page', async () => {
    const day = await reckon(many(12, cron('0 * * * *'), { durationMs: 10 * minute }), { mail: 3 });
    expect(day.shortfalls.length).toBe(24);
    const { text } = dayPage({ ...day, workers: 1, unreadable: [] }, null);
    expect(text.match(/The last begin/g)?.length).toBe(1);
    expect(text).toContain('It is the worst of 24 such times, the last from 2026-11-22 12:00.');
    expect(text.match(/slots busy, runs start late/g)?.length).toBe(24 * 4);
  });

  it('goes on beyond the day where more comes than is worked off', async () => {
    const day = await reckon(many(6, cron('* * * * *'), { durationMs: minute }));
    expect(day.shortfalls).toMatchObject([{ from: '2026-11-21T12:34:00Z', to: null, wanted: 6 }]);
  });
});
