import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineCalendar, defineJob, type JobContext } from '../../src/index.js';
import { play, runJob, tickAfter, ticksOf } from '../../src/testing/index.js';
import { prompt } from '../support/prompt.js';
import '../../src/testing/vitest.js';

const report = defineJob({
  name: 'report',
  payload: z.object({ region: z.string(), copies: z.number().default(1) }),
  timeout: '200ms',
  retry: { attempts: 4 },
  schedules: [{ id: 'report-eu', cron: '0 9 * * *', timezone: 'Europe/Paris', payload: { region: 'eu' } }],
  async run({ payload, run, tick, log, progress, deadline }) {
    log.info({ region: payload.region }, 'reported');
    await progress(50);
    return { payload, attempt: run.attempt, of: run.maxAttempts, tick, deadline: deadline.toISOString() };
  },
});

describe('runJob', () => {
  it('gives the handler a whole context, and tells what it answered, logged and reported', async () => {
    const { result, log, progress } = await runJob(
      report,
      { region: 'eu' },
      { attempt: 2, tick: '2026-03-01T08:00:00Z', now: '2026-03-01T08:00:01Z' },
    );

    expect(result).toEqual({
      payload: { region: 'eu', copies: 1 },
      attempt: 2,
      of: 4,
      tick: { schedule: 'report-eu', time: new Date('2026-03-01T08:00:00Z') },
      deadline: '2026-03-01T08:00:01.200Z',
    });
    expect(log).toEqual([{ level: 'info', message: 'reported', facts: { region: 'eu' } }]);
    expect(progress).toEqual([50]);
  });

  it('refuses what the schema refuses, as an enqueue does', async () => {
    await expect(runJob(report, { region: 7 } as never)).rejects.toMatchObject({ code: 'payload-invalid' });
  });

  it('migrates a payload of an older version first', async () => {
    const job = defineJob({
      name: 'renamed',
      version: 2,
      payload: z.object({ area: z.string() }),
      migrate: ({ payload }) => ({ area: (payload as { region: string }).region }),
      run: ({ payload }) => payload.area,
    });

    expect(await runJob(job, { region: 'eu' } as never, { version: 1 })).toMatchObject({ result: 'eu' });
  });

  it('throws what the handler throws', async () => {
    const job = defineJob({
      name: 'fails',
      run: () => {
        throw new Error('no paper');
      },
    });

    await expect(runJob(job, {})).rejects.toThrow('no paper');
  });

  it('gives up a handler at its timeout, whatever it does, and aborts its signal', async () => {
    let aborted: AbortSignal | undefined;
    const job = defineJob({
      name: 'sleeps',
      timeout: '20ms',
      run: ({ signal }) => {
        aborted = signal;
        return new Promise(() => {});
      },
    });

    await expect(runJob(job, {})).rejects.toMatchObject({ code: 'run-timed-out' });
    expect(aborted?.aborted).toBe(true);
  });

  it('hands on the abort of a signal that it is given', async () => {
    const stop = new AbortController();
    const job = defineJob({
      name: 'listens',
      run: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason))),
    });
    const running = runJob(job, {}, { signal: stop.signal });
    stop.abort('the process stops');

    expect((await running).result).toBe('the process stops');
  });

  it('tells what the handler enqueued, remembered and did once, and gives that to the next attempt', async () => {
    const receipt = defineJob({ name: 'receipt', payload: z.object({ order: z.int() }), run: () => null });
    let charges = 0;
    const order = defineJob({
      name: 'order',
      async run({ once, checkpoint, enqueue, run }) {
        const charge = await once('charge', () => ({ id: ++charges, at: new Date(0) }));
        const before = await checkpoint.read();
        await checkpoint.write({ step: run.attempt });
        const sent = await enqueue(receipt, { order: 7 }, { delay: '5m' });
        await enqueue('audit', { of: sent.id });
        if (run.attempt === 1) throw new Error('later');
        return { charge, before };
      },
    });
    const left = {};

    await expect(runJob(order, {}, { left })).rejects.toThrow('later');
    expect(left).toMatchObject({ checkpoint: { step: 1 }, once: { charge: { id: 1 } }, enqueued: [{}, {}] });
    const { result, checkpoint, once, enqueued } = await runJob(order, {}, { attempt: 2, left });

    const charge = { id: 1, at: '1970-01-01T00:00:00.000Z' };
    expect(result).toEqual({ charge, before: { step: 1 } });
    expect({ checkpoint, once }).toEqual({ checkpoint: { step: 2 }, once: { charge } });
    expect(enqueued).toEqual([
      { id: expect.stringMatching(/^from-/), job: 'receipt', payload: { order: 7 }, options: { delay: '5m' } },
      { id: expect.stringMatching(/^from-/), job: 'audit', payload: { of: enqueued[0]?.id }, options: {} },
    ]);
    expect(charges).toBe(1);
  });

  it('refuses what a handler enqueues or remembers as a worker does', async () => {
    const strict = defineJob({ name: 'strict', payload: z.object({ order: z.int() }), run: () => null });
    const doing = (run: (context: JobContext) => unknown) => runJob(defineJob({ name: 'doing', run }), {});
    await expect(doing(({ enqueue }) => enqueue(strict, { order: 0.5 }))).rejects.toThrow('payload.order: expected');
    await expect(doing(({ enqueue }) => enqueue('other', {}, { delay: 'soon' as never }))).rejects.toThrow('delay');
    await expect(doing(({ checkpoint }) => checkpoint.write(7n))).rejects.toMatchObject({ code: 'memory-refused' });
  });

  it('says what is wrong with a definition, a time, or an attempt', async () => {
    await expect(runJob(defineJob({ name: 'No Name', run: () => null }), {})).rejects.toMatchObject({
      code: 'jobs-invalid',
    });
    await expect(runJob(report, { region: 'eu' }, { now: 'noon' })).rejects.toThrow('now: expected a Date');
    await expect(runJob(report, { region: 'eu' }, { attempt: 0 })).rejects.toThrow('attempt: expected a whole number');
    const adHoc = defineJob({ name: 'ad-hoc', run: () => null });
    await expect(runJob(adHoc, {}, { tick: new Date() })).rejects.toThrow('the job has no schedule');
  });
});

