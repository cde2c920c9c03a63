import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { NonRetryableError } from '../../src/errors.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { type Api, apiKey, type Call, expectProblem, secretOf, sendRaw } from '../support/http.js';

const bearer = `authorization: Bearer ${secretOf('admin')}`;
const soon = () => new Date(Date.now() + 3_600_000).toISOString();

const sendEmail = defineJob({
  name: 'send-email',
  description: 'Sends an email',
  payload: z.object({ to: z.email(), lines: z.array(z.object({ text: z.string() })).default([]) }),
  schedules: [{ id: 'newsletter', cron: '0 7 * * *', timezone: 'Europe/Paris', payload: { to: 'all@example.com' } }],
  retry: { attempts: 4 },
  retention: { completed: { age: '1h', count: 7 } },
  run: ({ payload }) => ({ sent: payload.to }),
});
const anything = defineJob({ name: 'anything', payload: z.unknown(), run: ({ payload }) => payload });
const resting = defineJob({ name: 'resting', off: 'BED_URL is not set', run: () => null });

async function serveJobs() {
  const parts = await fixture([sendEmail, anything, resting]);
  const api = await parts.serve();
  const enqueue = (json?: unknown, call: Call = {}) => api.call('POST', '/v1/jobs/anything/runs', { json, ...call });
  const stored = async (id: string) => (await parts.broker.queue('anything').getJob(id))?.opts as never;
  return { ...parts, api, enqueue, stored };
}

