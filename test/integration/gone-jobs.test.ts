import { expect, inject, it } from 'vitest';
import { z } from 'zod';
import { createPresence } from '../../src/broker/releases.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createGoneWatch, listGone } from '../../src/producers/gone-jobs.js';
import { enqueue, listRuns } from '../../src/producers/runs.js';
import { commands, refused } from '../support/commands.js';
import { createGate } from '../support/gate.js';
import { type Fixture, fixture } from '../support/harness.js';
import { type Api, apiKey, expectProblem, secretOf } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { runWarm } from '../support/processes.js';

const mail = defineJob({ name: 'mail', run: () => {} });
const kept = defineJob({ name: 'kept', run: () => {} });

it('tells once of a job that is gone from code and whose runs wait; declared again, they run', async () => {
  const { broker, events, work, ...parts } = await fixture([mail, kept]);
  await watchOf({ broker, events }, [mail, kept])();
  await enqueue(broker, mail, {});
  const id = await enqueue(broker, mail, {}, { delay: 3_600_000 });
  const look = watchOf({ broker, events }, [kept], { release: '2' });
  await look();
  await look();

  expect(events.of('job.gone')).toEqual([{ type: 'job.gone', job: 'mail', app: 'test', waiting: 1, delayed: 1 }]);
  const registry = createRegistry([kept]);
  const gone = { name: 'mail', app: 'test', release: '1', waiting: 1, delayed: 1, active: 0, failed: 0 };
  expect(await listGone(broker, registry, 'test')).toEqual([gone]);
  expect(await listRuns(broker, registry, { job: 'mail', state: 'delayed' })).toMatchObject([{ id, job: 'mail' }]);
  await expect(listRuns(broker, registry, { job: 'mial' })).rejects.toMatchObject({ code: 'job-unknown' });

  const env = { RONDO_PREFIX: parts.prefix, RONDO_APP: 'test', RONDO_JOBS: writeJobs(keptAlone) };
  const listed = await runWarm(['jobs', 'list', '--gone'], { env });
  expect(listed.stdout).toMatch(/^JOB +WAITING +DELAYED .*\nmail +1 +1 +0 +0 +test +1\n$/);

  await work();
  await events.next('run.succeeded', ({ job }) => job === 'mail');
});

const keptAlone = "export default [defineJob({ name: 'kept', run: () => {} })];";

it('forgets a job of which nothing is left', async () => {
  const { broker, events } = await fixture([mail]);
  await watchOf({ broker, events }, [mail])();
  await watchOf({ broker, events }, [kept])();

  expect(events.of('job.gone')).toEqual([]);
  expect(Object.keys(await broker.client.hgetall(broker.keys.jobs))).toEqual(['["test","kept"]']);
});

it('is not told of another app, nor of what another app declares as well', async () => {
  const { broker, events } = await fixture([mail]);
  await watchOf({ broker, events }, [mail], { app: 'other' })();
  await watchOf({ broker, events }, [mail])();
  await enqueue(broker, mail, {});
  await watchOf({ broker, events }, [kept])();
  await watchOf({ broker, events }, [kept], { app: 'third' })();

  expect(events.of('job.gone')).toEqual([]);
  expect(await listGone(broker, createRegistry([kept]), 'test')).toEqual([]);
});

it('waits while a release that may know the job is alive', async () => {
  const { broker, events } = await fixture([mail]);
  await watchOf({ broker, events }, [mail])();
  await enqueue(broker, mail, {});
  const old = createPresence(broker, { app: 'test', release: '1' });
  await old.start();
  await old.stop(0);

  await watchOf({ broker, events }, [kept], { release: '2' })();
  expect(events.of('job.gone')).toEqual([]);
  await watchOf({ broker, events }, [kept], { release: '2', silentMs: -1 })();
  expect(events.of('job.gone')).toHaveLength(1);
});

it('is looked for by the producer in the lead', async () => {
  const { broker, events, produce } = await fixture([mail]);
  await (await produce({ jobs: [mail, kept] })).stop(Date.now() + 1_000);
  await enqueue(broker, mail, {});
  await produce({ jobs: [kept], release: '2' });

  expect(events.of('job.gone')).toMatchObject([{ job: 'mail', waiting: 1 }]);
});

const letter = defineJob({
  name: 'letter',
  payload: z.object({ to: z.string(), token: z.string() }),
  secret: ['token'],
  run: () => {},
});