describe('the times of a schedule', () => {
  it('are told over a range, clock changes included', () => {
    expect(ticksOf(report, { from: '2026-03-28', to: '2026-03-31' }).map((time) => time.toISOString())).toEqual([
      '2026-03-28T08:00:00.000Z',
      '2026-03-29T07:00:00.000Z',
      '2026-03-30T07:00:00.000Z',
    ]);
    expect(tickAfter(report, '2026-03-28T08:00:00Z')).toEqual(new Date('2026-03-29T07:00:00Z'));
  });

  it('are known to matchers of vitest', () => {
    expect(report).toTickAt('2026-03-29T09:00:00+02:00');
    expect(report).not.toTickAt('2026-03-29T09:00:00+01:00', 'report-eu');
    expect(report).toAcceptPayload({ region: 'eu' });
    expect(report).not.toAcceptPayload({ region: 7 });
    expect(() => expect(report).toTickAt('2026-03-29T09:00:00+01:00')).toThrow('the next one is 2026-03-30T07:00:00');
  });

  it('are refused with the ids that there are', () => {
    const range = { from: '2026-03-28', to: '2026-03-31' };
    expect(() => ticksOf(report, { ...range, schedule: 'report-us' })).toThrow(
      'one of report (report-eu); got report-us',
    );
    expect(() => ticksOf(report, { from: range.to, to: range.from })).toThrow('to: expected a time after 2026-03-31');
    expect(() => play(report, { ...range, takes: 'long' as never })).toThrow('takes: expected a duration');
  });
});

