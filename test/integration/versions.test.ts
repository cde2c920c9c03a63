import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readTicks } from '../../src/broker/ledger.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { redrive } from '../../src/producers/redrive.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';

/** A release of the same job: the first takes a name, the second an address, the third a list of addresses. */
const first = (run: (payload: unknown) => void = () => {}) =>
  defineJob({ name: 'mail', payload: z.strictObject({ to: z.string() }), run: ({ payload }) => run(payload) });

const second = (run: (payload: unknown) => void, migrate = addressOf) =>
  defineJob({
    name: 'mail',
    version: 2,
    payload: z.strictObject({ address: z.string() }),
    migrate,
    run: ({ payload }) => run(payload),
  });

function addressOf({ payload, version }: { payload: unknown; version: number }) {
  const { to } = payload as { to: string };
  return { address: `${to}@example.com, from version ${version}` };
}

describe('a payload that waited over a deploy', () => {
  it('is migrated to the version that the code knows, and one of that version is left as it is', async () => {
    const seen: unknown[] = [];
    const job = second((payload) => seen.push(payload));
    const { broker, events, work } = await fixture([job]);
    const old = await enqueue(broker, first(), { to: 'ada' });
    const current = await enqueue(broker, job, { address: 'bo@example.com' });
    expect([(await findRun(broker, job, old)).version, (await findRun(broker, job, current)).version]).toEqual([1, 2]);
    await work();
    await eventually(() => events.of('run.succeeded').length === 2);

    expect(seen).toEqual(
      expect.arrayContaining([{ address: 'ada@example.com, from version 1' }, { address: 'bo@example.com' }]),
    );
    expect((await findRun(broker, job, old)).payload).toEqual({ to: 'ada' });
  });

  it.each([
    ['throws', () => raise(new Error('no such name')), 'payload-unmigrated', /from version 1 to 2: no such name$/],
    ['answers a promise', async () => ({ address: 'later' }), 'payload-unmigrated', /answered a promise/],
    [
      'answers what the schema refuses',
      () => ({ address: 7 }),
      'payload-invalid',
      /payload\.address: expected a string; got 7/,
    ],
  ])('whose migrate() %s is refused with the reason, and runs once that is mended', async (_, migrate, code, error) => {
    const seen: unknown[] = [];
    const wrong = second((payload) => seen.push(payload), migrate as never);
    const { broker, events, work } = await fixture([wrong]);
    const id = await enqueue(broker, first(), { to: 'ada' });
    const pool = await work();
    await events.next('run.failed');
    await pool.stop(Date.now() + 5_000);
    expect(await findRun(broker, wrong, id)).toMatchObject({ state: 'failed', code, attempts: 1 });
    expect((await findRun(broker, wrong, id)).error).toMatch(error);

    const right = second((payload) => seen.push(payload));
    expect(await redrive(broker, right, { code })).toEqual({ redriven: 1, failed: 0 });
    await work({ jobs: [right] });
    await events.next('run.succeeded');

    expect(seen).toEqual([{ address: 'ada@example.com, from version 1' }]);
    expect(await findRun(broker, right, id)).toMatchObject({ state: 'completed', attempts: 1, code: null });
  });

  it('of a newer version is left to a newer worker, which is said once, and costs no attempt', async () => {
    const seen: unknown[] = [];
    const { broker, events, work } = await fixture([first()]);
    const newer = second((payload) => seen.push(payload));
    const ids = [await enqueue(broker, newer, { address: 'a' }), await enqueue(broker, newer, { address: 'b' })];
    const old = await work();
    await eventually(async () => (await broker.queue('mail').getDelayedCount()) === 2);
    await events.next('worker.outdated');
    expect(events.of('worker.outdated')).toEqual([{ type: 'worker.outdated', job: 'mail', version: 2, knows: 1 }]);
    expect(await findRun(broker, newer, ids[0] ?? '')).toMatchObject({ state: 'delayed', attempts: 0, error: null });
    await old.stop(Date.now() + 5_000);
    await work({ jobs: [newer] });
    await eventually(() => events.of('run.succeeded').length === 2);

    expect(seen).toHaveLength(2);
    expect(seen).toEqual(expect.arrayContaining([{ address: 'a' }, { address: 'b' }]));
    expect(events.of('run.failed')).toEqual([]);
    expect(await findRun(broker, newer, ids[1] ?? '')).toMatchObject({ state: 'completed', attempts: 1 });
  });

  it('of a tick keeps its tick over the wait for a newer worker, and its version where it is caught up', async () => {
    const seen: [number, unknown][] = [];
    const schedules = [{ id: 'often', every: '1s', misfire: 'run-all', payload: { to: 'ada' } }] as const;
    const old = defineJob({ name: 'mail', payload: z.strictObject({ to: z.string() }), schedules, run: () => {} });
    const newer = defineJob({
      name: 'mail',
      version: 2,
      payload: z.strictObject({ address: z.string() }),
      schedules: [{ ...schedules[0], payload: { address: 'bo@example.com' } }],
      migrate: addressOf,
      run: ({ tick, payload }) => void seen.push([Number(tick?.time), payload]),
    });
    const { broker, events, work, produce } = await fixture([newer]);
    const oldProducer = await produce({ jobs: [old] });
    await past(1_200);
    await oldProducer.stop(Date.now() + 1_000);
    await produce({ jobs: [newer], release: '2' });
    // The ticks of version 1 wait still; those of version 2 an old worker leaves.
    const oldWorker = await work({ jobs: [old] });
    await events.next('worker.outdated');
    await oldWorker.stop(Date.now() + 5_000);
    await past(2_200);
    await work({ jobs: [newer] });
    const left = await eventually(async () => {
      const { entries } = await readTicks(broker, { job: 'mail', schedule: 'often' });
      return entries.length >= 5 && entries.slice(0, 5).every(({ outcome }) => outcome === 'succeeded') && entries;
    });

    const times = left.map(({ time }) => time);
    expect(times).toEqual(times.map((_, index) => (times[0] ?? 0) + index * 1_000));
    expect(new Set(seen.map(([tick]) => tick)).size).toBe(seen.length);
    // What the worker caught up itself is of version 2 as well: migrated once more it would be another.
    const right = ['ada@example.com, from version 1', 'bo@example.com'];
    expect(seen.filter(([, payload]) => !right.includes((payload as { address: string }).address))).toEqual([]);
    expect(events.of('ticks.caught-up').length).toBeGreaterThan(0);
    expect(events.of('run.failed')).toEqual([]);
  });
});

async function past(ms: number): Promise<void> {
  const until = Date.now() + ms;
  await eventually(() => Date.now() > until);
}

function raise(error: Error): never {
  throw error;
}
