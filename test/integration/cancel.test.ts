import type { RepeatOptions } from 'bullmq';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { account } from '../../src/broker/account.js';
import { mayBeBackfilled } from '../../src/broker/backfill-claim.js';
import { takeBackCancelled } from '../../src/broker/cancelled-ahead.js';
import { begin, readClaims, readCursor, readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { iterationId } from '../../src/broker/repeat.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { defaultPolicy } from '../../src/jobs/misfire.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { isoTime } from '../../src/jobs/words.js';
import { cancel as cancelRun } from '../../src/producers/cancel.js';
import { wantedOf } from '../../src/producers/plan.js';
import { previewStored } from '../../src/producers/preview.js';
import { reconcile } from '../../src/producers/schedules.js';
import { showSchedule } from '../../src/producers/views.js';
import { eventually, fixture, recordEvents } from '../support/harness.js';
import { expectProblem } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { entriesWith } from '../support/ledger-audit.js';
import { runWarm } from '../support/processes.js';
import { prompt } from '../support/prompt.js';

const of = { job: 'work', schedule: 'often' };
/** How far ticks lie apart that are not to fall into a test. */
const apart = 300 * 86_400_000;
const hour = 3_600_000;

describe('cancelling a run', () => {
  it('of a run that is gone, but for its entry in a list, ends', async () => {
    const { broker } = await fixture([defineJob({ name: 'work', run: () => null })]);
    await broker.client.zadd(broker.queue('work').toKey('delayed'), Date.now() * 0x1000, 'ghost');

    await expect(cancel(broker, 'ghost', 'somebody')).rejects.toMatchObject({ code: 'run-unknown' });
  });

  it('aborts a run on whichever worker executes it within a second, and its tick says by whom', prompt, async () => {
    const aborted: number[] = [];
    const started: string[] = [];
    const job = defineJob({
      name: 'work',
      schedules: [{ id: 'often', at: new Date(Date.now() + 500) }],
      run: ({ run, signal }) => {
        started.push(run.id);
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted.push(Date.now());
            reject(signal.reason);
          });
        });
      },
    });
    const { broker, events, work, produce } = await fixture([job]);
    await Promise.all([work(), work()]);
    await produce();
    const id = await eventually(() => started[0]);
    const asked = Date.now();
    expect(await cancel(broker, id, 'night-watch')).toBe('told');
    await events.next('run.cancelled', ({ by }) => by === 'night-watch');
    expect(Number(aborted[0]) - asked).toBeLessThan(1_000);
    const [entry] = await entriesWith(broker, of, 'cancelled');
    expect(entry).toMatchObject({ outcome: 'cancelled', reason: 'by night-watch', attempts: 1 });
    expect(await broker.queue('work').getJobState(id)).toBe('failed');
    await expect(cancel(broker, id, 'x')).rejects.toMatchObject({ code: 'run-ended' });
    await expect(cancel(broker, 'nothing', 'x')).rejects.toMatchObject({ code: 'run-unknown' });
  });

  it('gives up a run that ignores its signal after cancelGrace', async () => {
    const started: string[] = [];
    const job = defineJob({
      name: 'work',
      cancelGrace: 300,
      run: ({ run, signal }) => {
        started.push(`${run.id} ${signal.aborted}`);
        return new Promise(() => {});
      },
    });
    const { broker, events, work } = await fixture([job]);
    await work();
    const run = await broker.queue('work').add('work', {}, { attempts: 3 });
    await eventually(() => started.length === 1);
    await cancel(broker, String(run.id), 'ops');
    const { durationMs } = await events.next('run.cancelled');
    expect(durationMs).toBeGreaterThanOrEqual(300);
    expect(await run.getState()).toBe('failed');
    expect(started).toHaveLength(1);
  });

  it('removes what waits, is delayed or waits for its next attempt, and closes the tick of the last', async () => {
    const job = defineJob({
      name: 'work',
      retry: { attempts: 2, backoff: 'fixed', delay: '1h', jitter: 0 },
      schedules: [{ id: 'often', every: '1s' }],
      run: () => {
        throw new Error('not yet');
      },
    });
    const { broker, events, work, produce } = await fixture([job]);
    const delayed = await broker.queue('work').add('work', {}, { delay: 3_600_000 });
    const waiting = await broker.queue('work').add('work', {});
    expect(await cancel(broker, String(delayed.id), 'ops')).toBe('removed');
    expect(await cancel(broker, String(waiting.id), 'ops')).toBe('removed');
    expect(await broker.queue('work').getJobCounts('waiting', 'delayed')).toEqual({ waiting: 0, delayed: 0 });

    await work();
    await produce();
    const { run, tick } = await events.next('run.failed', ({ tick }) => tick !== undefined);
    expect(await cancel(broker, run, 'ops')).toBe('removed');
    const { entries } = await readTicks(broker, of);
    expect(entries.find((entry) => entry.time === tick)).toMatchObject({ outcome: 'cancelled', reason: 'by ops' });
    expect((await readClaims(broker, of)).has(run)).toBe(false);
  });

  it('is asked for over HTTP by keys that may operate, and on the command line', async () => {
    const job = defineJob({ name: 'work', run: () => null });
    const { broker, prefix, serve } = await fixture([job]);
    const api = await serve();
    const add = async () => String((await broker.queue('work').add('work', {}, { delay: 3_600_000 })).id);
    const at = (id: string) => `/v1/jobs/work/runs/${id}/cancel`;
    const id = await add();
    expectProblem(await api.call('POST', at(id), { key: 'read' }), 403, 'forbidden');
    expect(await api.call('POST', at(id), { key: 'operate' })).toMatchObject({
      status: 202,
      body: { id, job: 'work', cancelled: 'removed' },
    });
    expectProblem(await api.call('POST', at(id), { key: 'operate' }), 404, 'run-unknown');

    const other = await add();
    const env = {
      RONDO_JOBS: writeJobs(`export default [defineJob({ name: 'work', run: () => null })];`),
      RONDO_PREFIX: prefix,
    };
    const done = await runWarm(['runs', 'cancel', 'work', other, '--by', 'ops', '--json'], { env });
    expect(JSON.parse(done.stdout)).toEqual({ job: 'work', id: other, cancelled: 'removed' });
    expect(await runWarm(['runs', 'cancel', 'work', other], { env })).toMatchObject({ code: 1 });
  });
});

