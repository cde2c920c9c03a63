import { describe, expect, test } from 'vitest';
import { judge, type MisfirePolicy } from '../../src/jobs/misfire.js';
import { overdueTicks, spreadOffset, type Timing } from '../../src/jobs/schedule.js';

const minute = 60_000;
const noon = Date.UTC(2026, 10, 21, 12);
const everyMinute: Timing = { kind: 'every', every: minute };
const at = (minutes: number) => noon + minutes * minute;

describe('ticks found due together', () => {
  test('are counted from the first to the last, and the one that is not due is told', async () => {
    expect(await overdueTicks(everyMinute, at(0), at(4) + 1, 2)).toEqual({
      overdue: { first: at(0), last: at(4), count: 5, latest: [at(3), at(4)] },
      next: at(5),
    });
  });

  test('are none before the first is due, its spread included', async () => {
    expect(await overdueTicks(everyMinute, at(1), at(1) - 1, 2)).toEqual({ overdue: null, next: at(1) });
    const spread: Timing = { ...everyMinute, spread: minute, offset: 30_000 };
    expect(await overdueTicks(spread, at(1), at(1) + 29_999, 2)).toEqual({ overdue: null, next: at(1) });
    expect((await overdueTicks(spread, at(1), at(1) + 30_000, 2)).overdue?.count).toBe(1);
  });

  test('end with the schedule', async () => {
    const ends: Timing = { ...everyMinute, endsAt: at(2) };
    expect(await overdueTicks(ends, at(0), at(60), 10)).toEqual({
      overdue: { first: at(0), last: at(2), count: 3, latest: [at(0), at(1), at(2)] },
      next: null,
    });
  });

  test('by the thousand are counted without holding up the event loop', async () => {
    let turns = 0;
    const turning = setInterval(() => turns++, 1);
    const everySecond: Timing = { kind: 'cron', cron: '* * * * * *', timezone: 'Europe/Paris' };
    const { overdue } = await overdueTicks(everySecond, noon, noon + 6 * 3_600_000 - 1, 3);
    clearInterval(turning);
    expect(overdue?.count).toBe(21_600);
    expect(overdue?.latest).toHaveLength(3);
    expect(turns).toBeGreaterThan(0);
  });

  test('leave open what comes next where the own rule of a schedule throws, or is unknown here', async () => {
    const fails = () => {
      throw new Error('no calendar');
    };
    const expected = { overdue: { first: noon, last: noon, count: 1, latest: [noon] }, next: { after: noon } };
    expect(await overdueTicks({ kind: 'next' }, noon, noon, 1, fails)).toEqual(expected);
    expect(await overdueTicks({ kind: 'next' }, noon, noon, 1)).toEqual(expected);
  });
});

describe('misfire', () => {
  const policy = (misfire: MisfirePolicy['misfire'], maxCatchUp = 100): MisfirePolicy => {
    return { misfire, maxCatchUp, grace: minute };
  };
  const five = { first: at(0), last: at(4), count: 5, latest: [at(0), at(1), at(2), at(3), at(4)] };
  const one = { first: at(0), last: at(0), count: 1, latest: [at(0)] };

  test('run-once runs the latest, and coalesces the others into it', () => {
    expect(judge(five, policy('run-once'), 0, at(4))).toEqual({
      run: [at(4)],
      rest: { from: at(0), to: at(3), count: 4, outcome: 'coalesced', reason: 'into 2026-11-21T12:04:00.000Z' },
    });
  });

  test('run-all runs each, oldest first, of too many the latest', () => {
    expect(judge(five, policy('run-all'), 0, at(4))).toEqual({ run: five.latest, rest: null });
    expect(judge(five, policy('run-all', 2), 0, at(4))).toEqual({
      run: [at(3), at(4)],
      rest: { from: at(0), to: at(2), count: 3, outcome: 'missed', reason: 'more than 2 to catch up' },
    });
  });

  test('skip runs the latest within the grace, and nothing after it', () => {
    expect(judge(five, policy('skip'), 0, at(5)).run).toEqual([at(4)]);
    expect(judge(five, policy('skip'), 0, at(5)).rest).toMatchObject({ count: 4, to: at(3), outcome: 'missed' });
    expect(judge(five, policy('skip'), 0, at(5) + 1)).toMatchObject({ run: [], rest: { count: 5, to: at(4) } });
  });

  test.each(['run-once', 'run-all', 'skip'] as const)('%s runs one tick that is on time', (misfire) => {
    expect(judge(one, policy(misfire), 0, at(0) + 5)).toEqual({ run: [at(0)], rest: null });
  });

  test('counts the grace from when a tick is due, not from its time', () => {
    expect(judge(one, policy('skip'), 10 * minute, at(11)).run).toEqual([at(0)]);
    expect(judge(one, policy('skip'), 10 * minute, at(11) + 1).run).toEqual([]);
  });
});

describe('spread', () => {
  test('gives an id always the same place in the window, and many ids places all over it', () => {
    expect(spreadOffset('a', minute)).toBe(spreadOffset('a', minute));
    const tenths = new Array(10).fill(0);
    for (let id = 0; id < 10_000; id++) tenths[Math.floor(spreadOffset(`s${id}`, minute) / (minute / 10))]++;
    for (const count of tenths) expect(count).toBeGreaterThan(850);
  });
});
