import { createHash } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import type { Scope } from '../../src/config.js';
import { readKeysFile } from '../../src/config.js';
import { createKeysFile } from '../../src/http/keys-file.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { wantedOf } from '../../src/producers/plan.js';
import { reconcile } from '../../src/producers/schedules.js';
import { eventually, fixture, recordEvents } from '../support/harness.js';
import { type Api, apiKey, expectProblem, secretOf } from '../support/http.js';
import { freshFolder } from '../support/jobs-module.js';
import { runProgram } from '../support/processes.js';
import { startRedis } from '../support/servers.js';

const jobNamed = (name: string) =>
  defineJob({
    name,
    payload: z.unknown(),
    schedules: [{ id: `${name}-daily`, cron: '0 7 * * *', payload: {} }],
    run: () => null,
  });
const jobs = ['mail-digest', 'mail-welcome', 'report', 'billing'].map(jobNamed);

function restricted(name: string, scopes: readonly Scope[], ...patterns: string[]) {
  return { ...apiKey(name, scopes), jobs: patterns };
}

const keys = [
  apiKey('admin', ['admin']),
  restricted('shop', ['enqueue', 'operate'], 'mail-*', 'report'),
  restricted('chief', ['admin'], 'mail-*'),
];

async function serveRestricted() {
  const parts = await fixture(jobs);
  const wanted = wantedOf(createRegistry(jobs));
  await reconcile(parts.broker, { app: 'test', release: '1', wanted, now: Date.now }, () => {});
  const api = await parts.serve({ keys });
  const run = async (job: string) => (await api.call('POST', `/v1/jobs/${job}/runs`, { json: {} })).body.id as string;
  return { ...parts, api, billing: await run('billing'), mail: await run('mail-digest') };
}