describe('cancelling the next run of a schedule', () => {
  it('removes it, and its tick says by whom; the schedule goes on after it', async () => {
    const ran: number[] = [];
    const schedules = [{ id: 'often', every: '2s' }] as const;
    const job = defineJob({ name: 'work', schedules, run: ({ tick }) => void ran.push(Number(tick?.time)) });
    const { broker, work, produce } = await fixture([job]);
    await produce();
    const tick = await nextOf(broker);
    const id = iterationId('often', tick);
    expect(await cancel(broker, id, 'ops')).toBe('removed');
    expect(await broker.queue('work').getJobState(id)).toBe('unknown');
    expect(await broker.queue('work').getJobState(iterationId('often', tick + 2_000))).toBe('delayed');
    const cancelled = { time: tick, to: tick, count: 1, outcome: 'cancelled', reason: 'by ops' };
    expect((await readTicks(broker, of)).entries).toEqual([cancelled]);
    await expect(cancel(broker, id, 'ops')).rejects.toMatchObject({ code: 'run-unknown' });
    const preview = await previewStored(broker, 'often', { from: tick - 1, count: 2 });
    expect(preview.times.map(({ time }) => Date.parse(time))).toEqual([tick + 2_000, tick + 4_000]);
    expect(preview.left).toMatchObject([{ kind: 'cancelled', time: isoTime(tick), note: 'cancelled by ops' }]);

    await work();
    await eventually(() => ran.length >= 2);
    expect(ran.slice(0, 2)).toEqual([tick + 2_000, tick + 4_000]);
    const entries = await entriesWith(broker, of, 'succeeded');
    expect(entries.slice(0, 2)).toMatchObject([cancelled, { time: tick + 2_000, outcome: 'succeeded' }]);
  });

  it('does the same where it is due and no worker has taken it', async () => {
    const { broker, apply } = await setting();
    await apply();
    const tick = await nextOf(broker);
    await broker.queue('work').promoteJobs();
    const id = iterationId('often', tick);
    expect(await broker.queue('work').getJobState(id)).toBe('waiting');

    expect(await cancel(broker, id, 'ops')).toBe('removed');
    expect(await broker.queue('work').getJobState(id)).toBe('unknown');
    expect(await entriesWith(broker, of, 'cancelled')).toMatchObject([{ time: tick, reason: 'by ops' }]);
    expect(await nextOf(broker)).toBe(tick + apart);
  });

  it('leaves to what was missed before it a word of its own', async () => {
    const { broker, apply } = await setting();
    await apply({ misfire: 'skip' });
    const tick = await nextOf(broker);
    const cursor = `${broker.keys.queuePrefix('work')}:cursor:often`;
    await broker.client.hset(cursor, { at: tick - 3 * apart, next: tick - 2 * apart });

    expect(await cancel(broker, iterationId('often', tick), 'ops')).toBe('removed');
    expect(await entriesWith(broker, of, 'cancelled')).toMatchObject([
      { time: tick - 2 * apart, to: tick - apart, count: 2, outcome: 'missed' },
      { time: tick, count: 1, outcome: 'cancelled' },
    ]);
  });

  it('may be done with each that follows, and the last one ends the schedule', async () => {
    const { broker, apply } = await setting();
    const endsAt = new Date(Math.ceil(Date.now() / apart) * apart + apart + 1);
    await apply({ endsAt });
    const tick = await nextOf(broker);
    for (const time of [tick, tick + apart]) {
      expect(await cancel(broker, iterationId('often', time), String(time))).toBe('removed');
    }
    expect((await readTicks(broker, of)).entries).toMatchObject([
      { time: tick, reason: `by ${tick}` },
      { time: tick + apart, reason: `by ${tick + apart}` },
    ]);
    expect(await broker.queue('work').getDelayedCount()).toBe(0);
    expect(await showSchedule(broker, 'often', Date.now())).toMatchObject({
      health: 'ended',
      next: null,
      upcoming: [],
    });
  });

  it('holds over a heal and a change of anything but its times: the run does not come back', async () => {
    const { broker, apply } = await setting();
    await apply();
    const tick = await nextOf(broker);
    await cancel(broker, iterationId('often', tick), 'ops');
    for (const change of [{ payload: { n: 2 } }, {}, 'heal'] as const) {
      if (change === 'heal') await broker.queue('work').removeJobScheduler('often');
      await apply(change === 'heal' ? {} : change);
      const delayed = await broker.queue('work').getDelayed();
      expect(delayed.map(({ id }) => id)).toEqual([iterationId('often', tick + apart)]);
      expect(await nextOf(broker)).toBe(tick + apart);
    }
    expect(await showSchedule(broker, 'often', Date.now())).toMatchObject({
      next: isoTime(tick + apart),
      upcoming: [{ time: isoTime(tick + apart) }, {}, {}],
    });
  });

  it('is taken back where the times change: what they have from now on runs, that tick too', async () => {
    const { broker, apply, ran, work } = await setting();
    const tick = Math.ceil(Date.now() / 2_000) * 2_000 + 4_000;
    await apply({ at: new Date(tick) });
    expect(await cancel(broker, iterationId('often', tick), 'ops')).toBe('removed');
    await apply({ every: '2s' });
    expect(await nextOf(broker)).toBeLessThanOrEqual(tick - 2_000);
    await work();
    await eventually(() => Number(ran.at(-1)) > tick);
    expect(ran.slice(-3)).toEqual([tick - 2_000, tick, tick + 2_000]);
    const { entries } = await readTicks(broker, of);
    expect(entries.filter(({ time }) => time === tick)).toMatchObject([{ outcome: 'succeeded' }]);
  });

  it('is taken back where the schedule goes: declared again, it has that tick anew', async () => {
    const { broker, apply } = await setting();
    await apply();
    const tick = await nextOf(broker);
    await cancel(broker, iterationId('often', tick), 'ops');
    await apply(null);
    expect((await readTicks(broker, of)).entries).toEqual([]);
    await apply();
    expect(await nextOf(broker)).toBe(tick);
    expect((await broker.queue('work').getDelayed()).map(({ id }) => id)).toEqual([iterationId('often', tick)]);
  });

  it('of a run that is due removes it while its queue is paused, and where it is the last', async () => {
    const { broker, apply } = await setting();
    const at = Date.now() + 300;
    for (const times of [{}, { at: new Date(at) }]) {
      await apply(times);
      const tick = await nextOf(broker);
      await broker.queue('work').promoteJobs();
      await broker.queue('work').pause();
      expect(await cancel(broker, iterationId('often', tick), 'ops')).toBe('removed');
      expect(await broker.queue('work').getJobState(iterationId('often', tick))).toBe('unknown');
      await broker.queue('work').resume();
    }
    expect(await broker.queue('work').getJobCounts('waiting', 'delayed')).toEqual({ waiting: 0, delayed: 0 });
  });

  it('that was left half done is finished by the next word, with one entry', async () => {
    const { broker, apply } = await setting();
    await apply();
    const tick = await nextOf(broker);
    const id = iterationId('often', tick);
    const { opts } = (await broker.queue('work').getJob(id)) as { opts: { repeat?: RepeatOptions } };
    await cancel(broker, id, 'ada');
    // As if the first had died between the ledger and the chain.
    await broker.queue('work').upsertJobScheduler('often', opts.repeat ?? {}, { name: 'work' });
    expect(await broker.queue('work').getJobState(id)).toBe('delayed');
    expect(await cancel(broker, id, 'bob')).toBe('removed');
    expect(await broker.queue('work').getJobState(id)).toBe('unknown');
    expect((await readTicks(broker, of)).entries).toMatchObject([{ time: tick, reason: 'by ada' }]);
  });

  it('and deploying a change at once, thirty times, leaves one entry for each, and the chain where the ledger stands', async () => {
    const { broker, apply } = await setting();
    await apply();
    const cancelled: number[] = [];
    for (let n = 2; n < 32; n++) {
      const tick = await nextOf(broker);
      const [done] = await Promise.all([
        cancel(broker, iterationId('often', tick), 'ops').catch(() => 'gone'),
        apply({ payload: { n } }),
      ]);
      if (done === 'removed') cancelled.push(tick);
      await apply({ payload: { n } });
      const next = await nextOf(broker);
      const delayed = await broker.queue('work').getDelayed();
      expect(delayed.map(({ id, data }) => ({ id, data }))).toEqual([{ id: iterationId('often', next), data: { n } }]);
    }
    expect(cancelled.length).toBeGreaterThan(0);
    const { entries } = await readTicks(broker, of);
    expect(entries.map(({ time }) => time)).toEqual(cancelled);
  });

  it('over calendars is taken back with what they exclude ahead, to the moment of the change', async () => {
    const { broker } = await fixture([]);
    const weekends = { name: 'weekends', weekly: [{ days: ['sat', 'sun'] }] } as const;
    const timing = {
      kind: 'cron',
      cron: '0 * * * *',
      timezone: 'UTC',
      exclude: { timezone: 'UTC', calendars: [weekends] },
    } as const;
    const [friday, saturday, monday] = [27, 28, 30].map((day) => Date.UTC(2026, 10, day)) as [number, number, number];
    const [policy, rule, noon] = [defaultPolicy, undefined, saturday + 12 * hour];
    await begin(broker, of, friday + 23 * hour, monday);
    const cursor = { at: friday + 23 * hour, next: monday, pause: null };
    await account(broker, { ...of, timing, policy, rule, now: noon, cursor, cancelledBy: 'ops' });
    const excluded = { outcome: 'excluded', reason: 'weekends' };
    expect((await readTicks(broker, of)).entries).toEqual([
      { time: saturday, to: monday - hour, count: 48, ...excluded },
      { time: monday, to: monday, count: 1, outcome: 'cancelled', reason: 'by ops' },
    ]);

    const events = recordEvents();
    await takeBackCancelled(broker, { ...of, timing, now: noon }, events.emit);
    expect(events.all).toEqual([{ type: 'ticks.taken-back', ...of, ticks: [monday] }]);
    expect((await readTicks(broker, of)).entries).toEqual([{ time: saturday, to: noon, count: 13, ...excluded }]);
    expect(await readCursor(broker, of)).toEqual({ at: noon, next: monday, pause: null });
    await takeBackCancelled(broker, { ...of, timing, now: noon }, events.emit);
    expect(events.all).toHaveLength(1);
  });

  it('and changing the times at once, thirty times, leaves nothing of it, and the schedule at its new times', async () => {
    const { broker, apply } = await setting();
    await apply();
    const firstOf = (days: number) => Math.ceil(Date.now() / (days * 24 * hour)) * days * 24 * hour;
    for (let n = 0; n < 30; n++) {
      const [days, times] = n % 2 === 0 ? ([200, { every: '200d' }] as const) : ([300, {}] as const);
      const cancelling = cancel(broker, iterationId('often', await nextOf(broker)), 'ops').catch(() => 'gone');
      await Promise.all([cancelling, apply(times)]);
      expect(await nextOf(broker)).toBe(firstOf(days));
      const delayed = await broker.queue('work').getDelayed();
      expect(delayed.map(({ id }) => id)).toEqual([iterationId('often', firstOf(days))]);
      expect((await readTicks(broker, of)).entries).toEqual([]);
    }
  });

  it('is not undone by a backfill', () => {
    const entry = { time: 0, to: 0, count: 1, outcome: 'cancelled' } as const;
    expect(mayBeBackfilled('often', entry)).toBe(false);
    expect(mayBeBackfilled('often', { ...entry, outcome: 'missed' })).toBe(true);
  });

  it('of a schedule that the store does not know marks the run, which ends when it is taken', async () => {
    const { broker, apply, ran, work } = await setting();
    await apply({ every: '2s' });
    const tick = await nextOf(broker);
    await broker.client.hdel(broker.keys.schedules, 'often');
    expect(await cancel(broker, iterationId('often', tick), 'ops')).toBe('told');
    await work();
    await eventually(() => ran.length > 0);
    expect(ran).not.toContain(tick);
    expect(await entriesWith(broker, of, 'cancelled')).toMatchObject([{ time: tick, reason: 'by ops' }, {}]);
  });
});

