import { isDeepStrictEqual } from 'node:util';
import { RedisQueueBackend } from 'bullmq';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import type { BackfillRecord } from '../../src/broker/backfills.js';
import { runOptions } from '../../src/broker/queues.js';
import { NonRetryableError, RondoError } from '../../src/errors.js';
import type { JobContext } from '../../src/jobs/context.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { beginBackfill } from '../../src/producers/backfill.js';
import { feedBackfill } from '../../src/producers/feed.js';
import { enqueue, findRun, listRuns } from '../../src/producers/runs.js';
import { aborted, createGate, never } from '../support/gate.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { missedTicks, now } from '../support/missed-ticks.js';
import { prompt } from '../support/prompt.js';

const quick = { delay: 10, jitter: 0 } as const;
const once = { attempts: 1 } as const;

describe('a payload', () => {
  it('reaches the handler read by the schema: typed, with defaults applied', async () => {
    const seen: unknown[] = [];
    const job = defineJob({
      name: 'digest',
      payload: z.object({ since: z.coerce.date(), limit: z.number().default(3) }),
      run: ({ payload }) => void seen.push(payload),
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    await enqueue(broker, job, { since: '2026-11-21T07:00:00Z' });
    await events.next('run.succeeded');

    expect(seen).toEqual([{ since: new Date('2026-11-21T07:00:00Z'), limit: 3 }]);
  });

  it('that the schema refuses fails for good at the first attempt, and says where, what was expected and what came', async () => {
    let calls = 0;
    const job = defineJob({
      name: 'digest',
      payload: z.object({ count: z.number(), to: z.array(z.object({ mail: z.string() })) }),
      retry: { attempts: 5, ...quick },
      run: () => void calls++,
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await addUnchecked(broker, job, { count: 'many', to: [{ mail: 'a@b' }, { mail: 7 }] });
    const failed = await events.next('run.failed');

    expect(failed).toMatchObject({ run: id, code: 'payload-invalid', retryInMs: null, attempt: 1, maxAttempts: 5 });
    const run = await findRun(broker, job, id);
    expect(run).toMatchObject({ state: 'failed', attempts: 1 });
    expect(run.error).toContain('payload.count: expected a number; got "many"');
    expect(run.error).toContain('payload.to[1].mail: expected a string; got 7');
    expect(calls).toBe(0);
  });

  it.each([
    ['throws', z.any().transform(() => raise(new Error('no such table'))), 'no such table'],
    ['is asynchronous', z.any().refine(async () => true), 'Promise'],
  ])('whose schema %s is refused, on enqueue and in the worker', async (_, payload, reason) => {
    let calls = 0;
    const job = defineJob({ name: 'digest', payload, retry: { attempts: 5, ...quick }, run: () => void calls++ });
    const { broker, events, work } = await fixture([job]);
    await work();

    await expect(enqueue(broker, job, {})).rejects.toMatchObject({ code: 'payload-invalid' });
    const id = await addUnchecked(broker, job, {});
    const failed = await events.next('run.failed');

    expect(failed).toMatchObject({ run: id, code: 'payload-invalid', retryInMs: null, attempt: 1 });
    expect(failed.reason).toContain(reason);
    expect(calls).toBe(0);
  });
});

describe('of the runs that ended', () => {
  it('so many are kept as the job says, and of those that ended together one has looked, though another failed after it', async () => {
    const gate = createGate();
    const retention = { completed: { age: '1h', count: 7 } } as const;
    const job = defineJob({
      name: 'kept',
      payload: z.object({ fails: z.boolean() }),
      concurrency: 20,
      retry: once,
      retention,
      run: ({ payload }) => gate.opened.then(() => payload.fails && raise(new Error('no'))),
    });
    const { broker, events, work } = await fixture([job]);
    const looked = spyOnLooks(job);
    await work();
    for (let n = 0; n < 20; n++) await enqueue(broker, job, { fails: n === 19 });
    await eventually(() => events.of('run.started').length === 20);
    gate.open();
    await eventually(() => events.of('run.succeeded').length + events.of('run.failed').length === 20);

    expect(await broker.queue('kept').getCompletedCount()).toBe(7);
    expect(looked).toHaveLength(1);
  });

  it('so many are kept where one is run for a backfill, which ends by a longer way', async () => {
    const gate = createGate();
    const job = { concurrency: 20, retention: { completed: { age: '1h', count: 3 } }, run: () => gate.opened };
    const { broker, events, work, missed, specification, registry } = await missedTicks(10, job);
    const asked = { from: missed[0] as number, to: missed.at(-1) as number, onlyMissed: true, by: 'test', now };
    const { backfill } = await beginBackfill(broker, 'daily', { ...asked, confirmed: false });
    await feedBackfill(broker, backfill as BackfillRecord, specification);
    await work();
    await eventually(() => events.of('run.started').length === 10);
    await enqueue(broker, registry.get('work'), {});
    await eventually(() => events.of('run.started').length === 11);
    gate.open();
    await eventually(() => events.of('run.succeeded').length === 11);

    expect(await broker.queue('work').getCompletedCount()).toBe(3);
  });
});

/** The ids of a job's runs that had Redis look for those that are kept no longer. */
function spyOnLooks(job: JobDefinition): string[] {
  const looked: string[] = [];
  const complete = RedisQueueBackend.prototype.moveToCompleted;
  const spy = vi.spyOn(RedisQueueBackend.prototype, 'moveToCompleted').mockImplementation(function (
    this: RedisQueueBackend,
    ...given
  ) {
    const [run, , kept] = given;
    if (isDeepStrictEqual(kept, runOptions(job).removeOnComplete)) looked.push(String(run.id));
    return complete.apply(this, given) as never;
  });
  onTestFinished(() => spy.mockRestore());
  return looked;
}

describe('a result', () => {
  it.each([
    ['an object', { mails: 3, to: ['a', 'b'] }, { mails: 3, to: ['a', 'b'] }],
    ['a string', 'done', 'done'],
    ['zero', 0, 0],
    ['nothing', undefined, null],
  ])('is stored: %s', async (_, returned, stored) => {
    const job = defineJob({ name: 'result', run: async () => returned });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    await events.next('run.succeeded');

    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', result: stored, attempts: 1 });
  });

  it('that is no JSON fails the run, and the worker goes on', async () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const job = defineJob({
      name: 'result',
      payload: z.object({ bad: z.boolean().default(false) }),
      retry: once,
      concurrency: 1,
      run: ({ payload }) => (payload.bad ? circular : 'fine'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const bad = await enqueue(broker, job, { bad: true });
    const good = await enqueue(broker, job, {});
    await events.next('run.succeeded', ({ run }) => run === good);

    expect(await findRun(broker, job, bad)).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(/circular/i),
    });
    expect(events.of('run.succeeded')).toHaveLength(1);
  });
});

describe('a run that fails', () => {
  it.each([
    ['fixed', { backoff: 'fixed', delay: 30, jitter: 0 }, 0.5, [30, 30, 30]],
    ['linear', { backoff: 'linear', delay: 30, jitter: 0 }, 0.5, [30, 60, 90]],
    ['exponential', { backoff: 'exponential', delay: 20, jitter: 0 }, 0.5, [20, 40, 80]],
    ['capped', { backoff: 'exponential', delay: 20, maxDelay: 50, jitter: 0 }, 0.5, [20, 40, 50]],
    ['varied downwards', { backoff: 'fixed', delay: 100, jitter: 0.4 }, 0, [60, 60, 60]],
    [
      'varied upwards, but never above the cap',
      { backoff: 'linear', delay: 40, maxDelay: 90, jitter: 0.5 },
      0.999,
      [60, 90, 90],
    ],
  ] as const)('is tried again after the delays of its policy: %s', async (_, retry, random, delays) => {
    const attempts: { attempt: number; maxAttempts: number; startedAt: number; endedAt: number }[] = [];
    const job = defineJob({
      name: 'flaky',
      retry: { ...retry, attempts: 4 },
      run({ run: { attempt, maxAttempts } }) {
        const startedAt = Date.now();
        attempts.push({ attempt, maxAttempts, startedAt, endedAt: Date.now() });
        throw new Error(`attempt ${attempt}`);
      },
    });
    const { broker, events, work } = await fixture([job]);
    await work({ random: () => random });

    const id = await enqueue(broker, job, {});
    await events.next('run.failed', ({ retryInMs }) => retryInMs === null);

    expect(events.of('run.failed').map(({ retryInMs }) => retryInMs)).toEqual([...delays, null]);
    expect(events.of('run.failed').map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
    expect(attempts.map(({ attempt, maxAttempts }) => [attempt, maxAttempts])).toEqual([1, 2, 3, 4].map((n) => [n, 4]));
    delays.forEach((delay, index) => {
      const waited = (attempts[index + 1]?.startedAt ?? 0) - (attempts[index]?.endedAt ?? 0);
      expect(waited, `before attempt ${index + 2}`).toBeGreaterThanOrEqual(delay - 2);
    });
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'failed', attempts: 4, error: 'attempt 4' });
  });

  it('succeeds at a later attempt, and counts those before', async () => {
    const job = defineJob({
      name: 'flaky',
      retry: { attempts: 3, ...quick },
      run: ({ run }) => (run.attempt < 3 ? raise(new Error('not yet')) : 'at last'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    const succeeded = await events.next('run.succeeded');

    expect(succeeded).toMatchObject({ run: id, attempt: 3, maxAttempts: 3 });
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', attempts: 3, result: 'at last' });
  });

  it.each([
    ['a NonRetryableError', new NonRetryableError('the account is closed'), null],
    ['an error marked as not retryable', Object.assign(new Error('gone'), { retryable: false }), null],
    ['one of our own that no retry helps', new RondoError('job-unknown', 'x'), 'job-unknown'],
  ])('with %s fails for good at once', async (_, error, code) => {
    const job = defineJob({ name: 'doomed', retry: { attempts: 5, ...quick }, run: () => raise(error) });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    const failed = await events.next('run.failed');

    expect(failed).toMatchObject({ retryInMs: null, attempt: 1, code, reason: error.message });
    const run = await findRun(broker, job, id);
    expect(run).toMatchObject({ state: 'failed', attempts: 1, maxAttempts: 5, error: error.message });
  });

  it.each([
    ['a string', async () => raise('out of paper'), 'the handler threw "out of paper"'],
    ['nothing', async () => raise(undefined), 'the handler threw nothing'],
    ['null', async () => raise(null), 'the handler threw null'],
    ['an object', async () => raise({ status: 503 }), 'the handler threw {"status":503}'],
    ['an error, synchronously', () => raise(new Error('at once')), 'at once'],
    ['a frozen error', async () => raise(Object.freeze(new Error('cold'))), 'cold'],
    ['an error without a message', async () => raise(new Error()), ''],
  ])('because its handler threw %s leaves the worker alive', async (_, handler, reason) => {
    const job = defineJob({
      name: 'odd',
      payload: z.object({ odd: z.boolean().default(false) }),
      retry: once,
      concurrency: 1,
      run: ({ payload }) => (payload.odd ? handler() : 'fine'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const odd = await enqueue(broker, job, { odd: true });
    const fine = await enqueue(broker, job, {});
    await events.next('run.succeeded', ({ run }) => run === fine);

    expect(events.of('run.failed')).toMatchObject([{ run: odd, reason, retryInMs: null }]);
    expect(await findRun(broker, job, odd)).toMatchObject({ state: 'failed', attempts: 1 });
  });
});

describe('the timeout', () => {
  it('aborts the signal at the deadline, with a reason that says so', async () => {
    const seen: { reason?: unknown; lateMs?: number } = {};
    const job = defineJob({
      name: 'slow',
      timeout: 100,
      retry: once,
      async run({ signal, deadline }) {
        seen.reason = await aborted(signal);
        seen.lateMs = Date.now() - deadline.getTime();
        throw seen.reason;
      },
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    const failed = await events.next('run.failed');

    expect(seen.reason).toMatchObject({ code: 'run-timed-out' });
    expect(seen.lateMs).toBeGreaterThanOrEqual(-2);
    expect(failed).toMatchObject({ code: 'run-timed-out', retryInMs: null });
    expect((await findRun(broker, job, id)).error).toBe('The run took longer than its timeout: 100 ms');
  });

  it('gives up a handler that ignores its signal, and the worker goes on', async () => {
    const { failed, broker, job, events } = await runSlow(async ({ signal }) => {
      signal.throwIfAborted();
      await never;
    });

    expect(failed).toMatchObject({ code: 'run-timed-out' });
    expect(failed.durationMs).toBeGreaterThanOrEqual(1_000);
    const next = await enqueue(broker, job, { slow: false });
    await events.next('run.succeeded', ({ run }) => run === next);
  });

  it('gives up at once a handler that never looked at its signal', prompt, async () => {
    const { failed } = await runSlow(() => never);

    expect(failed).toMatchObject({ code: 'run-timed-out' });
    expect(failed.durationMs).toBeGreaterThanOrEqual(99);
    expect(failed.durationMs).toBeLessThan(1_000);
  });

  it('counts a success after the deadline as timed out', async () => {
    const { failed, events } = await runSlow(async ({ signal }) => {
      await aborted(signal);
      return 'too late';
    });

    expect(failed).toMatchObject({ code: 'run-timed-out' });
    expect(events.of('run.succeeded')).toEqual([]);
  });

  it('is per attempt: the run is tried again as its policy says', async () => {
    const job = defineJob({
      name: 'slow',
      timeout: 80,
      retry: { attempts: 2, ...quick },
      run: ({ run }) => (run.attempt === 1 ? never : 'in time'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    await events.next('run.succeeded');

    expect(events.of('run.failed')).toMatchObject([{ code: 'run-timed-out', attempt: 1, retryInMs: 10 }]);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', attempts: 2, result: 'in time' });
  });

  async function runSlow(handler: (context: JobContext) => Promise<unknown>) {
    const job = defineJob({
      name: 'slow',
      payload: z.object({ slow: z.boolean().default(true) }),
      timeout: 100,
      retry: once,
      concurrency: 1,
      run: async (context) => (context.payload.slow ? handler(context) : 'quick'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();
    await enqueue(broker, job, {});
    return { failed: await events.next('run.failed'), broker, events, job };
  }
});

describe('the context', () => {
  it('of an ad-hoc run says which run it is and until when it may take', async () => {
    const seen: Pick<JobContext, 'run' | 'tick' | 'deadline'>[] = [];
    const job = defineJob({
      name: 'look',
      timeout: '20s',
      run: ({ run, tick, deadline }) => void seen.push({ run, tick, deadline }),
    });
    const { broker, events, work } = await fixture([job]);
    const before = Date.now();
    const id = await enqueue(broker, job, {});
    const between = Date.now();
    await work();
    await events.next('run.succeeded');

    const [{ run, tick, deadline }] = seen as [(typeof seen)[0]];
    expect(run).toMatchObject({ id, job: 'look', attempt: 1, maxAttempts: 3 });
    expect(run.enqueuedAt.getTime()).toBeGreaterThanOrEqual(before);
    expect(run.enqueuedAt.getTime()).toBeLessThanOrEqual(between);
    expect(tick).toBeNull();
    expect(deadline.getTime()).toBeGreaterThanOrEqual(between + 20_000);
    expect(deadline.getTime()).toBeLessThanOrEqual(Date.now() + 20_000);
  });

  it('of a tick carries its schedule and nominal time, at a retry too', async () => {
    const seen: { tick: JobContext['tick']; attempt: number }[] = [];
    const job = defineJob({
      name: 'look',
      schedules: [{ id: 'look-often', every: '1s' }],
      retry: { attempts: 2, ...quick },
      run({ tick, run: { attempt } }) {
        seen.push({ tick, attempt });
        if (attempt === 1) throw new Error('once more');
      },
    });
    const { events, produce, work } = await fixture([job]);
    await work();
    await produce();
    const succeeded = await events.next('run.succeeded');

    const [first, second] = seen;
    expect(first).toMatchObject({ attempt: 1, tick: { schedule: 'look-often' } });
    expect(first?.tick?.time.getMilliseconds()).toBe(0);
    expect(second).toEqual({ attempt: 2, tick: first?.tick });
    expect(succeeded).toMatchObject({ schedule: 'look-often', tick: first?.tick?.time.getTime() });
  });

  it('takes log lines: told as events, and kept with the run unless they are for debugging', async () => {
    const job = defineJob({
      name: 'talk',
      run({ log }) {
        log.debug('looking around');
        log.info('begun');
        log.warn({ left: 3 }, 'slow');
        log.error({ left: 2 });
      },
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    await events.next('run.succeeded');

    expect(events.of('run.logged')).toMatchObject([
      { run: id, job: 'talk', level: 'debug', message: 'looking around', facts: {} },
      { run: id, job: 'talk', level: 'info', message: 'begun', facts: {} },
      { run: id, job: 'talk', level: 'warn', message: 'slow', facts: { left: 3 } },
      { run: id, job: 'talk', level: 'error', message: '', facts: { left: 2 } },
    ]);
    const { log } = await findRun(broker, job, id);
    expect(log).toEqual([
      expect.stringMatching(/^\d{4}-\S+Z info begun$/),
      expect.stringMatching(/^\d{4}-\S+Z warn slow {"left":3}$/),
      expect.stringMatching(/^\d{4}-\S+Z error {"left":2}$/),
    ]);
  });

  it('takes progress, which others see while the run goes on', async () => {
    const gate = createGate();
    const job = defineJob({
      name: 'long',
      async run({ progress }) {
        await progress(40);
        await gate.opened;
        await progress({ rows: 12 });
      },
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {});
    await eventually(async () => (await findRun(broker, job, id)).progress === 40);
    gate.open();
    await events.next('run.succeeded');

    expect((await findRun(broker, job, id)).progress).toEqual({ rows: 12 });
  });
});

describe('a run that expires', () => {
  it('is skipped, with the reason as its result, when it is found too late', async () => {
    let calls = 0;
    const job = defineJob({ name: 'urgent', run: () => void calls++ });
    const { broker, events, work } = await fixture([job]);
    await work();

    const late = { expiresIn: 5_000, timestamp: Date.now() - 30_000, delay: 10 };
    const id = await addUnchecked(broker, job, {}, late);
    const skipped = await events.next('run.skipped');

    expect(skipped).toMatchObject({ run: id, attempt: 1, reason: expect.stringMatching(/^expired \d+ ms ago$/) });
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', result: { skipped: skipped.reason } });
    expect(calls).toBe(0);
  });

  it('runs when it is found in time, its delay not counted', async () => {
    const job = defineJob({ name: 'urgent', run: () => 'made it' });
    const { broker, events, work } = await fixture([job]);
    await work();

    const due = { expiresIn: 20_000, timestamp: Date.now() - 30_000, delay: 25_000 };
    const id = await addUnchecked(broker, job, {}, due);
    await events.next('run.succeeded');

    expect(await findRun(broker, job, id)).toMatchObject({ result: 'made it' });
  });

  it('is let through at a retry: it did start in time', async () => {
    const job = defineJob({
      name: 'urgent',
      retry: { attempts: 2, delay: 1_600, jitter: 0 },
      run: ({ run }) => (run.attempt === 1 ? raise(new Error('again')) : 'made it'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, {}, { expiresIn: 1_500 });
    await events.next('run.succeeded');

    expect(await findRun(broker, job, id)).toMatchObject({ result: 'made it', attempts: 2 });
  });
});

describe('how much runs at once', () => {
  it('is the concurrency of each job, and jobs do not wait for each other', async () => {
    const gate = createGate();
    let parallel = 0;
    let most = 0;
    const busy = defineJob({
      name: 'busy',
      concurrency: 3,
      async run() {
        most = Math.max(most, ++parallel);
        await gate.opened;
        parallel--;
      },
    });
    const free = defineJob({ name: 'free', concurrency: 1, run: () => 'done' });
    const { broker, events, work } = await fixture([busy, free]);
    await work();

    await Promise.all(Array.from({ length: 10 }, () => enqueue(broker, busy, {})));
    await eventually(() => parallel === 3);
    await enqueue(broker, free, {});
    await events.next('run.succeeded', ({ job }) => job === 'free');
    expect(events.of('run.succeeded').filter(({ job }) => job === 'busy')).toEqual([]);

    gate.open();
    await eventually(() => events.of('run.succeeded').length === 11);
    expect(most).toBe(3);
  });

  it('begins a run before it fetches the next: those that are due do not wait for each other', async () => {
    const gate = createGate();
    const taken: Promise<number>[] = [];
    const run = async () => {
      taken.push(broker.queue('many').getActiveCount());
      await gate.opened;
    };
    const job = defineJob({ name: 'many', concurrency: 40, run });
    const { broker, work } = await fixture([job]);
    await broker.queue('many').addBulk(Array.from({ length: 40 }, () => ({ name: 'many', data: {} })));
    await work();
    await eventually(() => taken.length === 40);
    gate.open();
    expect(await taken[0]).toBeLessThan(20);
  });

  it('keeps to the rate limit, over all workers', async () => {
    const job = defineJob({ name: 'limited', rateLimit: { max: 2, per: 400 }, run: () => {} });
    const { broker, events, work } = await fixture([job]);
    await Promise.all(Array.from({ length: 6 }, () => enqueue(broker, job, {})));
    await Promise.all([work(), work()]);
    await eventually(() => events.of('run.succeeded').length === 6);

    const runs = await listRuns(broker, createRegistry([job]), { state: 'completed' });
    const starts = runs.map(({ startedAt }) => Date.parse(startedAt ?? '')).sort((a, b) => a - b);
    const gaps = [2, 4].map((index) => (starts[index] ?? 0) - (starts[index - 2] ?? 0));
    for (const gap of gaps) expect(gap, `starts ${starts}`).toBeGreaterThanOrEqual(300);
  });

  it('takes runs without a priority first, then from 1 upwards', async () => {
    const order: string[] = [];
    const job = defineJob({
      name: 'ordered',
      payload: z.object({ name: z.string() }),
      concurrency: 1,
      run: ({ payload }) => void order.push(payload.name),
    });
    const { broker, events, work } = await fixture([job]);
    await enqueue(broker, job, { name: 'third' }, { priority: 30 });
    await enqueue(broker, job, { name: 'first' }, { priority: 1 });
    await enqueue(broker, job, { name: 'second' }, { priority: 2 });
    await enqueue(broker, job, { name: 'before all' });
    await work();
    await eventually(() => events.of('run.succeeded').length === 4);

    expect(order).toEqual(['before all', 'first', 'second', 'third']);
  });

  it("follows the job's own priority unless the run has another", async () => {
    const order: string[] = [];
    const job = defineJob({
      name: 'ordered',
      payload: z.object({ name: z.string() }),
      concurrency: 1,
      priority: 10,
      run: ({ payload }) => void order.push(payload.name),
    });
    const { broker, events, work } = await fixture([job]);
    await enqueue(broker, job, { name: 'as the job says' });
    await enqueue(broker, job, { name: 'later' }, { priority: 11 });
    await enqueue(broker, job, { name: 'sooner' }, { priority: 9 });
    await work();
    await eventually(() => events.of('run.succeeded').length === 3);

    expect(order).toEqual(['sooner', 'as the job says', 'later']);
  });
});

describe('finished runs', () => {
  it('are kept up to the count of their kind', async () => {
    const job = defineJob({
      name: 'kept',
      payload: z.object({ fail: z.boolean() }),
      retry: once,
      concurrency: 1,
      retention: { completed: { count: 2 }, failed: { count: 1 } },
      run: ({ payload }) => (payload.fail ? raise(new Error('no')) : 'yes'),
    });
    const { broker, events, work } = await fixture([job]);
    await work();
    const ids: string[] = [];
    for (const fail of [false, true, false, true, false]) ids.push(await enqueue(broker, job, { fail }));
    await eventually(() => events.of('run.succeeded').length + events.of('run.failed').length === 5);

    const kept = (await listRuns(broker, createRegistry([job]))).map(({ id, state }) => `${id} ${state}`);
    expect(kept.sort()).toEqual([`${ids[2]} completed`, `${ids[3]} failed`, `${ids[4]} completed`].sort());
  });

  it('are not kept at all where the count is 0', async () => {
    const job = defineJob({ name: 'kept', retention: { completed: { count: 0 } }, run: () => 'yes' });
    const { broker, events, work } = await fixture([job]);
    await work();
    const id = await enqueue(broker, job, {});
    await events.next('run.succeeded');

    await expect(findRun(broker, job, id)).rejects.toMatchObject({ code: 'run-unknown' });
  });
});

describe('a lost lock', () => {
  const quickly = { lockMs: 1_000, stalledCheckMs: 300 };

  it('aborts the signal; the run is executed again by another worker, and ends once', async () => {
    const seen: { reason?: unknown } = {};
    const first = createGate();
    let calls = 0;
    const job = defineJob({
      name: 'held',
      concurrency: 1,
      async run({ signal }) {
        if (++calls > 1) return 'by the one that took over';
        first.open();
        seen.reason = await aborted(signal);
        return 'by the one that lost it';
      },
    });
    const { broker, events, work } = await fixture([job]);
    const holder = await work(quickly);

    const id = await enqueue(broker, job, {});
    await first.opened;
    await work(quickly);
    await broker.client.del(`${broker.keys.queuePrefix('held')}:held:${id}:lock`);
    await events.next('run.lock-lost', ({ run }) => run === id);
    await events.next('run.succeeded', ({ run }) => run === id);
    await holder.stop(Date.now() + 2_000);

    expect(seen.reason).toMatchObject({ code: 'run-lock-lost' });
    expect(calls).toBe(2);
    expect(events.of('run.succeeded')).toMatchObject([{ attempt: 1 }]);
    expect(events.of('run.failed')).toEqual([]);
    const run = await findRun(broker, job, id);
    expect(run).toMatchObject({ state: 'completed', attempts: 1, result: 'by the one that took over' });
  });

  it('brings the run back to the same worker: it begins when the first attempt has ended, and keeps its lock', async () => {
    const told: string[] = [];
    const first = createGate();
    const job = defineJob({
      name: 'held',
      concurrency: 2,
      async run({ signal }) {
        const nth = told.length === 0 ? 'first' : 'second';
        told.push(`${nth} begins`);
        if (nth === 'first') first.open();
        // The first takes nearly as long to react as it is given.
        if (nth === 'first') await aborted(signal);
        await wait(nth === 'first' ? 900 : 3 * quickly.lockMs);
        told.push(`${nth} ends, ${signal.aborted ? 'aborted' : 'whole'}`);
      },
    });
    const { broker, events, work } = await fixture([job]);
    await work(quickly);
    const id = await enqueue(broker, job, {});
    await first.opened;
    await broker.client.del(`${broker.keys.queuePrefix('held')}:held:${id}:lock`);
    await events.next('run.succeeded', ({ run }) => run === id);

    expect(told).toEqual(['first begins', 'first ends, aborted', 'second begins', 'second ends, whole']);
    expect((await broker.queue('held').getJob(id))?.stalledCounter).toBe(1);
  });

  it('too often sets the run aside: it may be what takes its workers down', async () => {
    const job = defineJob({ name: 'held', retry: { attempts: 5 }, run: ({ signal }) => aborted(signal).then(raise) });
    const { broker, events, work } = await fixture([job]);
    await work(quickly);
    const id = await enqueue(broker, job, {});
    const key = `${broker.keys.queuePrefix('held')}:held:${id}`;
    for (let starts = 1; starts <= 3; starts++) {
      await eventually(() => events.of('run.started').length === starts);
      await broker.client.del(`${key}:lock`);
    }
    const failed = await events.next('run.failed');

    expect(failed).toMatchObject({ run: id, attempt: 1, maxAttempts: 5, retryInMs: null, code: 'run-quarantined' });
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'failed', attempts: 1, code: 'run-quarantined' });
  });
});

describe('stop', () => {
  it('lets a run finish that needs less than the deadline', async () => {
    const { broker, job, id, gate, pool, events } = await running(async (gate) => {
      await gate.opened;
      return 'finished';
    });

    const stopped = pool.stop(Date.now() + 15_000);
    gate.open();
    await stopped;

    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', result: 'finished' });
    expect(events.of('run.interrupted')).toEqual([]);
  });

  it('aborts at the deadline and puts the run back, at no cost of an attempt: the next worker completes it', async () => {
    const seen: { reason?: unknown; lateMs?: number } = {};
    let deadline = 0;
    const { broker, job, id, pool, events, work } = await running(async (_, { signal }) => {
      seen.reason = await aborted(signal);
      seen.lateMs = Date.now() - deadline;
      throw seen.reason;
    });

    deadline = Date.now() + 200;
    await pool.stop(deadline);

    expect(seen.reason).toMatchObject({ code: 'run-interrupted' });
    expect(seen.lateMs).toBeGreaterThanOrEqual(-2);
    expect(events.of('run.interrupted')).toMatchObject([{ run: id, attempt: 1 }]);
    expect(events.of('run.failed')).toEqual([]);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'waiting', attempts: 0, error: null });

    const seenAttempts: number[] = [];
    const later = defineJob({ name: 'work', run: ({ run }) => void seenAttempts.push(run.attempt) });
    await work({ jobs: [later] });
    await events.next('run.succeeded', ({ run }) => run === id);
    expect(seenAttempts).toEqual([1]);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', attempts: 1 });
  });

  it('counts a handler that succeeds after the abort as succeeded', async () => {
    const { broker, job, id, pool, events } = await running(async (_, { signal }) => {
      await aborted(signal);
      return 'saved in time';
    });

    await pool.stop(Date.now());

    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', result: 'saved in time' });
    expect(events.of('run.interrupted')).toEqual([]);
  });

  it.each([
    ['looked at its signal and ignores it', (signal: () => AbortSignal) => signal().aborted],
    ['never looked at its signal', () => false],
  ])('returns within five seconds of the deadline for a handler that %s', prompt, async (_, look) => {
    const { broker, job, id, pool } = await running((_gate, context) => {
      look(() => context.signal);
      return never;
    });

    const deadline = Date.now() + 100;
    await pool.stop(deadline);

    expect(Date.now() - deadline).toBeLessThan(5_000);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'waiting', attempts: 0 });
  });

  it('takes no new run', async () => {
    const { broker, job, id, gate, pool, events } = await running((gate) => gate.opened);
    const waiting = await Promise.all(Array.from({ length: 5 }, () => enqueue(broker, job, {})));

    const stopped = pool.stop(Date.now() + 15_000);
    gate.open();
    await stopped;

    expect(events.of('run.started').map(({ run }) => run)).toEqual([id]);
    for (const run of waiting) expect(await findRun(broker, job, run)).toMatchObject({ state: 'waiting', attempts: 0 });
  });

  it('puts back a run that was on its way to the worker at that moment', async () => {
    for (let round = 0; round < 12; round++) {
      const job = defineJob({ name: 'work', concurrency: 2, run: ({ signal }) => aborted(signal).then(raise) });
      const { broker, events, work } = await fixture([job]);
      const pool = await work();
      const added = Promise.all([enqueue(broker, job, {}), enqueue(broker, job, {})]);
      for (let turn = 0; turn < round; turn++) await new Promise((resolve) => setImmediate(resolve));
      await pool.stop(Date.now());

      for (const id of await added) {
        const told = events.all.flatMap((event) => ('run' in event && event.run === id ? [event.type] : []));
        const { state, attempts } = await findRun(broker, job, id);
        expect({ state, attempts }, `round ${round}, ${told}`).toEqual({ state: 'waiting', attempts: 0 });
      }
    }
  });

  it('keeps the priority and the attempts of what it puts back', async () => {
    const gate = createGate();
    const job = defineJob({
      name: 'work',
      concurrency: 1,
      retry: { attempts: 3, ...quick },
      async run({ run, signal }) {
        if (run.attempt === 1) throw new Error('once more');
        gate.open();
        throw await aborted(signal);
      },
    });
    const order: string[] = [];
    const later = defineJob({
      name: 'work',
      concurrency: 1,
      run: ({ run }) => void order.push(`${run.id}/${run.attempt}`),
    });
    const { broker, events, work } = await fixture([job]);
    const pool = await work();
    const interrupted = await enqueue(broker, job, {}, { priority: 5 });
    await gate.opened;
    const sooner = await enqueue(broker, job, {}, { priority: 1 });
    const after = await enqueue(broker, job, {}, { priority: 9 });

    await pool.stop(Date.now());
    expect(await findRun(broker, job, interrupted)).toMatchObject({ state: 'waiting', attempts: 1 });
    await work({ jobs: [later] });
    await eventually(() => events.of('run.succeeded').length === 3);

    expect(order).toEqual([`${sooner}/1`, `${interrupted}/2`, `${after}/1`]);
  });

  it('puts a tick back as the same tick, and its chain goes on singly', async () => {
    const ticks: number[] = [];
    const schedules = [{ id: 'work-often', every: '1s' }] as const;
    const job = defineJob({ name: 'work', schedules, run: ({ signal }) => aborted(signal).then(raise) });
    const later = defineJob({ name: 'work', schedules, run: ({ tick }) => void ticks.push(tick?.time.getTime() ?? 0) });
    const { events, work, produce } = await fixture([job]);
    const pool = await work();
    await produce();
    const { tick } = await events.next('run.started');
    await pool.stop(Date.now());
    // The next one may have begun as well, in the meantime.
    expect(events.of('run.interrupted')[0]).toMatchObject({ tick, attempt: 1 });

    await work({ jobs: [later] });
    await eventually(() => ticks.length >= 3);
    expect(ticks).toContain(tick);
    expect(new Set(ticks).size).toBe(ticks.length);
  });

  type Handler = (gate: ReturnType<typeof createGate>, context: JobContext) => Promise<unknown>;

  /** One run of a job under way in a worker that takes one at a time. */
  async function running(handler: Handler) {
    const gate = createGate();
    const job = defineJob({ name: 'work', concurrency: 1, run: (context) => handler(gate, context) });
    const { broker, events, work } = await fixture([job]);
    const pool = await work();
    const id = await enqueue(broker, job, {});
    await events.next('run.started');
    return { broker, events, work, pool, job, id, gate };
  }
});

describe('a disabled job', () => {
  it('takes no runs', async () => {
    const job = defineJob({ name: 'off', enabled: false, run: () => {} });
    const { broker } = await fixture([job]);

    await expect(enqueue(broker, job, {})).rejects.toMatchObject({ code: 'job-disabled' });
    expect(await listRuns(broker, createRegistry([job]))).toEqual([]);
  });
});

/** As a service of an older release might: past the check that `enqueue` makes. */
async function addUnchecked({ queue }: Fixture['broker'], job: JobDefinition, data: unknown, options: object = {}) {
  const added = await queue(job.name).add(job.name, data, { ...runOptions(job), ...options });
  return String(added.id);
}

function raise(thrown: unknown): never {
  throw thrown;
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
