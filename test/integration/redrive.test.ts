import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { redriveAll } from '../../src/cli/control-http.js';
import { createClient } from '../../src/client/index.js';
import { NonRetryableError } from '../../src/errors.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { cancel } from '../../src/producers/cancel.js';
import { redrive, retryRun } from '../../src/producers/redrive.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { expectProblem, secretOf } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { runWarm } from '../support/processes.js';

/** Fails as its payload says, until it is mended. */
function flaky() {
  const state = { mended: false, attempts: [] as string[] };
  const job = defineJob({
    name: 'flaky',
    payload: z.object({ n: z.number(), slow: z.boolean().default(false) }),
    retry: { attempts: 2, delay: 5, jitter: 0 },
    timeout: '400ms',
    concurrency: 1,
    run: async ({ payload: { n, slow }, run }) => {
      state.attempts.push(`${n}/${run.attempt}`);
      if (slow && !state.mended) await new Promise(() => {});
      if (!state.mended) throw new NonRetryableError('not yet');
    },
  });
  return { job, state };
}

describe('a retry', () => {
  it('lets a run begin anew, with all its attempts', async () => {
    const { job, state } = flaky();
    const { broker, events, work } = await fixture([job]);
    await work();
    const id = await enqueue(broker, job, { n: 1, slow: true });
    await events.next('run.failed', ({ retryInMs }) => retryInMs === null);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'failed', attempts: 2, code: 'run-timed-out' });

    state.mended = true;
    await retryRun(broker, job, id);
    await events.next('run.succeeded');

    expect(state.attempts).toEqual(['1/1', '1/2', '1/1']);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', attempts: 1, error: null, code: null });
  });

  it('of one that expires runs it all the same, though it is late by now', async () => {
    const { job, state } = flaky();
    const { broker, events, work } = await fixture([job]);
    await work();
    const id = await enqueue(broker, job, { n: 1 }, { expiresIn: 1_500 });
    await events.next('run.failed');
    const enqueuedAt = Number((await broker.queue('flaky').getJob(id))?.timestamp);
    await eventually(() => Date.now() > enqueuedAt + 1_500);

    state.mended = true;
    await retryRun(broker, job, id);
    await events.next('run.succeeded');

    expect(state.attempts).toEqual(['1/1', '1/1']);
  });

  it('is refused for a run that has not failed, that there is not, or whose job is disabled', async () => {
    const { job } = flaky();
    const { broker } = await fixture([job]);
    const id = await enqueue(broker, job, { n: 1 });

    await expect(retryRun(broker, job, id)).rejects.toMatchObject({
      code: 'run-not-failed',
      detail: `flaky ${id} is waiting`,
    });
    await expect(retryRun(broker, job, '404')).rejects.toMatchObject({ code: 'run-unknown' });
    const disabled = { ...job, enabled: false };
    await expect(retryRun(broker, disabled, id)).rejects.toMatchObject({ code: 'job-disabled' });
    await expect(redrive(broker, disabled)).rejects.toMatchObject({ code: 'job-disabled' });
  });
});

describe('a redrive', () => {
  it('lets all runs of a job that have failed begin anew, oldest first, and says how many', async () => {
    const { job, state } = flaky();
    const { broker, events, work } = await fixture([job]);
    await failed({ broker, events, work, job, count: 12 });
    state.mended = true;
    state.attempts.length = 0;

    expect(await redrive(broker, job, { limit: 5 })).toEqual({ redriven: 5, failed: 7 });
    expect(await redrive(broker, job)).toEqual({ redriven: 7, failed: 0 });
    await work();
    await eventually(() => events.of('run.succeeded').length === 12);

    expect(state.attempts).toEqual(Array.from({ length: 12 }, (_, n) => `${n}/1`));
    expect(await redrive(broker, job)).toEqual({ redriven: 0, failed: 0 });
  });

  it('ends, though what it redrives fails again at once', async () => {
    const { job } = flaky();
    const { broker, events, work } = await fixture([job]);
    await failed({ broker, events, work, job, count: 30 });
    await work();

    expect((await redrive(broker, job)).redriven).toBe(30);
    await eventually(() => events.of('run.failed').length === 60);
  });

  it('through an API takes what has failed by then, page by page, and not what fails again meanwhile', async () => {
    const { job } = flaky();
    const { broker, events, work, serve } = await fixture([job]);
    await failed({ broker, events, work, job, count: 6 });
    const { url } = await serve();
    // A page at a time, and each only once all of the page before has failed again.
    let answered = 0;
    const slowly: typeof fetch = async (...call) => {
      await eventually(() => events.of('run.failed').length === 6 + answered);
      const answer = await fetch(...call);
      answered += ((await answer.clone().json()) as { redriven: number }).redriven;
      return answer;
    };
    await work();

    const client = createClient({ url, key: secretOf('operate'), fetch: slowly });
    const done = await redriveAll(client, 'flaky', {}, 2);

    expect(done).toEqual({ redriven: 6, failed: expect.any(Number) });
    expect(events.of('run.failed').length).toBeLessThanOrEqual(12);
  });

  it('takes those alone that failed with a code', async () => {
    const { job } = flaky();
    const { broker, events, work } = await fixture([job]);
    const pool = await work();
    const stray = await broker.queue('flaky').add('flaky', { n: 'one' });
    const other = await enqueue(broker, job, { n: 2 });
    await eventually(() => events.of('run.failed').length === 2);
    await pool.stop(Date.now() + 1_000);

    expect(await redrive(broker, job, { code: 'run-quarantined' })).toEqual({ redriven: 0, failed: 2 });
    expect(await redrive(broker, job, { code: 'payload-invalid' })).toEqual({ redriven: 1, failed: 1 });

    expect(await findRun(broker, job, String(stray.id))).toMatchObject({ state: 'waiting', attempts: 0, code: null });
    expect(await findRun(broker, job, other)).toMatchObject({ state: 'failed', code: null, error: 'not yet' });
  });

  it('leaves alone what somebody cancelled, unless that is asked for; a retry of it is not cancelled again', async () => {
    const { job, state } = flaky();
    const { broker, events, work } = await fixture([{ ...job, timeout: 60_000 }]);
    await work();
    const id = await enqueue(broker, job, { n: 1, slow: true });
    await events.next('run.started');
    await cancel(broker, 'flaky', id, { by: 'ada', now: Date.now }, () => {});
    await events.next('run.cancelled');
    await eventually(async () => (await findRun(broker, job, id)).code === 'run-cancelled');

    expect(await redrive(broker, job)).toEqual({ redriven: 0, failed: 1 });
    state.mended = true;
    expect(await redrive(broker, job, { code: 'run-cancelled' })).toEqual({ redriven: 1, failed: 0 });
    await events.next('run.succeeded', ({ run }) => run === id);
  });

  it('by two at once moves each run once', async () => {
    const { job, state } = flaky();
    const { broker, events, work } = await fixture([job]);
    await failed({ broker, events, work, job, count: 20 });
    state.mended = true;

    const both = await Promise.all([redrive(broker, job), redrive(broker, job)]);

    expect(both.reduce((sum, { redriven }) => sum + redriven, 0)).toBe(20);
    expect(await broker.queue('flaky').getWaitingCount()).toBe(20);
  });
});