describe('POST /v1/jobs/{job}/runs', () => {
  it('answers 202 with the id and the address of a run, which is executed', async () => {
    const { api, events, work } = await serveJobs();

    const answer = await api.call('POST', '/v1/jobs/send-email/runs', {
      key: 'enqueue',
      json: { payload: { to: 'ada@example.com' } },
    });

    const { id } = answer.body;
    const url = `/v1/jobs/send-email/runs/${id}`;
    expect(answer).toMatchObject({ status: 202, body: { id: expect.stringMatching(/./), job: 'send-email', url } });
    expect(answer.headers.get('location')).toBe(url);
    await work();
    await events.next('run.succeeded', ({ run }) => run === id);
    expect((await api.call('GET', url)).body).toMatchObject({ id, result: { sent: 'ada@example.com' } });
  });

  it.each([
    ['no body', {}],
    ['an empty body', { headers: { 'content-type': 'application/json' }, body: '' }],
    ['an empty object', { json: {} }],
  ])('takes %s for a payload of {}', async (_what, call) => {
    const { api, broker } = await serveJobs();

    const answer = await api.call('POST', '/v1/jobs/anything/runs', call);

    expect(answer.status).toBe(202);
    expect((await broker.queue('anything').getJob(answer.body.id))?.data).toEqual({});
  });

  it('keeps what the definition says about retries and retention', async () => {
    const { api, broker } = await serveJobs();
    const { body } = await api.call('POST', '/v1/jobs/send-email/runs', { json: { payload: { to: 'a@example.com' } } });
    const run = await broker.queue('send-email').getJob(body.id);
    expect(run?.opts).toMatchObject({ attempts: 4, removeOnComplete: { age: 3_600, count: 7 } });
  });

  it('takes a payload of null for one of {}, where the job takes no null', async () => {
    const { broker, serve } = await fixture([defineJob({ name: 'print', run: () => null })]);
    const { status, body } = await (await serve()).call('POST', '/v1/jobs/print/runs', { json: { payload: null } });
    expect(status).toBe(202);
    expect((await broker.queue('print').getJob(body.id))?.data).toEqual({});
  });

  it('takes a payload of null for one where the job takes null', async () => {
    const { api, enqueue, work, events } = await serveJobs();
    const run = async (json: object) => (await enqueue(json)).body as { id: string; url: string };
    const bulk = { json: { runs: [{ payload: null }, {}] } };
    const ids = (await api.call('POST', '/v1/jobs/anything/runs/bulk', bulk)).body.runs.map(
      (it: { id: string }) => it.id,
    );
    const [nothing, none] = [await run({ payload: null }), await run({})];
    expect((await api.call('GET', nothing.url)).body.payload).toBeNull();
    await work();
    for (const [id, result] of [
      [nothing.id, null],
      [none.id, {}],
      [ids[0], null],
      [ids[1], {}],
    ]) {
      await events.next('run.succeeded', (it) => it.run === id);
      expect((await api.call('GET', `/v1/jobs/anything/runs/${id}`)).body).toMatchObject({ payload: result, result });
    }
  });

  it('reads a body that is compressed', async () => {
    const { enqueue } = await serveJobs();
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    expect((await enqueue(undefined, { headers, body: gzipSync('{"payload":1}') })).status).toBe(202);
  });

  describe('with options', () => {
    it('delays a run by `delay`', async () => {
      const { enqueue, stored, broker } = await serveJobs();
      const { body } = await enqueue({ delay: '5m' });
      expect(await stored(body.id)).toMatchObject({ delay: 300_000 });
      expect(await broker.queue('anything').getJobState(body.id)).toBe('delayed');
    });

    it('delays a run until `at`, in any zone', async () => {
      const { api, enqueue } = await serveJobs();
      const at = Math.floor(Date.now() / 1_000 + 3_600) * 1_000;
      const zoned = new Date(at + 7_200_000).toISOString().replace('.000Z', '+02:00');
      for (const given of [new Date(at).toISOString(), zoned]) {
        const { url } = (await enqueue({ at: given })).body;
        const { state, dueAt } = (await api.call('GET', url)).body;
        expect(state).toBe('delayed');
        expect(Math.abs(Date.parse(dueAt) - at)).toBeLessThan(5_000);
      }
    });

    it('runs at once what was due in the past', async () => {
      const { api, enqueue } = await serveJobs();
      const { url } = (await enqueue({ at: '2001-01-01T00:00:00Z' })).body;
      expect((await api.call('GET', url)).body.state).toBe('waiting');
    });

    it('lets a smaller `priority` go first', async () => {
      const { enqueue, stored, work, events } = await serveJobs();
      const last = (await enqueue({ priority: 9 })).body.id;
      const first = (await enqueue({ priority: 1 })).body.id;
      expect(await stored(last)).toMatchObject({ priority: 9 });
      await work();
      await events.next('run.started', ({ run }) => run === last);
      expect(events.of('run.started').map(({ run }) => run)).toEqual([first, last]);
    });

    it('tries a run `attempts` times', async () => {
      const { enqueue, stored } = await serveJobs();
      expect(await stored((await enqueue({ attempts: 7 })).body.id)).toMatchObject({ attempts: 7 });
    });

    it('skips a run that starts later than `expiresIn` after it was due', async () => {
      const { enqueue, events, work } = await serveJobs();
      const { id } = (await enqueue({ expiresIn: '1ms' })).body;
      const kept = (await enqueue({ expiresIn: '1h' })).body.id;
      const enqueuedAt = Date.now();
      await eventually(() => Date.now() > enqueuedAt + 5);
      await work();
      await events.next('run.skipped', ({ run }) => run === id);
      await events.next('run.succeeded', ({ run }) => run === kept);
    });

    it('reckons `expiresIn` from an `at` that has passed', async () => {
      const { enqueue, events, work } = await serveJobs();
      const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
      const id = (await enqueue({ at: ago(60_000), expiresIn: '30s' })).body.id;
      const kept = (await enqueue({ at: ago(60_000), expiresIn: '1h' })).body.id;
      await work();
      const { reason } = await events.next('run.skipped', ({ run }) => run === id);
      expect(reason).toMatch(/^expired 3\d{4} ms ago$/);
      await events.next('run.succeeded', ({ run }) => run === kept);
    });

    it.each([
      ['delay', '5 minutes', /a duration such as/],
      ['delay', -1, /a duration such as/],
      ['delay', '366d', /at most 365d/],
      ['at', 'tomorrow', /an ISO time with a zone/],
      ['at', '2026-11-21T07:00:00', /an ISO time with a zone/],
      ['at', '2126-11-21T07:00:00Z', /within a year/],
      ['at', 1_800_000_000_000, /an ISO time with a zone/],
      ['priority', 0, /at least 1/],
      ['priority', 2_097_152, /at most 2097151/],
      ['priority', 1.5, /a whole number/],
      ['attempts', 0, /at least 1/],
      ['attempts', 1_001, /at most 1000/],
      ['attempts', '3', /a number/],
      ['expiresIn', 0, /at least 1ms/],
      ['expiresIn', null, /a duration such as/],
    ])('refuses %s: %j with 422, and says what is expected', async (where, value, expected) => {
      const { enqueue } = await serveJobs();
      const answer = await enqueue({ [where]: value });
      const problems = [{ where, expected: expect.stringMatching(expected), got: JSON.stringify(value) }];
      expectProblem(answer, 422, 'request-invalid', { problems });
    });

    it('refuses both delay and at', async () => {
      const { enqueue } = await serveJobs();
      const answer = await enqueue({ delay: '1m', at: soon() });
      expectProblem(answer, 422, 'request-invalid', { problems: [{ expected: 'either delay or at, not both' }] });
    });

    it('refuses what it does not know, with the nearest name that it does', async () => {
      const { enqueue } = await serveJobs();
      const answer = await enqueue({ prioriti: 1, colour: 'red' });
      expectProblem(answer, 422, 'request-invalid', {
        problems: [
          { where: 'prioriti', expected: 'no such option (did you mean "priority"?)', got: '1' },
          { where: 'colour', expected: 'no such option', got: 'a value' },
        ],
      });
    });
  });

  it('answers 404 for a job that there is not, with the nearest name', async () => {
    const { api } = await serveJobs();
    const answer = await api.call('POST', '/v1/jobs/send-emial/runs', { json: {} });
    expectProblem(answer, 404, 'job-unknown', { detail: '"send-emial" (did you mean "send-email"?)' });
  });

  it('answers 409 for a job that is disabled', async () => {
    const { api } = await serveJobs();
    expectProblem(await api.call('POST', '/v1/jobs/resting/runs'), 409, 'job-disabled', {
      detail: 'resting: BED_URL is not set',
    });
  });

  it('answers 422 for a payload that the schema refuses, with each path and what was expected', async () => {
    const { api, broker } = await serveJobs();
    const payload = { to: 'nobody', lines: [{ text: 'fine' }, { text: 5 }] };

    const answer = await api.call('POST', '/v1/jobs/send-email/runs', { json: { payload } });

    expectProblem(answer, 422, 'payload-invalid', {
      detail: 'send-email',
      problems: [
        { where: 'payload.to', expected: expect.stringContaining('text like'), got: '"nobody"' },
        { where: 'payload.lines[1].text', expected: 'a string', got: '5' },
      ],
    });
    expect(await broker.queue('send-email').getJobCountByTypes('wait')).toBe(0);
  });

  it.each([
    ['broken JSON', '{"payload": '],
    ['JSON that goes on', '{} {}'],
    ['a text', '"payload"'],
    ['a number', '5'],
  ])('answers 400 for %s', async (_what, body) => {
    const { enqueue } = await serveJobs();
    const answer = await enqueue(undefined, { body, headers: { 'content-type': 'application/json' } });
    expectProblem(answer, 400, 'body-unreadable');
  });

  it('answers 400 for a body that is not compressed as it says', async () => {
    const { enqueue } = await serveJobs();
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    expectProblem(await enqueue(undefined, { body: '{}', headers }), 400, 'body-unreadable');
  });

  it('answers 422 for a body that is a list', async () => {
    const { enqueue } = await serveJobs();
    expectProblem(await enqueue([]), 422, 'request-invalid', { problems: [{ where: 'value', expected: 'an object' }] });
  });

  it('takes a body of 1 MiB and answers 413 for one byte more, however it comes', async () => {
    const { enqueue } = await serveJobs();
    const headers = { 'content-type': 'application/json' };
    const bodyOf = (bytes: number) =>
      JSON.stringify({ payload: 'x'.repeat(bytes - JSON.stringify({ payload: '' }).length) });

    expect((await enqueue(undefined, { body: bodyOf(2 ** 20), headers })).status).toBe(202);
    const large = bodyOf(2 ** 20 + 1);
    expectProblem(await enqueue(undefined, { body: large, headers }), 413, 'body-too-large', {
      detail: 'at most 1 MiB',
    });
    const compressed = { ...headers, 'content-encoding': 'gzip' };
    expectProblem(await enqueue(undefined, { body: gzipSync(large), headers: compressed }), 413, 'body-too-large');
  });

  it.each([
    ['text', { 'content-type': 'text/plain' }],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['a patch', { 'content-type': 'application/json-patch+json' }],
    ['no word', { 'content-type': '' }],
    ['nonsense', { 'content-type': ';;;' }],
    ['JSON in Latin-1', { 'content-type': 'application/json; charset=latin1' }],
    ['JSON in an encoding that nobody knows', { 'content-type': 'application/json', 'content-encoding': 'zip' }],
  ])('answers 415 for a body that is said to be %s', async (_what, headers) => {
    const { enqueue } = await serveJobs();
    expectProblem(await enqueue(undefined, { body: '{}', headers: { ...headers } }), 415, 'body-type');
  });
});

