import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { redrive, retryRun } from '../../src/producers/redrive.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { aborted } from '../support/gate.js';
import { type Events, eventually, fixture } from '../support/harness.js';

const quickly = { lockMs: 1_000, stalledCheckMs: 200 };

describe('a run that is lost with its worker', () => {
  it('as often as it may is set aside with the reason; retried, it may be so as often again', async () => {
    const job = defineJob({
      name: 'held',
      maxCrashes: 2,
      retry: { attempts: 5 },
      run: ({ signal }) => aborted(signal).then(raise),
    });
    const { broker, events, work } = await fixture([job]);
    await work(quickly);
    const id = await enqueue(broker, job, {});

    await crash(broker, events, id, 2);
    await events.next('run.failed');
    expect(events.of('run.failed')).toMatchObject([{ run: id, code: 'run-quarantined', retryInMs: null }]);
    expect(await findRun(broker, job, id)).toMatchObject({
      state: 'failed',
      code: 'run-quarantined',
      error: expect.stringMatching(/^The run is set aside, since it takes its process down: crashes: 2$/),
    });

    await retryRun(broker, job, id);
    await crash(broker, events, id, 4, 2);
    await eventually(() => events.of('run.failed').length === 2);
    expect(events.of('run.started')).toHaveLength(4);
  });

  it('and was set aside may crash as often again where Bull Board retries it, which resets nothing', async () => {
    const job = defineJob({ name: 'held', maxCrashes: 1, run: ({ signal }) => aborted(signal).then(raise) });
    const { broker, events, work } = await fixture([job]);
    await work(quickly);
    const id = await enqueue(broker, job, {});
    await crash(broker, events, id, 1);
    await events.next('run.failed');
    const key = broker.queue('held').toKey(id);
    await eventually(async () => (await broker.client.hexists(key, 'stc')) === 0);

    await (await broker.queue('held').getJob(id))?.retry();

    await eventually(() => events.of('run.started').length === 2);
  });

  it('is not blamed for workers that are stopped, however often', async () => {
    const job = defineJob({ name: 'held', maxCrashes: 1, run: ({ signal }) => aborted(signal).then(raise) });
    const { broker, events, work } = await fixture([job]);
    const id = await enqueue(broker, job, {});
    for (let stops = 1; stops <= 3; stops++) {
      const pool = await work(quickly);
      await eventually(() => events.of('run.started').length === stops);
      await pool.stop(Date.now());
    }

    expect(events.of('run.interrupted').length).toBeGreaterThanOrEqual(3);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'waiting', attempts: 0 });
  });

  it('and is a tick is an entry that failed; its schedule goes on, and a redrive replaces the entry', async () => {
    let poison: number | null = null;
    let mended = false;
    const job = defineJob({
      name: 'held',
      maxCrashes: 1,
      schedules: [{ id: 'often', every: '1s', misfire: 'run-all' }],
      payload: z.object({}),
      run: async ({ tick, signal }) => {
        poison ??= Number(tick?.time);
        if (Number(tick?.time) === poison && !mended) raise(await aborted(signal));
      },
    });
    const { broker, events, work, produce } = await fixture([job]);
    await work(quickly);
    await produce();
    const { run, tick = 0 } = await events.next('run.started');
    await crash(broker, events, run, 1);
    await events.next('run.failed', (event) => event.run === run && event.code === 'run-quarantined');
    await events.next('run.succeeded', (event) => Number(event.tick) > tick + 1_000);

    const entryOf = async (time: number) => (await ticksOf(broker)).find((entry) => entry.time === time);
    const failed = await eventually(async () => {
      const entry = await entryOf(tick);
      return entry?.outcome === 'failed' && entry;
    });
    expect(failed).toMatchObject({ run, reason: 'The run is set aside, since it takes its process down: crashes: 1' });
    const times = (await ticksOf(broker)).map(({ time }) => time);
    expect(times).toEqual(times.map((_, index) => tick + index * 1_000));

    mended = true;
    expect(await redrive(broker, job, { code: 'run-quarantined' })).toEqual({ redriven: 1, failed: 0 });
    await events.next('run.succeeded', (event) => event.run === run);
    await eventually(async () => (await entryOf(tick))?.outcome === 'succeeded');
    expect(await ticksOf(broker)).toSatisfy(
      (all: { time: number }[]) => all.filter((it) => it.time === tick).length === 1,
    );
  });
});

/** Takes the lock of a run as often as told, each time that it has started: what the end of a process leaves. */
async function crash(broker: Broker, events: Events, id: string, until: number, after = 0): Promise<void> {
  const lock = `${broker.queue('held').toKey(id)}:lock`;
  for (let starts = after + 1; starts <= until; starts++) {
    await eventually(() => events.of('run.started').filter(({ run }) => run === id).length === starts);
    await broker.client.del(lock);
  }
}

async function ticksOf(broker: Broker) {
  const { entries } = await readTicks(broker, { job: 'held', schedule: 'often' });
  expect(entries.filter(isRange)).toEqual([]);
  return entries;
}

function raise(reason: unknown): never {
  throw reason;
}