describe('a key for some jobs', () => {
  it('does with those what its scopes allow', async () => {
    const { api, mail } = await serveRestricted();
    const call = (method: string, path: string, json?: unknown) => api.call(method, path, { key: 'shop', json });
    const statuses = await Promise.all([
      call('POST', '/v1/jobs/mail-welcome/runs', {}),
      call('POST', '/v1/jobs/report/runs', {}),
      call('GET', '/v1/jobs/mail-digest/runs'),
      call('GET', `/v1/jobs/mail-digest/runs/${mail}`),
      call('POST', `/v1/jobs/mail-digest/runs/${mail}/cancel`),
      call('GET', '/v1/schedules/mail-digest-daily'),
      call('GET', '/v1/schedules/mail-digest-daily/ticks'),
      call('POST', '/v1/schedules/report-daily/trigger'),
      call('PUT', '/v1/schedules/own', { job: 'report', every: '1h', payload: {} }),
    ]);
    expect(statuses.map(({ status }) => status)).toEqual([202, 202, 200, 200, 202, 200, 200, 202, 201]);
  });

  it('is refused whatever is about another, by every route, and changes nothing', async () => {
    const { api, broker, billing } = await serveRestricted();
    await api.call('PUT', '/v1/schedules/theirs', { json: { job: 'billing', every: '1h', payload: {} } });
    await api.call('DELETE', '/v1/schedules/theirs');
    const run = `/v1/jobs/billing/runs/${billing}`;
    const calls: [string, string, unknown?][] = [
      ...(['POST', 'GET'] as const).map((method): [string, string] => [method, '/v1/jobs/billing/runs']),
      ['GET', '/v1/jobs/billing'],
      ['GET', '/v1/jobs/BILLING'],
      ['GET', '/V1/JOBS/billing'],
      ['GET', '/v1/jobs/b%69lling'],
      ['GET', '/v1/jobs/billing/'],
      ['GET', run],
      ['POST', `${run}/cancel`],
      ['POST', `${run}/retry`],
      ['POST', '/v1/jobs/billing/redrive', {}],
      ['GET', '/v1/schedules/billing-daily'],
      ['GET', '/v1/schedules/billing%2Ddaily'],
      ['GET', '/v1/schedules/billing-daily/ticks'],
      ['GET', '/v1/schedules/theirs/ticks'],
      ['GET', '/v1/schedules/billing-daily/preview'],
      ['GET', '/v1/schedules/billing-daily/backfill'],
      ['POST', '/v1/schedules/billing-daily/pause', {}],
      ['POST', '/v1/schedules/billing-daily/resume', {}],
      ['POST', '/v1/schedules/billing-daily/trigger'],
      ['POST', '/v1/schedules/billing-daily/backfill', { from: '2026-11-01', to: '2026-11-02' }],
      ['DELETE', '/v1/schedules/billing-daily'],
      ['PUT', '/v1/schedules/billing-daily', { job: 'mail-digest', every: '1h', payload: {} }],
      ['PUT', '/v1/schedules/new', { job: 'billing', every: '1h', payload: {} }],
      ['GET', '/v1/doctor'],
      ['POST', '/v1/doctor/fix'],
    ];
    for (const [method, path, json] of calls) {
      for (const key of ['shop', 'chief']) {
        const answer = await api.call(method, path, { key, json });
        expect(`${method} ${path} ${answer.status}`).toBe(`${method} ${path} 403`);
        expect(answer.body.code).toBe('forbidden');
      }
    }
    expectProblem(await api.call('GET', '/v1/audit', { key: 'chief' }), 403, 'forbidden');
    expect(await broker.queue('billing').getJobState(billing)).toBe('waiting');
    expect(await broker.client.hexists(broker.keys.schedules, 'new')).toBe(0);
  });

  it('sees the others in no list, and by no hint', async () => {
    const { api } = await serveRestricted();
    const seen = async (path: string) => JSON.stringify((await api.call('GET', path, { key: 'chief' })).body);
    for (const path of ['/v1/jobs', '/v1/schedules', '/board/api/queues', '/board/api/job-schedulers']) {
      expect(await seen(path), path).toContain('mail-digest');
      expect(await seen(path), path).not.toMatch(/billing|report/);
    }
    expect(await seen('/v1/schedules?job=billing')).toBe('{"schedules":[],"next":null,"unreadable":[]}');
    // One letter off a name of its own, and of another's.
    expect(await seen('/v1/jobs/mail-diges')).toMatch(/job-unknown/);
    expect(await seen('/v1/schedules/billing-dail')).not.toContain('billing-daily');
    const next = (await api.call('GET', '/v1/schedules?limit=1', { key: 'chief' })).body;
    expect(next.schedules.map(({ id }: { id: string }) => id)).toEqual(['mail-digest-daily']);
    expect(await seen(`/v1/schedules?limit=1&cursor=${next.next}`)).toContain('"id":"mail-welcome-daily"');
  });

  it('does nothing to the others on the board', async () => {
    const { api, broker, billing } = await serveRestricted();
    const board = '/board/api/queues';
    const call = (method: string, path: string, json?: unknown) => api.call(method, path, { key: 'chief', json });
    expect((await call('PUT', `${board}/billing/pause`)).status).toBe(404);
    expect((await call('GET', `${board}/billing/${billing}`)).status).toBe(404);
    expect((await call('PUT', `${board}/billing/${billing}/clean`)).status).toBe(404);
    expect((await call('PUT', `${board}/pause`)).status).toBe(200);
    expect(await broker.queue('billing').isPaused()).toBe(false);
    expect(await broker.queue('mail-digest').isPaused()).toBe(true);
  });
});