describe('over HTTP', () => {
  it('a run is retried and a job redriven by who may operate', async () => {
    const { job } = flaky();
    const { broker, events, work, serve } = await fixture([job]);
    const ids = await failed({ broker, events, work, job, count: 3 });
    const api = await serve();
    const path = `/v1/jobs/flaky/runs/${ids[0]}/retry`;

    expectProblem(await api.call('POST', path, { key: 'enqueue' }), 403, 'forbidden');
    expectProblem(await api.call('POST', '/v1/jobs/flaky/redrive', { key: 'read' }), 403, 'forbidden');
    const retried = await api.call('POST', path, { key: 'operate' });
    expect(retried).toMatchObject({ status: 202, body: { id: ids[0], job: 'flaky', url: path.replace('/retry', '') } });
    expectProblem(await api.call('POST', path, { key: 'operate' }), 409, 'run-not-failed');
    expectProblem(await api.call('POST', '/v1/jobs/flaky/runs/404/retry'), 404, 'run-unknown');
    const redriven = await api.call('POST', '/v1/jobs/flaky/redrive', { key: 'operate', json: { limit: 1 } });
    expect(redriven).toMatchObject({ status: 200, body: { job: 'flaky', redriven: 1, failed: 1 } });
    const { before } = redriven.body;
    const rest = await api.call('POST', '/v1/jobs/flaky/redrive', { json: { before } });
    expect(rest.body).toEqual({ job: 'flaky', redriven: 1, failed: 0, before });
    for (const [where, value, expected] of [
      ['limit', 0, 'at least 1'],
      ['before', 'noon', 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"'],
      ['code', 'no-such', 'the code of an error, such as "run-quarantined"'],
      ['codes', 1, 'no such option (did you mean "code"?)'],
    ] as const) {
      const answer = await api.call('POST', '/v1/jobs/flaky/redrive', { json: { [where]: value } });
      expectProblem(answer, 422, 'request-invalid', { problems: [{ where, expected, got: JSON.stringify(value) }] });
    }
  });
});

describe('on the command line', () => {
  it('runs are retried and redriven, and their codes listed', async () => {
    const { job } = flaky();
    const { broker, events, work, prefix } = await fixture([job]);
    const [first = ''] = await failed({ broker, events, work, job, count: 2 });
    const source = "export default [defineJob({ name: 'flaky', payload: z.any(), run: () => {} })];";
    const env = { RONDO_PREFIX: prefix, RONDO_JOBS: writeJobs(source) };
    const rondo = (...args: string[]) => runWarm(args, { env });

    expect(await rondo('runs', 'retry', 'flaky', first)).toMatchObject({
      code: 0,
      stdout: `flaky ${first} waits again\n`,
    });
    const again = await rondo('runs', 'retry', 'flaky', first);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('[run-not-failed]') });
    const none = await rondo('jobs', 'redrive', 'flaky', '--code', 'payload-invalid');
    expect(none).toMatchObject({ code: 0, stdout: '0 of flaky wait again; failed still: 1\n' });
    const done = await rondo('jobs', 'redrive', 'flaky', '--json');
    expect(JSON.parse(done.stdout)).toEqual({ job: 'flaky', redriven: 1, failed: 0 });
    const misspelt = await rondo('jobs', 'redrive', 'flaky', '--code', 'payload-invald');
    expect(misspelt).toMatchObject({ code: 2, stderr: expect.stringContaining('Did you mean "payload-invalid"?') });
  });
});

/** Enqueues runs, waits until all have failed, and stops the worker. */
async function failed({
  broker,
  events,
  work,
  job,
  count,
}: Pick<Fixture, 'broker' | 'events' | 'work'> & { job: ReturnType<typeof flaky>['job']; count: number }) {
  const ids: string[] = [];
  for (let n = 0; n < count; n++) ids.push(await enqueue(broker, job, { n }));
  const pool = await work();
  await eventually(() => events.of('run.failed').length === count);
  await pool.stop(Date.now() + 1_000);
  return ids;
}
