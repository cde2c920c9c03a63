import { expect, it } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';
import { expectProblem } from '../support/http.js';

const job = defineJob({ name: 'mail', maxWaiting: 3, run: () => {} });

it('refuses an enqueue while as many runs wait as the job allows, whatever their priority', async () => {
  const { broker, events, work } = await fixture([job]);
  await enqueue(broker, job, {});
  await enqueue(broker, job, {}, { priority: 5 });
  await enqueue(broker, job, {}, { delay: 3_600_000 });
  await enqueue(broker, job, {});

  await expect(enqueue(broker, job, {})).rejects.toMatchObject({
    code: 'queue-full',
    message: 'As many runs wait as the job allows: mail: 3 of 3',
  });

  await work();
  await eventually(() => events.of('run.succeeded').length === 3);
  await enqueue(broker, job, {});
});

it('never lets more in, however many come at once', async () => {
  const { broker } = await fixture([job]);

  const answers = await Promise.allSettled(Array.from({ length: 50 }, () => enqueue(broker, job, {})));

  const taken = answers.filter(({ status }) => status === 'fulfilled').length;
  expect(taken).toBeGreaterThan(0);
  expect(await broker.queue('mail').getWaitingCount()).toBe(taken);
  for (let more = taken; more < 3; more++) await enqueue(broker, job, {});
  await expect(enqueue(broker, job, {})).rejects.toMatchObject({ code: 'queue-full' });
  expect(await broker.queue('mail').getWaitingCount()).toBe(3);
});

it('answers 429 over HTTP, with when to come back', async () => {
  const { broker, serve } = await fixture([job]);
  const api = await serve();
  for (let more = 0; more < 3; more++) await enqueue(broker, job, {});

  const answer = await api.call('POST', '/v1/jobs/mail/runs', { key: 'enqueue', json: {} });

  expectProblem(answer, 429, 'queue-full', { detail: 'mail: 3 of 3' });
  expect(answer.headers.get('retry-after')).toBe('2');
});

it('does not keep the ticks of a schedule out, nor the run that it has at the start', async () => {
  const scheduled = defineJob({
    name: 'mail',
    maxWaiting: 1,
    schedules: [{ id: 'often', every: '1s', triggerOnStart: true }],
    run: () => {},
  });
  const { broker, events, produce, work } = await fixture([scheduled]);
  await enqueue(broker, scheduled, {});
  await produce();
  expect(await broker.queue('mail').getWaitingCount()).toBe(2);
  await work();
  await events.next('run.succeeded', ({ schedule }) => schedule === 'often');
});