describe('a file of keys', () => {
  it('takes what `rondo keys new` prints, and a change of it while the process runs', async () => {
    const made = await runProgram(['keys', 'new', 'shop', '--scopes', 'read,enqueue', '--jobs', 'mail-*', '--json'], {
      env: { REDIS_URL: 'redis://127.0.0.1:1', RONDO_JOBS: '/nowhere.mjs' },
    });
    const { secret, line } = JSON.parse(made.stdout);
    expect(line).toBe(`shop:${createHash('sha256').update(secret).digest('hex')}:read|enqueue:mail-*`);

    const file = join(freshFolder(), 'keys');
    const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
    writeFileSync(file, `# who may\n\nadmin:${hashOf(secretOf('admin'))}:admin\n${line}\n`);
    const events = recordEvents();
    const source = createKeysFile({
      file,
      keys: readKeysFile(file),
      read: readKeysFile,
      emit: events.emit,
      everyMs: 20,
    });
    await source.start();
    onTestFinished(() => source.stop());
    const { serve } = await fixture(jobs);
    const { url } = await serve({ liveKeys: source.keys });
    const status = async (given: string, job: string) => {
      const response = await fetch(`${url}/v1/jobs/${job}/runs`, { headers: { authorization: `Bearer ${given}` } });
      return response.status;
    };
    expect(await status(secret, 'mail-digest')).toBe(200);
    expect(await status(secret, 'billing')).toBe(403);

    writeFileSync(file, `admin:${hashOf(secretOf('admin'))}:admin\nother:${hashOf('another-secret-1234')}:read\n`);
    await events.next('keys.changed', (event) => event.keys === 2);
    expect(await status('another-secret-1234', 'billing')).toBe(200);
    expect(await status(secret, 'mail-digest')).toBe(401);

    writeFileSync(file, `admin:${secretOf('admin')}:admin\n`);
    const { reason } = await events.next('keys.refused');
    expect(reason).toContain('line 1');
    expect(reason).not.toContain('secret-of');
    expect(await status('another-secret-1234', 'billing')).toBe(200);
    rmSync(file);
    await eventually(() => events.of('keys.refused').length >= 2);
    expect(await status('another-secret-1234', 'billing')).toBe(200);
  });
});

describe('the limit of requests', () => {
  it('holds for a key over all api processes, and is told in the standard headers', async () => {
    const { serve } = await fixture(jobs);
    const rateLimit = { max: 6, perMs: 60_000 };
    const [one, two] = await Promise.all([serve({ rateLimit }), serve({ rateLimit })]);
    const path = '/v1/jobs/report/runs';
    const first = await one.call('POST', path, { key: 'enqueue', json: {} });
    expect(first.headers.get('ratelimit')).toMatch(/^"key"; r=5; t=\d+$/);
    expect(first.headers.get('ratelimit-policy')).toMatch(/^"key"; q=6; w=60/);
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        (index % 2 ? one : two).call('POST', path, { key: 'enqueue', json: {} }),
      ),
    );
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(5);
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(5);
    for (const answer of refused) {
      expectProblem(answer, 429, 'rate-limited');
      const seconds = Number(answer.headers.get('retry-after'));
      expect(seconds).toBeGreaterThan(2);
      expect(seconds).toBeLessThanOrEqual(60);
    }
    expect((await two.call('GET', '/v1/jobs', { key: 'read' })).status).toBe(200);
  });

  it('is none unless one is set', async () => {
    const { serve } = await fixture(jobs);
    const api = await serve();
    expect((await api.call('GET', '/v1/jobs')).headers.get('ratelimit')).toBeNull();
  });

  it('begins anew with its window', async () => {
    const { serve } = await fixture(jobs);
    const api = await serve({ rateLimit: { max: 1, perMs: 1_000 } });
    expect((await api.call('GET', '/v1/jobs')).status).toBe(200);
    expect((await api.call('GET', '/v1/jobs')).status).toBe(429);
    await eventually(async () => (await api.call('GET', '/v1/jobs')).status === 200);
  });

  it('lets requests pass while Redis is away, and locks nobody out of a sign-in', async () => {
    const redis = await startRedis();
    const { serve, events } = await fixture(jobs, { url: redis.url });
    const api = await serve({ rateLimit: { max: 1, perMs: 60_000 } });
    await redis.stop();
    const startedAt = performance.now();
    for (let request = 0; request < 3; request++) expect((await api.call('GET', '/v1/jobs')).status).toBe(200);
    for (let request = 0; request < 12; request++) {
      expect((await api.call('GET', '/v1/jobs', { key: 'wrong' })).status).toBe(401);
    }
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(events.of('limits.uncounted')).toHaveLength(1);
    expect((await signIn(api, secretOf('admin'))).status).toBe(303);
  });
});