describe('GET /v1/jobs', () => {
  it('lists every job, disabled ones too, with what it takes and when it runs', async () => {
    const { api } = await serveJobs();
    const { status, body } = await api.call('GET', '/v1/jobs', { key: 'read' });
    expect(status).toBe(200);
    type Listed = { name: string; enabled: boolean; off: string | null };
    expect(body.jobs.map(({ name, enabled, off }: Listed) => [name, enabled, off])).toEqual([
      ['send-email', true, null],
      ['anything', true, null],
      ['resting', false, 'BED_URL is not set'],
    ]);
    expect(body.jobs[0]).toEqual((await api.call('GET', '/v1/jobs/send-email', { key: 'read' })).body);
  });

  it('shows one job with everything that its definition says', async () => {
    const { api } = await serveJobs();
    const { body } = await api.call('GET', '/v1/jobs/send-email');
    expect(body).toMatchObject({
      name: 'send-email',
      description: 'Sends an email',
      enabled: true,
      concurrency: 5,
      timeoutMs: 30_000,
      attempts: 4,
      retry: { attempts: 4, backoff: 'exponential', delay: 1_000 },
      retention: { completed: { age: 3_600_000, count: 7 } },
      rateLimit: null,
      priority: null,
      payloadSchema: { type: 'object', required: ['to'], properties: { to: { type: 'string', format: 'email' } } },
    });
    expect(body.schedules).toMatchObject([
      {
        id: 'newsletter',
        timing: { kind: 'cron', cron: '0 7 * * *', timezone: 'Europe/Paris' },
        words: 'At 07:00 (Europe/Paris)',
        payload: { to: 'all@example.com' },
      },
    ]);
  });

  it('answers 404 for a job that there is not, with the nearest name', async () => {
    const { api } = await serveJobs();
    const detail = '"anythin" (did you mean "anything"?)';
    expectProblem(await api.call('GET', '/v1/jobs/anythin'), 404, 'job-unknown', { detail });
  });
});

