import { expect, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { putSchedule } from '../../src/producers/put.js';
import { fixture } from '../support/harness.js';
import { expectProblem } from '../support/http.js';

const mail = defineJob({ name: 'mail', payload: z.object({}), run: () => null });

async function serving() {
  const parts = await fixture([mail]);
  return { ...parts, api: await parts.serve() };
}

it('a run on the board is added within the bounds of an enqueue', async () => {
  const { api, broker } = await serving();
  const add = (options: unknown) =>
    api.call('POST', '/board/api/queues/mail/add', { json: { name: 'mail', data: {}, options } });
  for (const [where, value] of [
    ['delay', 9e15],
    ['delay', 'x'],
    ['attempts', -3],
    ['attempts', 'abc'],
    ['priority', 99_999_999],
    ['priority', 1.5],
  ] as const) {
    const problems = [{ where, got: JSON.stringify(value) }];
    expectProblem(await add({ [where]: value }), 422, 'request-invalid', { problems });
  }
  expect(await broker.queue('mail').getJobCountByTypes()).toBe(0);

  expect((await add({ delay: 60_000, attempts: 2, priority: 3 })).status).toBe(200);
  expect(await broker.queue('mail').getDelayed()).toMatchObject([
    { delay: 60_000, opts: { attempts: 2, priority: 3 } },
  ]);
});

it('what a job calls secret by now is hidden in schedules that were put before', async () => {
  const token = 'hunter2-hunter2';
  const options = { name: 'mail', payload: z.object({ token: z.string() }), run: () => null };
  const before = defineJob(options);
  const { serve, broker } = await fixture([defineJob({ ...options, secret: ['token'] })]);
  const fields = { job: 'mail', every: '1d', payload: { token } };
  await putSchedule(broker, createRegistry([before]), 'daily', fields, { by: 'ada', now: Date.now() }, () => {});
  const api = await serve();
  for (const path of ['/v1/schedules/daily', '/v1/schedules']) {
    const { status, body } = await api.call('GET', path);
    expect({ status, text: JSON.stringify(body) }).toEqual({ status: 200, text: expect.not.stringContaining(token) });
  }
  await api.call('POST', '/v1/schedules/daily/pause');
  await api.call('DELETE', '/v1/schedules/daily');
  const { body } = await api.call('GET', '/v1/audit');
  expect(body.entries).toHaveLength(2);
  expect(JSON.stringify(body)).not.toContain(token);
});

it('a run whose delay is no time is listed among the others', async () => {
  const { api, broker } = await serving();
  const queue = broker.queue('mail');
  await queue.add('mail', {}, { delay: 9e15 });
  await queue.add('mail', {});
  const { status, body } = await api.call('GET', '/v1/jobs/mail/runs');
  expect(status).toBe(200);
  expect(body.runs.map(({ dueAt }: { dueAt: string }) => dueAt)).toContain('9999-12-31T23:59:59.999Z');
  expect(body.runs).toHaveLength(2);
});

it('a pause or an interval beyond all times is refused, and one that is stored can be read', async () => {
  const { api, broker } = await serving();
  const path = '/v1/schedules/daily';
  const put = (every: string) => api.call('PUT', path, { json: { job: 'mail', every } });
  const far = '99999999d';
  expectProblem(await put(far), 422, 'schedule-invalid', { problems: [{ where: 'every', got: `"${far}"` }] });
  expect((await put('366d')).status).toBe(201);
  const refused = await api.call('POST', `${path}/pause`, { json: { until: far } });
  expectProblem(refused, 422, 'request-invalid', { problems: [{ where: 'until', got: `"${far}"` }] });

  // As an older release has let it in.
  const entry = JSON.parse((await broker.client.hget(broker.keys.schedules, 'daily')) ?? '');
  entry.specification.timing.every = 8.64e15;
  entry.pause = { since: 1, until: 9e15, by: 'ada', note: '' };
  await broker.client.hset(broker.keys.schedules, 'daily', JSON.stringify(entry));
  const { status, body } = await api.call('GET', path);
  expect(status).toBe(200);
  expect(body.pause).toMatchObject({ until: '9999-12-31T23:59:59.999Z' });
  expect((await api.call('GET', '/v1/schedules')).body).toMatchObject({ schedules: [{ id: 'daily' }], unreadable: [] });
});

it('a schedule of a job that is disabled is neither triggered nor backfilled', async () => {
  const { serve, broker } = await fixture([{ ...mail, enabled: false }]);
  const api = await serve();
  const enabled = createRegistry([mail]);
  await putSchedule(broker, enabled, 'daily', { job: 'mail', every: '1d' }, { by: 'ada', now: Date.now() }, () => {});
  expectProblem(await api.call('POST', '/v1/schedules/daily/trigger'), 409, 'job-disabled');
  const range = { from: '2026-01-01', to: '2026-01-02' };
  expectProblem(await api.call('POST', '/v1/schedules/daily/backfill', { json: range }), 409, 'job-disabled');
  expect(await broker.queue('mail').getJobCountByTypes('wait', 'prioritized')).toBe(0);
});

it('JSON that nobody can read is not quoted, and what is too deep is refused on the board as well', async () => {
  const { api } = await serving();
  const send = (path: string, body: string) =>
    api.call('POST', path, { body, headers: { 'content-type': 'application/json' } });
  for (const path of ['/v1/jobs/mail/runs', '/board/api/queues/mail/add']) {
    const answer = await send(path, '{"payload":{"token":hunter2}}');
    expectProblem(answer, 400, 'body-unreadable', { detail: 'at line 1, column 21' });
    expect(JSON.stringify(answer.body)).not.toContain('hunter2');
    expectProblem(await send(path, `{"data":${'['.repeat(6_000)}${']'.repeat(6_000)}}`), 422, 'request-invalid');
  }
});

it.each(['events', 'id', 'completed', '1:logs'])('the run %s, which is a key of another kind, is none', async (id) => {
  const { api, broker } = await serving();
  const queue = broker.queue('mail');
  const run = await queue.add('mail', {}, { jobId: 'one' });
  await run.log('a line');
  await broker.client.zadd(queue.toKey('completed'), 1, 'two');
  await broker.client.rpush(queue.toKey('1:logs'), 'a line');
  for (const rest of ['?wait=1s', '/events']) {
    expectProblem(await api.call('GET', `/v1/jobs/mail/runs/${id}${rest}`), 404, 'run-unknown');
  }
  expect((await api.call('GET', `/board/api/queues/mail/${id}/logs`)).status).toBeLessThan(500);
});

it('HEAD of what happens to a run is answered at once', async () => {
  const { api, broker } = await serving();
  await broker.queue('mail').add('mail', {}, { jobId: 'one' });
  const { status, headers } = await api.call('HEAD', '/v1/jobs/mail/runs/one/events');
  expect({ status, type: headers.get('content-type') }).toEqual({
    status: 200,
    type: 'text/event-stream; charset=utf-8',
  });
  expect((await api.call('HEAD', '/v1/jobs/mail/runs/two/events')).status).toBe(404);
});