describe('wrong keys', () => {
  const from = (address: string) => ({ 'x-forwarded-for': address });
  const guess = (api: Api, address: string) => api.call('GET', '/v1/jobs', { key: 'wrong', headers: from(address) });

  async function twoProcesses() {
    const { serve } = await fixture(jobs);
    return Promise.all([serve({ trustProxy: 1 }), serve({ trustProxy: 1 })]);
  }

  it('are answered ten a minute from an address, over all api processes and both doors', async () => {
    const [one, two] = await twoProcesses();
    for (let times = 0; times < 4; times++) expect((await guess(one, '192.0.2.1')).status).toBe(401);
    for (let times = 0; times < 3; times++) expect((await guess(two, '192.0.2.1')).status).toBe(401);
    for (let times = 0; times < 3; times++) {
      expect((await signIn(two, 'a wrong key', from('192.0.2.1'))).status).toBe(401);
    }
    const limited = await guess(one, '192.0.2.1');
    expectProblem(limited, 429, 'sign-ins-limited');
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await guess(two, '192.0.2.1')).status).toBe(429);
    // A right guess is not told apart any more; others are not kept from anything.
    const page = await signIn(one, secretOf('admin'), from('192.0.2.1'));
    expect(page.status).toBe(429);
    expect(page.body).toContain('Too many wrong keys came from this address');
    expect((await one.call('GET', '/v1/jobs', { headers: from('192.0.2.1') })).status).toBe(429);
    expect((await guess(one, '192.0.2.2')).status).toBe(401);
    expect((await one.call('GET', '/v1/jobs', { headers: from('192.0.2.2') })).status).toBe(200);
  });

  it('do not keep out whoever came with a right one before, as from behind the same proxy', async () => {
    const [one] = await twoProcesses();
    const rightly = () => one.call('GET', '/v1/jobs', { headers: from('192.0.2.9') });
    expect((await rightly()).status).toBe(200);
    for (let times = 0; times < 12; times++) await guess(one, '192.0.2.9');
    expect((await guess(one, '192.0.2.9')).status).toBe(429);
    expect((await rightly()).status).toBe(200);
  });

  it('count for a whole /64 of IPv6, and for an IPv4 address however it is written', async () => {
    const [one] = await twoProcesses();
    for (let times = 0; times < 10; times++) expect((await guess(one, `2001:db8:0:1::${times}`)).status).toBe(401);
    expect((await guess(one, '2001:db8:0:1:ffff::1')).status).toBe(429);
    expect((await guess(one, '2001:db8:0:2::1')).status).toBe(401);
    for (let times = 0; times < 10; times++) {
      expect((await guess(one, times % 2 ? '::ffff:192.0.2.7' : '192.0.2.7')).status).toBe(401);
    }
    expect((await guess(one, '192.0.2.7')).status).toBe(429);
  });

  it('are forgiven when the minute is over', async () => {
    let now = Date.now();
    const { serve, broker } = await fixture(jobs);
    const api = await serve({ trustProxy: 1, now: () => now });
    for (let times = 0; times < 10; times++) await guess(api, '192.0.2.3');
    expect((await guess(api, '192.0.2.3')).status).toBe(429);
    const counters = await broker.client.keys(`${broker.keys.limits}*`);
    expect(await broker.client.pttl(String(counters[0]))).toBeGreaterThan(0);
    await broker.client.del(...counters);
    now += 60_001;
    expect((await guess(api, '192.0.2.3')).status).toBe(401);
  });
});

describe('the word of a proxy', () => {
  it('counts where a setting says so alone', async () => {
    const { serve } = await fixture(jobs);
    const [trusting, wary] = await Promise.all([serve({ trustProxy: ['loopback'] }), serve()]);
    const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-for': '192.0.2.50' };
    const cookieOf = async (api: Api) => (await signIn(api, secretOf('admin'), headers)).headers.get('set-cookie');
    expect(await cookieOf(trusting)).toContain('Secure');
    expect(await cookieOf(wary)).not.toContain('Secure');
    const { body } = await trusting.call('GET', '/v1/audit?limit=2');
    expect(body.entries.map(({ from }: { from: string }) => from)).toEqual(['127.0.0.1', '192.0.2.50']);
    // Without it a stranger does not choose whose failures are counted.
    for (let times = 0; times < 10; times++) {
      const forged = { 'x-forwarded-for': `192.0.2.${times}` };
      expect((await wary.call('GET', '/v1/jobs', { key: 'wrong', headers: forged })).status).toBe(401);
    }
    const forged = { 'x-forwarded-for': '192.0.2.99' };
    expect((await wary.call('GET', '/v1/jobs', { key: 'wrong', headers: forged })).status).toBe(429);
  });
});