describe('GET /v1/jobs/{job}/runs/{id}', () => {
  it('shows how a run waits, goes on, and ends, with its progress, log, result and times', async () => {
    const gate = createGate();
    const job = defineJob({
      name: 'build',
      payload: z.object({ steps: z.number() }),
      retry: { attempts: 2 },
      async run({ log, progress }) {
        await progress(50);
        log.info({ half: true }, 'half of it');
        await gate.opened;
        return { built: 2 };
      },
    });
    const { serve, work, events } = await fixture([job]);
    const api = await serve();
    const { url, id } = (await api.call('POST', '/v1/jobs/build/runs', { json: { payload: { steps: 2 } } })).body;
    const show = async () => (await api.call('GET', url, { key: 'read' })).body;

    const isoTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const before = {
      id,
      job: 'build',
      origin: 'ad-hoc',
      schedule: null,
      tick: null,
      maxAttempts: 2,
      payload: { steps: 2 },
      version: 1,
      error: null,
      code: null,
    };
    expect(await show()).toEqual({
      ...before,
      state: 'waiting',
      attempts: 0,
      progress: 0,
      result: null,
      enqueuedAt: isoTime,
      dueAt: isoTime,
      startedAt: null,
      finishedAt: null,
      log: [],
    });

    await work();
    const active = await eventually(async () => {
      const shown = await show();
      return shown.log.length > 0 && shown;
    });
    expect(active).toMatchObject({ ...before, state: 'active', progress: 50, startedAt: isoTime, finishedAt: null });
    expect(active.log).toEqual([expect.stringMatching(/info half of it \{"half":true\}$/)]);

    gate.open();
    await events.next('run.succeeded');
    const done = await show();
    expect(done).toMatchObject({
      ...before,
      state: 'completed',
      attempts: 1,
      result: { built: 2 },
      finishedAt: isoTime,
    });
    const { enqueuedAt, startedAt, finishedAt } = done;
    expect([enqueuedAt, startedAt, finishedAt].toSorted()).toEqual([enqueuedAt, startedAt, finishedAt]);
  });

  it('shows why a run failed', async () => {
    const fail = () => {
      throw new NonRetryableError('no printer');
    };
    const { serve, work, events } = await fixture([defineJob({ name: 'print', run: fail })]);
    const api = await serve();
    const { url } = (await api.call('POST', '/v1/jobs/print/runs')).body;
    await work();
    await events.next('run.failed');
    expect((await api.call('GET', url)).body).toMatchObject({ state: 'failed', error: 'no printer', result: null });
  });

  it.each(['unknown', 'meta', 'completed', 'events', '1:logs', 'repeat:newsletter', '*', '%00', 'a/b'])(
    'answers 404 for the id %s, which is no run',
    async (id) => {
      const { api, produce } = await serveJobs();
      await produce();
      await api.call('POST', '/v1/jobs/send-email/runs', { json: { payload: { to: 'a@example.com' } } });
      const answer = await api.call('GET', `/v1/jobs/send-email/runs/${encodeURIComponent(id)}`);
      expectProblem(answer, 404, 'run-unknown');
    },
  );
});

describe('GET /v1/jobs/{job}/runs', () => {
  it('lists runs, those in one state or all, with the newest first', async () => {
    const { api, enqueue } = await serveJobs();
    const waiting = [(await enqueue()).body.id, (await enqueue({ priority: 3 })).body.id];
    const delayed = [(await enqueue({ delay: '1m' })).body.id, (await enqueue({ delay: '2m' })).body.id];
    const list = async (query: string) => {
      const { status, body } = await api.call('GET', `/v1/jobs/anything/runs${query}`, { key: 'read' });
      expect(status).toBe(200);
      return body.runs.map(({ id }: { id: string }) => id);
    };
    expect(await list('?state=delayed')).toEqual(delayed);
    expect((await list('?state=waiting')).toSorted()).toEqual(waiting);
    for (const state of ['active', 'completed', 'failed']) expect(await list(`?state=${state}`)).toEqual([]);
    expect((await list('')).toSorted()).toEqual([...waiting, ...delayed]);
    expect(await list('?limit=1&state=delayed')).toEqual([delayed[0]]);
  });

  it.each([
    ['?state=stuck', 'state', /one of "waiting", "delayed", "active", "completed", "failed"/],
    ['?state=failed&state=active', 'state', /one of/],
    ['?limit=0', 'limit', /at least 1/],
    ['?limit=1001', 'limit', /at most 1000/],
    ['?limit=many', 'limit', /number/],
    ['?stat=failed', 'stat', /did you mean "state"/],
  ])('answers 422 for %s', async (query, where, expected) => {
    const { api } = await serveJobs();
    const answer = await api.call('GET', `/v1/jobs/anything/runs${query}`);
    expectProblem(answer, 422, 'request-invalid', { problems: [{ where, expected: expect.stringMatching(expected) }] });
  });

  it('answers 404 for a job that there is not', async () => {
    const { api } = await serveJobs();
    expectProblem(await api.call('GET', '/v1/jobs/nothing-such/runs'), 404, 'job-unknown');
  });
});