interface Times {
  readonly every?: '2s' | '200d';
  readonly at?: Date;
  readonly endsAt?: Date;
  readonly misfire?: 'skip';
  readonly payload?: { readonly n: number };
}

/** A schedule each apart, unless told, as a producer brings it in line. */
async function setting() {
  const ran: number[] = [];
  const jobWith = ({ payload = { n: 1 }, at, every, ...rest }: Times) =>
    defineJob({
      name: 'work',
      payload: z.object({ n: z.number() }),
      schedules: [{ id: 'often', ...(at ? { at } : { every: every ?? '300d' }), payload, ...rest }],
      run: ({ tick }) => void ran.push(Number(tick?.time)),
    });
  const { broker, work } = await fixture([jobWith({})]);
  const apply = async (times: Times | null = {}) => {
    const wanted = times ? wantedOf(createRegistry([jobWith(times)])) : [];
    const { failed } = await reconcile(broker, { app: 'test', release: '1', wanted, now: Date.now }, () => {});
    expect(failed).toEqual([]);
  };
  return { broker, ran, work, apply };
}

function cancel(broker: Broker, id: string, by: string): Promise<'removed' | 'told'> {
  return cancelRun(broker, 'work', id, { by, now: Date.now }, () => {});
}

async function nextOf(broker: Broker): Promise<number> {
  return Number((await readCursor(broker, of))?.next);
}
