import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { type RunState, runStates } from '../../src/producers/run-view.js';
import { enqueue, findRun, listRuns } from '../../src/producers/runs.js';
import { createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';

describe('enqueue', () => {
  const job = defineJob({
    name: 'mail',
    payload: z.object({ to: z.string(), copies: z.number().default(1) }),
    retry: { attempts: 3 },
    run: () => {},
  });

  it('stores the payload as it came, defaults left to the run', async () => {
    const { broker } = await fixture([job]);

    const id = await enqueue(broker, job, { to: 'a@b' });

    expect(await findRun(broker, job, id)).toMatchObject({
      id,
      job: 'mail',
      state: 'waiting',
      payload: { to: 'a@b' },
      attempts: 0,
      maxAttempts: 3,
      schedule: null,
      tick: null,
      result: null,
      error: null,
      startedAt: null,
      finishedAt: null,
      log: [],
    });
  });

  it('refuses a payload that the schema refuses, with all the issues, and adds nothing', async () => {
    const { broker } = await fixture([job]);

    await expect(enqueue(broker, job, { to: 1, copies: 'two' })).rejects.toMatchObject({
      code: 'payload-invalid',
      problems: [
        { where: 'payload.to', expected: 'a string', got: '1' },
        { where: 'payload.copies', expected: 'a number', got: '"two"' },
      ],
    });
    await expect(enqueue(broker, job, undefined)).rejects.toMatchObject({ code: 'payload-invalid' });
    expect(await listRuns(broker, createRegistry([job]))).toEqual([]);
  });

  it('takes no payload for a job that wants none', async () => {
    const plain = defineJob({ name: 'plain', run: () => {} });
    const { broker } = await fixture([plain]);

    const id = await enqueue(broker, plain, undefined);

    expect(await findRun(broker, plain, id)).toMatchObject({ payload: {} });
  });

  it('delays a run, which is due then and starts no earlier', async () => {
    const { broker, events, work } = await fixture([job]);
    await work();

    const id = await enqueue(broker, job, { to: 'a@b' }, { delay: 400 });
    const found = await findRun(broker, job, id);
    await events.next('run.succeeded');

    expect(found.state).toBe('delayed');
    expect(Date.parse(found.dueAt) - Date.parse(found.enqueuedAt)).toBe(400);
    const { startedAt } = await findRun(broker, job, id);
    expect(Date.parse(startedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(found.dueAt));
  });

  it('keeps an override of the attempts, which the worker follows', async () => {
    const failing = defineJob({
      name: 'failing',
      retry: { attempts: 5, delay: 10, jitter: 0 },
      run: () => {
        throw new Error('no');
      },
    });
    const { broker, events, work } = await fixture([failing]);
    await work();

    const id = await enqueue(broker, failing, {}, { attempts: 2 });
    await events.next('run.failed', ({ retryInMs }) => retryInMs === null);

    expect(await findRun(broker, failing, id)).toMatchObject({ state: 'failed', attempts: 2, maxAttempts: 2 });
  });
});

describe('a run', () => {
  it('that is unknown is said to be so', async () => {
    const job = defineJob({ name: 'mail', run: () => {} });
    const { broker } = await fixture([job]);

    await expect(findRun(broker, job, '404')).rejects.toMatchObject({
      code: 'run-unknown',
      message: 'There is no such run: mail 404',
    });
  });

  it('is seen in each of its states, alone and in listings', async () => {
    const gate = createGate();
    const job = defineJob({
      name: 'stateful',
      payload: z.object({ what: z.enum(['succeed', 'fail', 'stay']) }),
      retry: { attempts: 1 },
      concurrency: 1,
      async run({ payload }) {
        if (payload.what === 'fail') throw new Error('as asked');
        if (payload.what === 'stay') await gate.opened;
        return 'as asked';
      },
    });
    const { broker, work } = await fixture([job]);
    const registry = createRegistry([job]);
    const add = (what: string, options = {}) => enqueue(broker, job, { what }, options);
    const ids: Record<RunState, string> = {
      completed: await add('succeed'),
      failed: await add('fail'),
      active: await add('stay'),
      waiting: await add('succeed'),
      delayed: await add('succeed', { delay: 3_600_000 }),
    };
    const prioritized = await add('succeed', { priority: 5 });
    await work();
    await eventually(async () => (await findRun(broker, job, ids.active)).state === 'active');

    for (const state of runStates) {
      const wanted = state === 'waiting' ? [ids.waiting, prioritized] : [ids[state]];
      for (const id of wanted) expect((await findRun(broker, job, id)).state, state).toBe(state);
      const listed = await listRuns(broker, registry, { job: 'stateful', state });
      expect(listed.map(({ id, state }) => [id, state]).sort(), state).toEqual(wanted.map((id) => [id, state]).sort());
    }
    expect((await listRuns(broker, registry)).map(({ id }) => id).sort()).toEqual(
      [...Object.values(ids), prioritized].sort(),
    );
    const failed = await findRun(broker, job, ids.failed);
    expect(failed).toMatchObject({ error: 'as asked', result: null, attempts: 1 });
    expect(failed.finishedAt).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    gate.open();
  });

  it('of a schedule names its tick while it waits for it', async () => {
    const job = defineJob({ name: 'hourly', schedules: [{ id: 'each-hour', every: '1h' }], run: () => {} });
    const { broker, produce } = await fixture([job]);
    await produce();

    const [run] = await listRuns(broker, createRegistry([job]));

    expect(run).toMatchObject({ job: 'hourly', state: 'delayed', schedule: 'each-hour' });
    expect(run?.tick).toMatch(/:00:00.000Z$/);
    expect(Math.abs(Date.parse(run?.dueAt ?? '') - Date.parse(run?.tick ?? ''))).toBeLessThanOrEqual(1);
    expect(await findRun(broker, job, run?.id ?? '')).toMatchObject({ tick: run?.tick, state: 'delayed' });
  });
});

describe('a listing of runs', () => {
  it('shows the newest of all jobs first, as many as asked for', async () => {
    const [one, two] = [defineJob({ name: 'one', run: () => {} }), defineJob({ name: 'two', run: () => {} })];
    const { broker } = await fixture([one, two]);
    const registry = createRegistry([one, two]);
    const ids: string[] = [];
    for (const job of [one, two, one, two, two]) {
      ids.unshift(`${job.name} ${await enqueue(broker, job, {})}`);
      const since = Date.now();
      await eventually(() => Date.now() > since); // runs of the same millisecond have no order
    }

    const listed = async (options = {}) =>
      (await listRuns(broker, registry, options)).map(({ job, id }) => `${job} ${id}`);
    expect(await listed()).toEqual(ids);
    expect(await listed({ limit: 3 })).toEqual(ids.slice(0, 3));
    expect(await listed({ job: 'one' })).toEqual(ids.filter((id) => id.startsWith('one')));
    expect(await listed({ job: 'two', limit: 2, state: 'waiting' })).toEqual(
      ids.filter((id) => id.startsWith('two')).slice(0, 2),
    );
    expect(await listed({ state: 'failed' })).toEqual([]);
  });

  it('refuses a job that is unknown, with the nearest name', async () => {
    const job = defineJob({ name: 'newsletter', run: () => {} });
    const { broker } = await fixture([job]);

    await expect(listRuns(broker, createRegistry([job]), { job: 'newsleter' })).rejects.toMatchObject({
      code: 'job-unknown',
      message: expect.stringContaining('did you mean "newsletter"?'),
    });
  });
});