describe('livez and readyz', () => {
  it('answer without a key', async () => {
    const { api } = await serveJobs();
    expect(await api.call('GET', '/livez', { key: null })).toMatchObject({ status: 200, body: { status: 'alive' } });
    expect(await api.call('GET', '/readyz', { key: null })).toMatchObject({
      status: 200,
      body: { status: 'ready', parts: { redis: { status: 'ready' } } },
    });
  });
});

describe('keys', () => {
  const routes = [
    ['GET', '/v1/jobs'],
    ['GET', '/v1/jobs/anything'],
    ['GET', '/v1/jobs/no-such'],
    ['GET', '/v1/jobs/anything/runs'],
    ['GET', '/v1/jobs/anything/runs/1'],
    ['POST', '/v1/jobs/anything/runs'],
    ['PUT', '/v1/jobs/anything/runs/1'],
    ['DELETE', '/v1/schedules/newsletter'],
    ['OPTIONS', '/v1/jobs'],
    ['HEAD', '/v1/jobs'],
    ['GET', '/v1/no-such'],
    ['GET', '/'],
    ['GET', '/no-such'],
    ['GET', '/favicon.ico'],
    ['GET', '/livez/more'],
    ['POST', '/livez'],
    ['GET', '/metrics'],
    ['GET', '//livez/../v1/jobs'],
    ['GET', '/board'],
    ['GET', '/board/'],
    ['GET', '/BOARD/api/queues'],
    ['GET', '/board/static/favicon.ico'],
    ['GET', '/board/api/queues'],
    ['GET', '/board/api/redis/stats'],
    ['GET', '/board/api/job-schedulers'],
    ['PUT', '/board/api/queues/anything/pause'],
    ['PUT', '/board/api/queues/pause'],
    ['POST', '/board/api/queues/anything/add'],
  ] as const;

  it('are wanted everywhere but for livez, readyz and the sign-in', async () => {
    const { broker, serve } = await serveJobs();
    const api = await serve({ trustProxy: 1 });
    for (const [index, [method, path]] of routes.entries()) {
      // Each from an address of its own: who sends many wrong keys is not answered any more.
      const headers = { 'x-forwarded-for': `192.0.2.${index}` };
      for (const call of [{ key: null }, { key: 'unknown', headers }]) {
        const answer = await api.call(method, path, call);
        expect(`${method} ${path} ${answer.status}`).toBe(`${method} ${path} 401`);
        expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="rondo"');
        if (method !== 'HEAD') expectProblem(answer, 401, 'unauthenticated');
      }
    }
    expect(await broker.queue('anything').isPaused()).toBe(false);
    expect((await api.call('GET', '/login', { key: null })).status).toBe(200);
  });

  it('are asked for before a body is read', async () => {
    const { api } = await serveJobs();
    const body = 'x'.repeat(2 ** 21);
    expectProblem(await api.call('POST', '/v1/jobs/anything/runs', { key: null, body }), 401, 'unauthenticated');
  });

  it('are asked for on a page of their own where a person looks', async () => {
    const { api } = await serveJobs();
    const headers = { accept: 'text/html,*/*' };
    const answer = await api.call('GET', '/board/queue/anything?status=failed', { key: null, headers });
    expect(answer.status).toBe(303);
    expect(answer.headers.get('location')).toBe('/login?next=%2Fboard%2Fqueue%2Fanything%3Fstatus%3Dfailed');
  });

  it.each([
    ['Bearer', (secret: string) => `Bearer ${secret}`],
    ['Bearer in small letters', (secret: string) => `bearer  ${secret}`],
    ['Basic', (secret: string) => `Basic ${Buffer.from(`anyone:${secret}`).toString('base64')}`],
  ])('are taken as %s', async (_scheme, authorize) => {
    const { api } = await serveJobs();
    const withKey = (secret: string) =>
      api.call('GET', '/v1/jobs', { key: null, headers: { authorization: authorize(secret) } });
    expect((await withKey(secretOf('read'))).status).toBe(200);
    expectProblem(await withKey(secretOf('nobody')), 401, 'unauthenticated');
    expectProblem(await withKey(secretOf('read').slice(1)), 401, 'unauthenticated');
  });

  it.each([
    '',
    'Bearer',
    'Bearer ',
    'Basic %%%',
    'Basic AAAA',
    'Digest x',
    'x'.repeat(8_000),
    `Token ${secretOf('admin')}`,
  ])('that are written as "%.20s" are none', async (authorization) => {
    const { api } = await serveJobs();
    const answer = await api.call('GET', '/v1/jobs', { key: null, headers: { authorization } });
    expectProblem(answer, 401, 'unauthenticated');
  });

  it('are taken as a session, which a sign-in begins', async () => {
    const { api } = await serveJobs();
    const cookie = await signIn(api, 'read');
    const withCookie = { key: null, headers: { cookie } };
    expect((await api.call('GET', '/v1/jobs', withCookie)).status).toBe(200);
    expectProblem(await api.call('POST', '/v1/jobs/anything/runs', withCookie), 403, 'forbidden');
  });

  const allowed = {
    read: ['GET /v1/jobs', 'GET /board/api/queues'],
    enqueue: ['POST /v1/jobs/anything/runs'],
    operate: ['GET /v1/jobs', 'GET /board/api/queues', 'PUT /board/api/queues/anything/pause'],
    admin: [
      'GET /v1/jobs',
      'GET /board/api/queues',
      'PUT /board/api/queues/anything/pause',
      'POST /v1/jobs/anything/runs',
      'POST /board/api/queues/anything/add',
    ],
  };
  it.each(Object.entries(allowed))('with the scope %s may do just this: %s', async (key, may) => {
    const { api } = await serveJobs();
    for (const route of [...allowed.admin, 'GET /v1/jobs/anything/runs', 'GET /v1/jobs/anything']) {
      const [method = '', path = ''] = route.split(' ');
      const { status, body } = await api.call(method, path, { key, ...(method !== 'GET' && { json: {} }) });
      const expected = may.includes(route) || (method === 'GET' && may.includes('GET /v1/jobs'));
      expect(`${route} ${status < 300}`, JSON.stringify(body)).toBe(`${route} ${expected}`);
      if (!expected) expect([403, 405]).toContain(status);
    }
  });

  it('say with 403 which one may not do what', async () => {
    const { api } = await serveJobs();
    const answer = await api.call('POST', '/v1/jobs/anything/runs', { key: 'read' });
    expectProblem(answer, 403, 'forbidden', { detail: '"read" may not enqueue' });
  });

  it('of several scopes may do what each allows', async () => {
    const { serve } = await fixture([anything]);
    const api = await serve({ keys: [apiKey('both', ['read', 'enqueue'])] });
    expect((await api.call('GET', '/v1/jobs', { key: 'both' })).status).toBe(200);
    expect((await api.call('POST', '/v1/jobs/anything/runs', { key: 'both' })).status).toBe(202);
    expectProblem(await api.call('GET', '/v1/jobs', { key: 'admin' }), 401, 'unauthenticated');
  });

  it('are named, and never told, in events and answers', async () => {
    const { api, events } = await serveJobs();
    await signIn(api, 'operate');
    await api.call('POST', '/login', { key: null, body: new URLSearchParams({ key: secretOf('wrong') }).toString() });
    for (const [method, path] of routes) {
      const { body, headers } = await api.call(method, path);
      expect(JSON.stringify([body, ...headers])).not.toContain('secret-of-');
    }
    await api.call('GET', '/v1/jobs', { key: 'unknown' });
    await events.next('http.answered', ({ status, path }) => status === 200 && path === '/v1/jobs');
    await events.next('http.answered', ({ status, key }) => status === 401 && key === null);
    expect(events.of('http.answered').some(({ key }) => key === 'admin')).toBe(true);
    expect(JSON.stringify(events.all)).not.toContain('secret-of-');
  });
});

