import { expect, it } from 'vitest';
import { createPresence } from '../../src/broker/releases.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createGoneWatch, listGone } from '../../src/producers/gone-jobs.js';
import { enqueue, listRuns } from '../../src/producers/runs.js';
import { type Fixture, fixture } from '../support/harness.js';
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

function watchOf(
  { broker, events }: Pick<Fixture, 'broker' | 'events'>,
  jobs: readonly JobDefinition[],
  { app = 'test', release = '1', silentMs = 60_000 } = {},
) {
  return createGoneWatch({ broker, registry: createRegistry(jobs), emit: events.emit, app, release, silentMs });
}