describe('pages of other origins', () => {
  const origin = 'https://app.example.com';
  const browser = { origin, 'sec-fetch-site': 'cross-site' };
  const preflight = {
    origin,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization',
  };

  it('may call the API with a key where their origin is named, errors included', async () => {
    const { serve } = await fixture(jobs);
    const api = await serve({ corsOrigins: [origin] });
    const asked = await api.call('OPTIONS', '/v1/jobs/report/runs', { key: null, headers: preflight });
    expect(asked.status).toBe(204);
    expect(asked.headers.get('access-control-allow-origin')).toBe(origin);
    expect(asked.headers.get('access-control-allow-methods')).toContain('POST');
    expect(asked.headers.get('access-control-allow-headers')).toMatch(
      /Authorization.*Idempotency-Key.*traceparent, tracestate/,
    );
    expect(asked.headers.get('access-control-allow-credentials')).toBeNull();
    const done = await api.call('POST', '/v1/jobs/report/runs', { headers: browser, json: {} });
    expect(done.status).toBe(202);
    expect(done.headers.get('access-control-allow-origin')).toBe(origin);
    expect(done.headers.get('vary')).toContain('Origin');
    const wrong = await api.call('GET', '/v1/jobs', { key: 'wrong', headers: browser });
    expect(wrong.status).toBe(401);
    expect(wrong.headers.get('access-control-allow-origin')).toBe(origin);
  });

  it('may not where it is not, and never with a cookie or a password that the browser adds', async () => {
    const { serve } = await fixture(jobs);
    const api = await serve({ corsOrigins: [origin] });
    for (const other of ['https://app.example.com.evil.example', 'http://app.example.com', 'null']) {
      const asked = await api.call('OPTIONS', '/v1/jobs/report/runs', { headers: { ...preflight, origin: other } });
      expect(asked.headers.get('access-control-allow-origin'), other).toBeNull();
      const headers = { ...browser, origin: other };
      expectProblem(await api.call('POST', '/v1/jobs/report/runs', { headers, json: {} }), 403, 'origin-refused');
    }
    const cookie = String((await signIn(api, secretOf('admin'))).headers.get('set-cookie')?.split(';')[0]);
    const sessions = { ...browser, cookie };
    const path = '/v1/jobs/report/runs';
    expectProblem(await api.call('POST', path, { key: null, headers: sessions, json: {} }), 403, 'origin-refused');
    const basic = { ...browser, authorization: `Basic ${btoa(`:${secretOf('admin')}`)}` };
    expectProblem(await api.call('POST', path, { key: null, headers: basic, json: {} }), 403, 'origin-refused');
    const board = await api.call('PUT', '/board/api/queues/pause', { headers: browser });
    expectProblem(board, 403, 'origin-refused');
    expect(board.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('a session', () => {
  it('is understood by every api process, and cannot be made from a file of hashed keys', async () => {
    const { serve, broker } = await fixture(jobs);
    const [one, two] = await Promise.all([serve(), serve()]);
    const cookie = String((await signIn(one, secretOf('admin'))).headers.get('set-cookie')?.split(';')[0]);
    expect((await two.call('GET', '/v1/jobs', { key: null, headers: { cookie } })).status).toBe(200);
    expect(await broker.client.strlen(broker.keys.sessionSecret)).toBeGreaterThan(40);
    const restarted = await serve();
    expect((await restarted.call('GET', '/v1/jobs', { key: null, headers: { cookie } })).status).toBe(200);
  });
});

function signIn(api: Api, key: string, more: Record<string, string> = {}) {
  const body = new URLSearchParams({ key }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded', ...more };
  return api.call('POST', '/login', { key: null, headers, body });
}