describe('a sign-in', () => {
  const leadsTo = async (next: string) => {
    const { api } = await serveJobs();
    const body = new URLSearchParams({ key: secretOf('read'), next }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return (await api.call('POST', '/login', { key: null, headers, body })).headers.get('location');
  };

  it('leads to where one wanted to go', async () => {
    expect(await leadsTo('/board/queue/anything?status=failed')).toBe('/board/queue/anything?status=failed');
  });

  it.each([
    'https://evil.example/',
    '//evil.example/',
    '/\\evil.example/',
    '/\t/evil.example',
    '/\n/evil.example',
    'javascript:alert(1)',
    'board',
    '',
  ])('never leads elsewhere: not to %j', async (next) => {
    expect(await leadsTo(next)).toBe('/board');
  });

  it('with more than a form has, or another body, is none', async () => {
    const { api } = await serveJobs();
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const post = (body: string, headers: Record<string, string> = form) =>
      api.call('POST', '/login', { key: null, headers, body });
    expect((await post('')).status).toBe(401);
    expect((await post('key=a&key=b')).status).toBe(401);
    expect((await post(`key[a]=${secretOf('admin')}`)).status).toBe(401);
    expect(
      (await post(JSON.stringify({ key: secretOf('admin') }), { 'content-type': 'application/json' })).status,
    ).toBe(401);
    expectProblem(await post(`key=${'x'.repeat(20_000)}`), 413, 'body-too-large');
    expectProblem(await post('a&'.repeat(2_000)), 413, 'body-too-large');
  });
});

describe('a request that is odd', () => {
  it.each([
    ['nesting', `{"payload":${'['.repeat(5_000)}${']'.repeat(5_000)}}`],
    ['nesting in an unknown field', `{"x":${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}}`],
    ['a nest of its own', `${'['.repeat(500_000)}${']'.repeat(500_000)}`],
  ])('is refused with 422: %s', async (_what, body) => {
    const { enqueue } = await serveJobs();
    const answer = await enqueue(undefined, { body, headers: { 'content-type': 'application/json' } });
    expectProblem(answer, 422, 'request-invalid', { problems: [{ expected: 'at most 100 levels of nesting' }] });
  });

  it('changes no prototype with a __proto__ of its own, and keeps it where it is data', async () => {
    const { enqueue, broker } = await serveJobs();
    const headers = { 'content-type': 'application/json' };
    const body = '{"payload":{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}}';

    const taken = await enqueue(undefined, { headers, body });
    const refused = await enqueue(undefined, { headers, body: '{"__proto__":{"delay":1},"constructor":1}' });

    expect(taken.status).toBe(202);
    expectProblem(refused, 422, 'request-invalid');
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    const run = await broker.queue('anything').getJob(taken.body.id);
    expect(run?.data.admin).toBeUndefined();
  });

  it('with long texts and many fields gets the answer that a short one gets, shortened', async () => {
    const { api, enqueue } = await serveJobs();
    const long = 'ä'.repeat(400_000);
    expect((await enqueue({ payload: { [long]: 1 } })).status).toBe(202);
    const refused = await api.call('POST', '/v1/jobs/send-email/runs', { json: { payload: { to: long } } });
    expectProblem(refused, 422, 'payload-invalid');
    expect(JSON.stringify(refused.body).length).toBeLessThan(2_000);
    expectProblem(await enqueue({ [long]: 1 }), 422, 'request-invalid');
    expectProblem(await api.call('GET', `/v1/jobs/${'x'.repeat(8_000)}`), 404, 'job-unknown');
  });

  it('with broken UTF-8, UTF-16 or a NUL gets an answer, and no 500', async () => {
    const { enqueue } = await serveJobs();
    const bytes = (text: string, encoding: BufferEncoding) => new Uint8Array(Buffer.from(text, encoding));
    const broken = new Uint8Array([
      ...Buffer.from('{"payload":"'),
      0xff,
      0xc0,
      0x80,
      0xed,
      0xa0,
      0x80,
      ...Buffer.from('"}'),
    ]);
    const json = { 'content-type': 'application/json' };
    expect((await enqueue(undefined, { headers: json, body: broken })).status).toBe(202);
    expect((await enqueue({ payload: '\u0000\ud800' })).status).toBe(202);
    const utf16 = { 'content-type': 'application/json; charset=utf-16' };
    expect((await enqueue(undefined, { headers: utf16, body: bytes('{"payload":1}', 'utf16le') })).status).toBe(202);
    const as = (body: Uint8Array<ArrayBuffer>) => enqueue(undefined, { headers: json, body });
    expectProblem(await as(bytes('{"payload":1}', 'utf16le')), 400, 'body-unreadable');
  });

  it.each([
    '%',
    'rondo_session=%',
    'rondo_session=%ff.%00',
    'rondo_session=admin.9999999999999.',
    '=;=;=',
    'rondo_session',
  ])('with the cookie "%s" is taken for one without', async (cookie) => {
    const { api } = await serveJobs();
    expectProblem(await api.call('GET', '/v1/jobs', { key: null, headers: { cookie } }), 401, 'unauthenticated');
  });

  it.each([
    '/v1/jobs/%ff',
    '/v1/jobs/%',
    '/v1/jobs/a%E0%A4%A/runs',
    '/v1/jobs/anything/runs/%c0%80',
    '/board/queue/%ff',
  ])('for %s, which cannot be decoded, gets 400', async (path) => {
    const { api } = await serveJobs();
    expectProblem(await api.call('GET', path), 400, 'address-unreadable');
    expect((await sendRaw(api.url, `GET ${path} HTTP/1.0\r\n\r\n`)).split(' ')[1]).toBe('401');
  });

  it('for an address of the board that cannot be decoded gets 400', async () => {
    const { api } = await serveJobs();
    expect((await api.call('GET', '/board/api/queues/%ff/1')).status).toBe(400);
    expect((await api.call('PUT', '/board/api/queues/%ff/pause')).status).toBe(400);
    expect((await api.call('GET', '/board/static/%ff')).status).toBeLessThan(500);
  });

  it.each([
    ['huge headers', '431', `GET /v1/jobs HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`],
    ['no HTTP', '400', 'hello\r\n\r\n'],
    ['two lengths', '400', 'POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx'],
    ['no host', '400', 'GET /livez HTTP/1.1\r\n\r\n'],
    ['an unknown method', '400', 'BREW /v1/jobs HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['an unusual method', '404', `PROPFIND /v1/jobs HTTP/1.0\r\nhost: x\r\n${bearer}\r\n\r\n`],
    ['an absolute address', '200', `GET http://other/v1/jobs HTTP/1.0\r\nhost: x\r\n${bearer}\r\n\r\n`],
    ['the star', '404', `OPTIONS * HTTP/1.0\r\nhost: x\r\n${bearer}\r\n\r\n`],
    [
      'a body without a type',
      '415',
      `POST /v1/jobs/anything/runs HTTP/1.0\r\n${bearer}\r\ncontent-length: 9\r\n\r\n{}`,
    ],
  ])('of %s gets %s', async (_what, status, text) => {
    const { api, events } = await serveJobs();
    expect((await sendRaw(api.url, text)).split(' ')[1]).toBe(status);
    expect(events.of('http.failed')).toEqual([]);
  });

  it('that is given up while its body comes troubles nobody', async () => {
    const { api, events } = await serveJobs();
    const { port } = new URL(api.url);
    const socket = connect({ host: '127.0.0.1', port: Number(port) });
    const headers = ['content-type: application/json', 'content-length: 99', 'expect: 100-continue'];
    socket.write(`POST /v1/jobs/anything/runs HTTP/1.1\r\nhost: x\r\n${[bearer, ...headers].join('\r\n')}\r\n\r\n`);
    const [answer] = await once(socket, 'data');
    expect(String(answer)).toContain('100 Continue');
    socket.write('{"payload":');
    socket.destroy();
    await once(socket, 'close');

    expect((await api.call('GET', '/v1/jobs')).status).toBe(200);
    expect(events.of('http.failed')).toEqual([]);
  });

  it.each(['meta', 'completed', 'repeat', 'repeat:newsletter', 'events'])(
    'for the run %s on the board, which is a key of another kind, finds none, and removes none',
    async (id) => {
      const { api, produce, broker } = await serveJobs();
      await produce();
      const queue = broker.queue('send-email');
      const before = await broker.client.keys(queue.toKey('*'));
      const path = `/board/api/queues/send-email/${encodeURIComponent(id)}`;
      expect((await api.call('GET', path)).status).toBe(404);
      for (const act of ['clean', 'retry', 'promote'])
        expect((await api.call('PUT', `${path}/${act}`)).status).toBe(404);
      expect((await broker.client.keys(queue.toKey('*'))).toSorted()).toEqual(before.toSorted());
    },
  );

  it('of HEAD gets what GET would get, without the body', async () => {
    const { api } = await serveJobs();
    for (const path of ['/livez', '/readyz', '/v1/jobs', '/v1/jobs/anything', '/login', '/board']) {
      const [head, get] = [await api.call('HEAD', path), await api.call('GET', path)];
      expect({ path, status: head.status, body: head.body }).toEqual({ path, status: get.status, body: '' });
      expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
    }
  });

  it('of OPTIONS is told the methods, and allows no other origin', async () => {
    const { api } = await serveJobs();
    const headers = { origin: 'https://evil.example', 'access-control-request-method': 'POST' };
    const answer = await api.call('OPTIONS', '/v1/jobs/anything/runs', { headers });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('allow')).toMatch(/GET.*POST|POST.*GET/);
    expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    expectProblem(await api.call('OPTIONS', '/v1/jobs', { key: null, headers }), 401, 'unauthenticated');
  });

  it('for an address that there is not, or by another method, gets 404', async () => {
    const { api } = await serveJobs();
    for (const [method, path] of [
      ['GET', '/v1'],
      ['PUT', '/v1/jobs'],
      ['DELETE', '/v1/jobs/anything/runs/1'],
      ['GET', '/board/no/such'],
    ] as const) {
      expectProblem(await api.call(method, path), 404, 'route-unknown', { detail: `${method} ${path}` });
    }
  });
});

describe('every answer', () => {
  it('says how browsers are to treat it, and not what made it', async () => {
    const { api } = await serveJobs();
    const pages = ['/livez', '/login', '/board', '/board/api/queues', '/no-such'];
    for (const path of ['/v1/jobs', '/v1/no-such', ...pages]) {
      const { headers } = await api.call('GET', path);
      const source = path.startsWith('/v1') ? 'none' : 'self';
      expect(headers.get('content-security-policy'), path).toContain(`default-src '${source}'`);
      expect(headers.get('content-security-policy'), path).toContain("frame-ancestors 'none'");
      expect(headers.get('x-content-type-options'), path).toBe('nosniff');
      expect(headers.get('x-powered-by'), path).toBeNull();
    }
    expect((await api.call('GET', '/v1/jobs')).headers.get('cache-control')).toBe('no-store');
  });

  it('is told as an event, once', async () => {
    const { api, events } = await serveJobs();
    await api.call('GET', '/v1/jobs/anything', { key: 'read' });
    const event = await events.next('http.answered');
    const facts = { method: 'GET', path: '/v1/jobs/anything', status: 200, key: 'read' };
    expect(event).toEqual({ type: 'http.answered', ...facts, durationMs: expect.any(Number) });
    expect(events.of('http.answered')).toHaveLength(1);
  });
});

async function signIn(api: Api, name: string): Promise<string> {
  const body = new URLSearchParams({ key: secretOf(name) }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await api.call('POST', '/login', { key: null, headers, body });
  expect(answer.status).toBe(303);
  return String(answer.headers.get('set-cookie')?.split(';')[0]);
}
