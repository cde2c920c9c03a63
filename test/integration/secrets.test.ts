import { Writable } from 'node:stream';
import { describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createLogger, logEvents } from '../../src/observability/logger.js';
import { wantedOf } from '../../src/producers/plan.js';
import { reconcile } from '../../src/producers/schedules.js';
import { eventually, fixture, freshPrefix } from '../support/harness.js';
import { apiKey, expectProblem } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { runProgram } from '../support/processes.js';

const token = 'tok"en/ünsafe+4711';
const password = 'hunter2-hunter2';
const spellings = [
  token,
  JSON.stringify(token).slice(1, -1),
  encodeURIComponent(token),
  Buffer.from(token).toString('base64'),
  password,
];

const payload = z.object({
  to: z.string(),
  token: z.string().default(password),
  smtp: z.object({ host: z.string(), password: z.string() }).optional(),
  headers: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
});
const full = { to: 'ada', token, smtp: { host: 'mx', password }, headers: [{ name: 'x-key', value: `${password}!` }] };

/** Tells its secrets in every way that a handler can, and keeps what it was given. */
function tellTale() {
  const seen: unknown[] = [];
  const job = defineJob({
    name: 'tell-tale',
    payload,
    secret: ['token', 'smtp.password', 'headers.*.value'],
    schedules: [{ id: 'telling', cron: '0 7 * * *', payload: full }],
    retry: { attempts: 1 },
    run: async ({ payload: given, log, progress }) => {
      seen.push(given);
      log.info({ given, nested: new Error(`in ${token}`) }, `calling with ${given.token}`);
      await progress({ using: given.token, header: Buffer.from(given.token).toString('base64') });
      if (given.to === 'bob') return { used: given, url: `https://x/?t=${encodeURIComponent(given.token)}` };
      const cause = Object.assign(new Error(`inner ${given.smtp?.password}`), { config: { auth: given.token } });
      const error = new Error(`refused ${given.token} and ${JSON.stringify({ token: given.token })}`, { cause });
      throw Object.assign(error, { request: { headers: { authorization: `Bearer ${password}` } } });
    },
  });
  return { job, seen };
}

function expectNoSecret(text: string, where: string): void {
  for (const spelling of spellings) expect(text.includes(spelling), `${where} tells ${spelling}`).toBe(false);
}

async function failedRun() {
  const { job, seen } = tellTale();
  const parts = await fixture([job]);
  const api = await parts.serve({ keys: [apiKey('admin', ['admin'])] });
  const registry = createRegistry([job]);
  await reconcile(parts.broker, { app: 'test', release: '1', wanted: wantedOf(registry), now: Date.now }, () => {});
  const enqueue = (to: string) => api.call('POST', '/v1/jobs/tell-tale/runs', { json: { payload: { ...full, to } } });
  const failed = (await enqueue('ada')).body.id as string;
  const done = (await enqueue('bob')).body.id as string;
  await parts.work();
  await parts.events.next('run.failed', ({ run }) => run === failed);
  await parts.events.next('run.succeeded', ({ run }) => run === done);
  return { ...parts, api, seen, failed, done };
}