/** A run of a job that is gone from the code that the API and both command lines have. */
async function goneRun() {
  const { broker, events, prefix, serve } = await fixture([letter, kept]);
  await watchOf({ broker, events }, [letter, kept])();
  const id = await enqueue(broker, letter, { to: 'ada', token: 'abc-123' }, { delay: 3_600_000 });
  const keys = [
    apiKey('admin', ['admin']),
    { ...apiKey('letters', ['operate', 'enqueue'] as const), jobs: ['letter'] },
  ];
  const api = await serve({ jobs: [kept], keys });
  const own = { RONDO_PREFIX: prefix, RONDO_APP: 'test', RONDO_JOBS: writeJobs(keptAlone) };
  return { broker, events, id, api, local: commands({ ...own, REDIS_URL: inject('redisUrl') }), through: through(api) };
}

const through = ({ url }: Api) => commands({ RONDO_URL: url, RONDO_API_KEY: secretOf('admin'), REDIS_URL: refused });

it('is gone, but its runs are shown by every door, without what they say is secret', async () => {
  const { id, api, local, through } = await goneRun();
  const shown = { id, job: 'letter', state: 'delayed', payload: { to: 'ada', token: '[secret]' }, log: [] };

  for (const rondo of [local, through]) {
    expect(await rondo.json('runs', 'show', 'letter', id)).toMatchObject(shown);
    expect(await rondo.json('runs', 'list', '--job', 'letter')).toMatchObject([{ id, payload: shown.payload }]);
    const unknown = await rondo.attempt('runs', 'show', 'leter', id);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('[job-unknown]') });
  }
  const run = `/v1/jobs/letter/runs/${id}`;
  for (const key of ['admin', 'letters']) {
    for (const path of [run, `${run}?wait=1ms`]) {
      expect((await api.call('GET', path, { key })).body).toMatchObject(shown);
    }
    expect((await api.call('GET', '/v1/jobs/letter/runs', { key })).body.runs).toMatchObject([{ id }]);
  }
  expectProblem(await api.call('GET', '/v1/jobs/letter/runs/none'), 404, 'run-unknown');
  expectProblem(await api.call('GET', '/v1/jobs/kept/runs', { key: 'letters' }), 403, 'forbidden');
  for (const [method, path] of [
    ['POST', '/v1/jobs/letter/runs'],
    ['POST', `${run}/retry`],
    ['GET', '/v1/jobs/letter'],
  ] as const) {
    expectProblem(await api.call(method, path, { key: 'letters' }), 404, 'job-unknown', { detail: '"letter"' });
  }
});

it.each(['local', 'through'] as const)('is gone, and a run of it is cancelled (%s)', async (way) => {
  const { broker, id, api, ...doors } = await goneRun();

  expect(await doors[way].json('runs', 'cancel', 'letter', id)).toMatchObject({ id, cancelled: 'removed' });

  expect(await broker.queue('letter').getJobState(id)).toBe('unknown');
  const [entry] = await doors.local.json('audit', '--limit', '1');
  expect(entry).toMatchObject({ target: `run letter ${id}`, after: null });
  expect(entry.before).toMatchObject({ state: 'delayed', payload: { to: 'ada', token: '[secret]' } });
  const again = await api.call('POST', `/v1/jobs/letter/runs/${id}/cancel`, { key: 'letters' });
  expectProblem(again, 404, 'run-unknown');
});

it('is gone from the API, and yet one waits for a run of it that an older worker executes', async () => {
  const gate = createGate();
  const slow = defineJob({ name: 'mail', run: () => gate.opened });
  const { broker, events, work, serve } = await fixture([slow]);
  await watchOf({ broker, events }, [slow])();
  await work();
  const api = await serve({ jobs: [kept] });
  const id = await enqueue(broker, slow, {});
  await events.next('run.started', ({ run }) => run === id);

  const waiting = api.call('GET', `/v1/jobs/mail/runs/${id}?wait=20s`);
  gate.open();

  expect((await waiting).body).toMatchObject({ id, job: 'mail', state: 'completed' });
});

function watchOf(
  { broker, events }: Pick<Fixture, 'broker' | 'events'>,
  jobs: readonly JobDefinition[],
  { app = 'test', release = '1', silentMs = 60_000 } = {},
) {
  return createGoneWatch({ broker, registry: createRegistry(jobs), emit: events.emit, app, release, silentMs });
}