describe('a virtual clock', () => {
  const day = { from: '2026-03-01T00:00:00Z', to: '2026-03-01T00:10:00Z' };
  const minutely = (options: object) =>
    defineJob({ name: 'tidy', schedules: [{ id: 'tidy', cron: '* * * * *', ...options }], run: () => null });
  const told = (job: ReturnType<typeof minutely>, options: Partial<Parameters<typeof play>[1]> = {}) =>
    play(job, { ...day, ...options }).map(({ time, outcome, reason, count }) =>
      [time.getUTCMinutes(), outcome, ...(count > 1 ? [count] : []), ...(reason ? [reason] : [])].join(' '),
    );

  it('plays a year of minutes in a few seconds, and of days in milliseconds', prompt, () => {
    const startedAt = performance.now();
    const year = play(report, { from: '2026-01-01', to: '2027-01-01', takes: '1h' });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(year).toHaveLength(365);
    expect(year.every(({ outcome }) => outcome === 'succeeded')).toBe(true);
  });

  it('catches up what was due while no worker was alive, by the policy of misfire', () => {
    const down = [{ from: '2026-03-01T00:03:30Z', to: '2026-03-01T00:06:30Z' }];
    const others = (middle: string[]) => [
      ...['0', '1', '2', '3'].map((minute) => `${minute} succeeded`),
      ...middle,
      ...['7', '8', '9'].map((minute) => `${minute} succeeded`),
    ];
    expect(told(minutely({ misfire: 'run-once' }), { down })).toEqual(
      others(['4 coalesced 2 into 2026-03-01T00:06:00.000Z', '6 succeeded']),
    );
    expect(told(minutely({ misfire: 'run-all' }), { down })).toEqual(
      others(['4 succeeded', '5 succeeded', '6 succeeded']),
    );
    expect(told(minutely({ misfire: 'skip', grace: '10s' }), { down })).toEqual(others(['4 missed 3 misfire']));
  });

  it('lets runs overlap, or not, by the policy of overlap', () => {
    const short = { to: '2026-03-01T00:05:00Z', takes: '150s' } as const;
    expect(told(minutely({ overlap: 'allow' }), short)).toEqual([0, 1, 2, 3, 4].map((minute) => `${minute} succeeded`));
    expect(told(minutely({ overlap: 'skip' }), short)).toEqual([
      '0 succeeded',
      '1 skipped overlap',
      '2 skipped overlap',
      '3 succeeded',
      '4 skipped overlap',
    ]);
    expect(told(minutely({ overlap: 'wait' }), short)).toEqual([
      '0 succeeded',
      '1 succeeded',
      '2 coalesced into 2026-03-01T00:01:00Z',
      '3 succeeded',
      '4 coalesced into 2026-03-01T00:03:00Z',
    ]);
    expect(told(minutely({ overlap: 'replace' }), short).slice(0, 2)).toEqual([
      '0 cancelled by the tick of 2026-03-01T00:01:00Z',
      '1 cancelled by the tick of 2026-03-01T00:02:00Z',
    ]);
  });

  it('lets go first who waits behind one that is too late by now', () => {
    const job = minutely({ overlap: 'wait', misfire: 'run-all', lateAfter: '170s' });
    const down = [{ from: '2026-03-01T00:00:30Z', to: '2026-03-01T00:03:30Z' }];
    expect(told(job, { to: '2026-03-01T00:07:00Z', takes: '100s', down })).toEqual([
      '0 succeeded',
      '1 succeeded', // 03:30 to 05:10
      '2 skipped too late',
      '3 succeeded', // 05:10 to 06:50
      '4 coalesced into 2026-03-01T00:03:00Z',
      '5 coalesced into 2026-03-01T00:03:00Z',
      '6 succeeded',
    ]);
  });

  it('tells what calendars exclude, and what came too late', () => {
    const night = defineCalendar({
      name: 'night',
      timezone: 'UTC',
      weekly: [{ days: ['sun'], from: '00:02', to: '00:05' }],
    });
    expect(told(minutely({ exclude: [night] }), { to: '2026-03-01T00:07:00Z' })).toEqual([
      '0 succeeded',
      '1 succeeded',
      '2 excluded 3 night',
      '5 succeeded',
      '6 succeeded',
    ]);
    const down = [{ from: '2026-03-01T00:00:30Z', to: '2026-03-01T00:01:30Z' }];
    expect(told(minutely({ lateAfter: '10s' }), { to: '2026-03-01T00:03:00Z', down })).toEqual([
      '0 succeeded',
      '1 skipped too late',
      '2 succeeded',
    ]);
  });
});