describe('the secrets of a payload', () => {
  it('reach the handler, and nobody else over HTTP or on the board', async () => {
    const { api, seen, failed, done } = await failedRun();
    expect(seen).toContainEqual(full);

    const runs = [`/v1/jobs/tell-tale/runs/${failed}`, `/v1/jobs/tell-tale/runs/${done}`, '/v1/jobs/tell-tale/runs'];
    const board = '/board/api/queues';
    const shown = [
      ...['/v1/jobs', '/v1/jobs/tell-tale', '/v1/schedules', '/v1/schedules/telling', ...runs],
      ...[`${board}?activeQueue=tell-tale&status=failed`, `${board}?activeQueue=tell-tale&status=latest`],
      ...[failed, done].flatMap((id) => ['', '/logs', '/flow'].map((what) => `${board}/tell-tale/${id}${what}`)),
      ...['/board/api/job-schedulers', `${board}/tell-tale/job-data-schema`, '/board/queue/tell-tale'],
    ];
    for (const path of shown) {
      const answer = await api.call('GET', path);
      expect(answer.status, path).toBe(200);
      expectNoSecret(JSON.stringify(answer.body), path);
    }
    const { body } = await api.call('GET', `/v1/jobs/tell-tale/runs/${failed}`);
    expect(body.payload).toEqual({
      to: 'ada',
      token: '[secret]',
      smtp: { host: 'mx', password: '[secret]' },
      headers: [{ name: 'x-key', value: '[secret]' }],
    });
    expect(body.error).toBe('refused [secret] and {"token":"[secret]"}');
    expect(body.log[0]).toContain('calling with [secret]');
    const { body: ofBoard } = await api.call('GET', `${board}/tell-tale/${failed}`);
    expect(ofBoard.job).toMatchObject({ data: body.payload, failedReason: body.error });
    expect((await api.call('GET', `/v1/jobs/tell-tale/runs/${done}`)).body.result.url).toBe('https://x/?t=[secret]');
  });

  it('are in no line of the log, whatever an error carries', async () => {
    const { events } = await failedRun();
    let lines = '';
    const sink = new Writable({
      write(chunk, _encoding, done) {
        lines += chunk;
        done();
      },
    });
    const log = logEvents(createLogger('trace', sink));
    for (const event of events.all) log(event);
    // As ioredis makes them: with the command that was refused.
    const command = { name: 'evalsha', args: [JSON.stringify(full)] };
    log({ type: 'worker.error', job: 'tell-tale', error: Object.assign(new Error('OOM'), { command }), times: 1 });
    log({ type: 'http.failed', error: Object.assign(new Error('no'), { lastNodeError: { command } }) });
    expect(lines).toContain('calling with [secret]');
    expect(lines).toContain('OOM');
    expectNoSecret(lines, 'the log');
  });

  it('are nowhere in Redis but in payloads: what is stored of an end quotes none', async () => {
    const { broker, failed, done } = await failedRun();
    for (const id of [failed, done]) {
      const stored = await broker.client.hgetall(broker.queue('tell-tale').toKey(id));
      const { data, ...rest } = stored;
      expect(data).toContain(JSON.stringify(token).slice(1, -1));
      expectNoSecret(JSON.stringify(rest), `the hash of ${id}`);
    }
  });

  it('are in no problem of a payload that is refused, misspelt or misplaced as they may be', async () => {
    const { job } = tellTale();
    const { serve } = await fixture([job]);
    const api = await serve();
    const wrong = [
      { payload: { to: 1, token, smtp: { host: 1, password } } },
      { payload: token },
      { payload: { to: 'ada', token: [token], smtp: password } },
      { payload: { to: 'ada', headers: [{ name: 1, value: token }, token] } },
      { paylod: { token } },
      { payload: { to: 'ada' }, token },
      { payload: { to: 'ada' }, token, dealy: '5m' },
      [{ payload: { to: 'ada', token } }],
    ];
    for (const json of wrong) {
      const bulk = async (body: unknown) => {
        const answer = await api.call('POST', '/v1/jobs/tell-tale/runs/bulk', { json: body });
        expect(answer.status, JSON.stringify(body)).toBe(422);
        expectNoSecret(JSON.stringify(answer.body), JSON.stringify(body));
      };
      await bulk({ runs: [json] });
      await bulk({ runs: Array.isArray(json) ? [json, 'x'] : json });
      await bulk({ runss: [json] });
      await bulk({ runs: [{ payload: { to: 'ada' } }], run: json });
      await bulk(json);
      const enqueued = await api.call('POST', '/v1/jobs/tell-tale/runs', { json });
      expect(enqueued.status, JSON.stringify(json)).toBe(422);
      expectNoSecret(JSON.stringify(enqueued.body), JSON.stringify(json));
      if (Array.isArray(json)) continue;
      const put = await api.call('PUT', '/v1/schedules/mine', { json: { job: 'tell-tale', every: '1h', ...json } });
      expect(put.status, JSON.stringify(json)).toBe(422);
      expectNoSecret(JSON.stringify(put.body), JSON.stringify(json));
    }
  });

  it('are not replaced by the word that is shown for them, when what was read is sent back', async () => {
    const { api, broker, failed } = await failedRun();
    const { body: run } = await api.call('GET', `/v1/jobs/tell-tale/runs/${failed}`);
    const again = await api.call('POST', '/v1/jobs/tell-tale/runs', { json: { payload: run.payload } });
    expectProblem(again, 422, 'payload-invalid');
    const json = { job: 'tell-tale', every: '1h', payload: run.payload };
    expectProblem(await api.call('PUT', '/v1/schedules/mine', { json }), 422, 'schedule-invalid');
    const path = `/board/api/queues/tell-tale/${failed}`;
    const edited = await api.call('PATCH', `${path}/update-data`, { json: { jobData: run.payload } });
    expect(edited.status).toBe(400);
    expect((await broker.queue('tell-tale').getJob(failed))?.data).toEqual(full);
    const added = await api.call('POST', '/board/api/queues/tell-tale/add', {
      json: { name: 'tell-tale', data: run.payload, options: {} },
    });
    expectProblem(added, 422, 'payload-invalid');
  });

  it('are hidden by what the run carries, also where no code knows its job any more', async () => {
    const { broker, prefix, failed, produce } = await failedRun();
    await produce(); // which notes the jobs of its app
    await eventually(() => broker.client.exists(broker.keys.jobs));
    const env = { REDIS_URL: inject('redisUrl'), RONDO_PREFIX: prefix };
    const jobs = writeJobs(`export default [defineJob({ name: 'other', run: () => null })];`);
    const [{ stdout }, schedules] = await Promise.all([
      runProgram(['runs', 'list', '--job', 'tell-tale', '--json'], { env: { ...env, RONDO_JOBS: jobs } }),
      runProgram(['schedules', 'show', 'telling'], { env: { ...env, RONDO_JOBS: jobs } }),
    ]);
    expect(stdout).toContain(failed);
    expectNoSecret(stdout, 'runs list');
    expect(schedules.stdout).toContain('[secret]');
    expectNoSecret(schedules.stdout, 'schedules show');
    expect(await broker.client.exists(broker.keys.schedules)).toBe(1);
  });

  it('of an older version are looked for where they were, or nothing is shown', async () => {
    const job = defineJob({
      name: 'moved',
      payload: z.object({ token: z.string() }),
      secret: ['token'],
      version: 2,
      migrate: ({ payload: old }) => ({ token: (old as { auth: string }).auth.trim() }),
      run: () => null,
    });
    const { broker, serve } = await fixture([job]);
    const api = await serve();
    await broker.queue('moved').add('moved', { auth: token, to: 'ada' }, { jobId: 'old' });
    await broker.queue('moved').add('moved', { to: 'ada', hidden: token }, { jobId: 'lost' });
    const shown = async (id: string) => (await api.call('GET', `/v1/jobs/moved/runs/${id}`)).body.payload;
    expect(await shown('old')).toEqual({ auth: '[secret]', to: 'ada' });
    expect(await shown('lost')).toBe('[secret]');
  });

  it('are in no failure of a handler that threw them as a string', async () => {
    const job = defineJob({
      name: 'thrower',
      payload: z.object({ token: z.string() }),
      secret: ['token'],
      retry: { attempts: 1 },
      run: ({ payload: given }) => {
        throw `thrown ${given.token}`;
      },
    });
    const { serve, work, events, broker } = await fixture([job]);
    const api = await serve();
    const { id } = (await api.call('POST', '/v1/jobs/thrower/runs', { json: { payload: { token } } })).body;
    await work();
    const failed = await events.next('run.failed', ({ run }) => run === id);
    expect(failed.reason).toContain('[secret]');
    const stored = await eventually(async () => (await broker.queue('thrower').getJob(id))?.stacktrace?.[0]);
    expectNoSecret(stored, 'the stack');
  });
});

describe('a command', () => {
  it('shows none of a job, and of what it refuses', async () => {
    const source = `export default [defineJob({ name: 'mail', secret: ['token'],
      payload: z.object({ token: z.string().default('hunter2-hunter2') }),
      schedules: [{ id: 'mailing', every: '1h', payload: { token: 'hunter2-hunter2' } }], run: () => null })];`;
    const RONDO_JOBS = writeJobs(source);
    const env = { RONDO_JOBS, REDIS_URL: inject('redisUrl'), RONDO_PREFIX: freshPrefix() };
    const results = await Promise.all([
      runProgram(['jobs', 'show', 'mail'], { env }),
      runProgram(['jobs', 'show', 'mail', '--json'], { env }),
      runProgram(['jobs', 'enqueue', 'mail', '--payload', '{"token":["hunter2-hunter2"]}'], { env }),
    ]);
    for (const { stdout, stderr } of results) {
      expect(stdout + stderr).toContain('[secret]');
      expectNoSecret(stdout + stderr, 'a command');
    }
  });
});
