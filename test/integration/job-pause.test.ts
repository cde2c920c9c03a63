import { describe, expect, it } from 'vitest';
import { readTicks } from '../../src/broker/ledger.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue } from '../../src/producers/enqueue.js';
import { eventually, fixture } from '../support/harness.js';
import { expectProblem } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { runWarm } from '../support/processes.js';

const mail = defineJob({ name: 'mail', run: () => {} });
const other = defineJob({ name: 'other', run: () => {} });

async function serve() {
  const now = Date.UTC(2026, 10, 21, 7);
  const parts = await fixture([mail, other]);
  const api = await parts.serve({ now: () => now });
  const call = (verb: string, json?: object, key = 'operate') =>
    api.call('POST', `/v1/jobs/mail/${verb}`, { key, json });
  const paused = async () => (await api.call('GET', '/v1/jobs/mail', { key: 'read' })).body.paused;
  return { ...parts, api, call, paused };
}

describe('a paused job', () => {
  it('starts no run until it is resumed, and others go on', async () => {
    const { broker, call, paused, work, events } = await serve();
    await work();
    const since = '2026-11-21T07:00:00.000Z';
    const pause = { by: 'operate', note: 'the mail server moves', since };
    expect(await call('pause', { note: pause.note })).toMatchObject({
      status: 200,
      body: { job: 'mail', paused: pause },
    });
    expect(await paused()).toEqual(pause);

    const held = await enqueue(broker, mail, {});
    const prior = await enqueue(broker, mail, {}, { priority: 1 });
    const free = await enqueue(broker, other, {});
    await events.next('run.succeeded', ({ run, job }) => run === free && job === 'other');
    expect(events.of('run.started').filter(({ job }) => job === 'mail')).toEqual([]);
    expect(await broker.queue('mail').getJobCountByTypes('wait', 'prioritized')).toBe(2);

    expect((await call('resume')).body).toEqual({ job: 'mail', resumed: true });
    expect(await paused()).toBeNull();
    for (const id of [held, prior]) await events.next('run.succeeded', ({ run, job }) => run === id && job === 'mail');
  });

  it('keeps since when, and takes the new note, when it is paused again', async () => {
    const { api, call, paused } = await serve();
    await call('pause', { note: 'first' });
    await call('pause', undefined, 'admin');
    expect(await paused()).toEqual({ by: 'admin', note: '', since: '2026-11-21T07:00:00.000Z' });
    const { jobs } = (await api.call('GET', '/v1/jobs')).body;
    expect(jobs.map((job: { name: string; paused: unknown }) => [job.name, job.paused])).toEqual([
      ['mail', { by: 'admin', note: '', since: '2026-11-21T07:00:00.000Z' }],
      ['other', null],
    ]);
    await call('resume');
    expect((await call('resume')).body).toEqual({ job: 'mail', resumed: false });
  });

  it('is known to be one where the board, or BullMQ alone, paused it', async () => {
    const { api, broker, paused } = await serve();
    await api.call('PUT', '/board/api/queues/mail/pause');
    expect(await paused()).toMatchObject({ by: 'the board', note: '' });
    await api.call('PUT', '/board/api/queues/mail/resume');
    expect(await paused()).toBeNull();
    await broker.queue('mail').pause();
    expect(await paused()).toEqual({ by: null, note: '', since: null });
  });

  it('is refused to whoever may not, with what does not belong there, and where there is none', async () => {
    const { api, call, paused } = await serve();
    expectProblem(await call('pause', {}, 'read'), 403, 'forbidden');
    expectProblem(await call('resume', {}, 'enqueue'), 403, 'forbidden');
    const wrong = await call('pause', { note: 7, until: '2h' });
    expectProblem(wrong, 422, 'request-invalid');
    expect(wrong.body.problems.map(({ where }: { where: string }) => where)).toEqual(['note', 'until']);
    expectProblem(await call('resume', { note: 'x' }), 422, 'request-invalid');
    expectProblem(await api.call('POST', '/v1/jobs/mial/pause'), 404, 'job-unknown');
    expect(await paused()).toBeNull();
  });

  it('leaves the ticks of its schedules to their misfire policy when it goes on', async () => {
    const often = defineJob({ name: 'often', schedules: [{ id: 'often', every: '1s', grace: '1s' }], run: () => {} });
    const { broker, serve: listen, produce, work, events } = await fixture([often]);
    const api = await listen();
    await produce();
    await work();
    await events.next('run.succeeded');
    await api.call('POST', '/v1/jobs/often/pause');
    const entries = async () => (await readTicks(broker, { job: 'often', schedule: 'often' })).entries;
    const before = (await entries()).length;
    const pausedAt = Date.now();
    await eventually(() => Date.now() - pausedAt > 3_200);
    const during = (await entries()).length;
    await api.call('POST', '/v1/jobs/often/resume');
    await eventually(async () => (await entries()).some(({ outcome }) => outcome === 'coalesced'));
    expect(during - before).toBeLessThanOrEqual(1);
  });
});

it('`jobs pause`, `jobs resume` and `jobs list --paused` say who and why', async () => {
  const { paused, prefix } = await serve();
  const env = {
    RONDO_PREFIX: prefix,
    RONDO_JOBS: writeJobs(`export default [defineJob({ name: 'mail', run: () => {} })];`),
  };
  const rondo = async (...args: string[]) => (await runWarm(['jobs', ...args], { env })).stdout;

  expect(await rondo('pause', 'mail', '--note', 'it moves', '--by', 'ada')).toBe('mail is paused\n');
  expect(await paused()).toMatchObject({ by: 'ada', note: 'it moves' });
  expect(await rondo('list', '--paused')).toMatch(/^JOB +PAUSED SINCE +BY +NOTE\nmail +\S+Z +ada +it moves\n$/);
  expect(JSON.parse(await rondo('resume', 'mail', '--json'))).toEqual({ job: 'mail', resumed: true });
  expect(await rondo('list', '--paused')).toBe('No job is paused.\n');
  expect(await rondo('enqueue', 'mail', '--deduplicate', 'k')).toMatch(/^mail \S+ is enqueued\n$/);
  expect(await rondo('enqueue', 'mail', '--deduplicate', 'k')).toMatch(
    /^mail \S+ stands for it: nothing is enqueued\n$/,
  );
});
