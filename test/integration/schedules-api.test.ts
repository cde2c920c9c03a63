import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readTicks } from '../../src/broker/ledger.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { wantedOf } from '../../src/producers/plan.js';
import { reconcile } from '../../src/producers/schedules.js';
import { eventually, fixture } from '../support/harness.js';
import { apiKey, expectProblem, secretOf, sendRaw } from '../support/http.js';

const second = 1_000;
const digest = defineJob({
  name: 'digest',
  payload: z.object({ tenant: z.string() }),
  schedules: [{ id: 'digest-all', cron: '0 7 * * *', payload: { tenant: 'all' } }],
  run: ({ payload }) => payload.tenant,
});
const sweep = defineJob({ name: 'sweep', run: () => null });
const hourly = { job: 'digest', every: '1h', payload: { tenant: 'a' } };

async function serving() {
  const parts = await fixture([digest, sweep]);
  const api = await parts.serve();
  const wanted = wantedOf(createRegistry([digest, sweep]));
  const look = () => reconcile(parts.broker, { app: 'shop', release: '1', wanted, now: Date.now }, () => {});
  const put = (id: string, json: unknown = hourly) => api.call('PUT', `/v1/schedules/${id}`, { json });
  return { ...parts, api, look, put };
}

describe('PUT /v1/schedules/{id}', () => {
  it('creates one with 201 and its address, changes it with 200, and answers what it is', async () => {
    const { put, api } = await serving();
    const created = await put('digest-a', { ...hourly, id: 'digest-a', spread: '10m', description: 'For a' });
    expect(created).toMatchObject({
      status: 201,
      body: {
        id: 'digest-a',
        job: 'digest',
        owner: 'api',
        put: { by: 'admin' },
        health: 'sound',
        payload: { tenant: 'a' },
        timing: { kind: 'every', every: 3_600_000, spread: 600_000 },
        words: 'Every 1h',
      },
    });
    expect(created.headers.get('location')).toBe('/v1/schedules/digest-a');
    expect((await api.call('GET', '/v1/schedules/digest-a')).body).toMatchObject(created.body);

    const changed = await put('digest-a', { ...hourly, every: '2h' });
    expect(changed).toMatchObject({ status: 200, body: { description: '', timing: { every: 7_200_000 } } });
    const again = await put('digest-a', { ...hourly, every: '2h' });
    expect(again).toMatchObject({ status: 200, body: changed.body });
    expect(changed.headers.get('location')).toBeNull();
  });

  it('names whose key put it', async () => {
    const { serve } = await fixture([digest]);
    const api = await serve({ keys: [apiKey('sign-up', ['operate'])] });
    const call = { key: 'sign-up', json: hourly };
    expect((await api.call('PUT', '/v1/schedules/digest-a', call)).body).toMatchObject({ put: { by: 'sign-up' } });
  });

  it('leaves what code declares to code', async () => {
    const { put, api, look } = await serving();
    await look();
    expectProblem(await put('digest-all'), 409, 'schedule-declared');
    expectProblem(await api.call('DELETE', '/v1/schedules/digest-all'), 409, 'schedule-declared');
    expect((await api.call('GET', '/v1/schedules/digest-all')).body).toMatchObject({
      owner: 'code:shop',
      release: '1',
    });
  });

  it.each([
    ['another job', 'digest-a', { ...hourly, job: 'sweep', payload: {} }, 409, 'schedule-conflict'],
    ['an unknown job', 'digest-b', { ...hourly, job: 'digset' }, 404, 'job-unknown'],
    ['no job', 'digest-b', { every: '1h' }, 422, 'schedule-invalid'],
    ['another id in its body', 'digest-b', { ...hourly, id: 'digest-a' }, 422, 'schedule-invalid'],
    ['a list', 'digest-b', [hourly], 422, 'schedule-invalid'],
    ['an id of letters that it may not have', 'Digest_B', hourly, 422, 'schedule-invalid'],
    ['an id with a slash', 'a%2fb', hourly, 422, 'schedule-invalid'],
    ['an id that is a line', 'a%0ab', hourly, 422, 'schedule-invalid'],
    ['an id with braces', '%7Brondo%7D:x', hourly, 422, 'schedule-invalid'],
    ['an id without end', 'a'.repeat(5_000), hourly, 422, 'schedule-invalid'],
    ['an id of Object', '__proto__', hourly, 422, 'schedule-invalid'],
  ])('refuses %s', async (_what, id, json, status, code) => {
    const { put, api } = await serving();
    await put('digest-a');
    expectProblem(await put(id, json), status, code);
    expect((await api.call('GET', '/v1/schedules')).body.schedules).toHaveLength(1);
  });

  it('refuses an address and a body that nobody can read, and one without a body', async () => {
    const { api } = await serving();
    const path = '/v1/schedules/x';
    expectProblem(await api.call('PUT', '/v1/schedules/%ff', { json: hourly }), 400, 'address-unreadable');
    const headers = { 'content-type': 'application/json' };
    expectProblem(await api.call('PUT', path, { headers, body: '{"job' }), 400, 'body-unreadable');
    expectProblem(
      await api.call('PUT', path, { headers: { 'content-type': 'text/plain' }, body: 'x' }),
      415,
      'body-type',
    );
    expectProblem(await api.call('PUT', path), 422, 'schedule-invalid', { problems: [{ where: 'job' }] });
  });
});

describe('the scopes', () => {
  it('let read look, operate change, and enqueue do neither', async () => {
    const { api, put } = await serving();
    await put('digest-a');
    const reads = ['', '/digest-a', '/digest-a/ticks', '/digest-a/preview'];
    for (const path of reads) {
      expect((await api.call('GET', `/v1/schedules${path}`, { key: 'read' })).status).toBe(200);
      expectProblem(await api.call('GET', `/v1/schedules${path}`, { key: 'enqueue' }), 403, 'forbidden');
      expectProblem(await api.call('GET', `/v1/schedules${path}`, { key: null }), 401, 'unauthenticated');
    }
    const changes = [
      ['PUT', '', hourly, 200],
      ['POST', '/pause', {}, 200],
      ['POST', '/resume', {}, 200],
      ['POST', '/trigger', {}, 202],
      ['DELETE', '', undefined, 204],
    ] as const;
    for (const [method, path, json, status] of changes) {
      for (const key of ['read', 'enqueue']) {
        expectProblem(await api.call(method, `/v1/schedules/digest-a${path}`, { key, json }), 403, 'forbidden');
      }
      const answer = await api.call(method, `/v1/schedules/digest-a${path}`, { key: 'operate', json });
      expect({ method, path, status: answer.status }).toEqual({ method, path, status });
    }
  });

  it('keep a page of another origin from changing anything', async () => {
    const { api } = await serving();
    const headers = { origin: 'https://evil.example' };
    expectProblem(await api.call('PUT', '/v1/schedules/x', { headers, json: hourly }), 403, 'origin-refused');
  });
});

describe('GET /v1/schedules', () => {
  it('answers pages in the order of ids, each schedule once, whatever comes and goes in between', async () => {
    const { api, put } = await serving();
    const ids = Array.from({ length: 25 }, (_, index) => `tenant-${String(index).padStart(2, '0')}`);
    await Promise.all(ids.map((id) => put(id)));
    const seen: string[] = [];
    let cursor = '';
    for (let page = 0; page < 4; page++) {
      const { body } = await api.call('GET', `/v1/schedules?limit=10${cursor && `&cursor=${cursor}`}`);
      seen.push(...body.schedules.map(({ id }: { id: string }) => id));
      // One that was shown goes, and one comes that would have been shown already.
      if (page === 0) {
        await api.call('DELETE', '/v1/schedules/tenant-09');
        await put('tenant-05a');
      }
      if (body.next === null) break;
      cursor = body.next;
    }
    expect(seen).toEqual(ids);
  });

  it('filters by job, owner, health and text', async () => {
    const { api, put, look } = await serving();
    await look();
    await put('digest-a', { ...hourly, description: 'Ördög & Co' });
    await put('digest-b');
    await put('sweep-a', { job: 'sweep', every: '1h' });
    await put('sweep-off', { job: 'sweep', every: '1h', enabled: false });
    await api.call('POST', '/v1/schedules/digest-b/pause', { json: {} });
    const found = async (query: string) => {
      const { body, status } = await api.call('GET', `/v1/schedules?${query}`);
      expect(status).toBe(200);
      return body.schedules.map(({ id }: { id: string }) => id);
    };
    expect(await found('job=digest')).toEqual(['digest-a', 'digest-all', 'digest-b']);
    expect(await found('owner=api&job=digest')).toEqual(['digest-a', 'digest-b']);
    expect(await found('owner=code:shop')).toEqual(['digest-all']);
    expect(await found('health=paused')).toEqual(['digest-b']);
    expect(await found('health=disabled')).toEqual(['sweep-off']);
    expect(await found('health=sound&limit=1')).toEqual(['digest-a']);
    expect(await found(`text=${encodeURIComponent('ÖRDÖG &')}`)).toEqual(['digest-a']);
    expect(await found('text=-OFF')).toEqual(['sweep-off']);
    expect(await found('job=nobody')).toEqual([]);
  });

  it.each([
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['limit=ten', 'limit'],
    ['health=well', 'health'],
    ['cursor=nonsense', 'cursor'],
    ['cursor=bnVsbA', 'cursor'],
    ['cursor=e30', 'cursor'],
    ['jobs=digest', 'jobs'],
    ['job=a&job=b', 'job'],
  ])('refuses ?%s', async (query, where) => {
    const { api } = await serving();
    expectProblem(await api.call('GET', `/v1/schedules?${query}`), 422, 'request-invalid', { problems: [{ where }] });
  });

  it('lists the others where an entry makes no sense, and says which does not', async () => {
    const { api, put, broker } = await serving();
    await put('digest-a');
    await broker.client.hset(broker.keys.schedules, 'digest-b', '{"newer":1}');
    const { body } = await api.call('GET', '/v1/schedules');
    expect(body).toMatchObject({ schedules: [{ id: 'digest-a' }], unreadable: ['digest-b'], next: null });
    expectProblem(await api.call('GET', '/v1/schedules/digest-b'), 404, 'schedule-unknown');
  });
});

describe('one schedule', () => {
  it('that there is none of is answered with the nearest, at each address', async () => {
    const { api, put } = await serving();
    await put('digest-a');
    const calls = [
      ['GET', ''],
      ['GET', '/ticks'],
      ['GET', '/preview'],
      ['DELETE', ''],
      ['POST', '/pause'],
      ['POST', '/resume'],
      ['POST', '/trigger'],
    ];
    for (const [method = '', path] of calls) {
      const answer = await api.call(method, `/v1/schedules/digest-q${path}`);
      expectProblem(answer, 404, 'schedule-unknown', { detail: '"digest-q" (did you mean "digest-a"?)' });
      expectProblem(await api.call(method, `/v1/schedules/%2e%2e%2fx${path}`), 404, 'schedule-unknown');
    }
    expectProblem(await api.call('PATCH', '/v1/schedules/digest-a', { json: {} }), 404, 'route-unknown');
  });

  it('is paused with a note and an end, by the name of the key, and goes on', async () => {
    const { api, put } = await serving();
    await put('digest-a');
    const url = '/v1/schedules/digest-a';
    const paused = await api.call('POST', `${url}/pause`, { key: 'operate', json: { note: 'import', until: '2h' } });
    expect(paused).toMatchObject({ status: 200, body: { health: 'paused', pause: { by: 'operate', note: 'import' } } });
    expect(Date.parse(paused.body.pause.until) - Date.now()).toBeGreaterThan(7_190 * second);
    const until = new Date(Date.now() + 60 * second).toISOString();
    const again = await api.call('POST', `${url}/pause`, { json: { until } });
    expect(again.body.pause).toMatchObject({ by: 'admin', note: '', until });
    expect((await api.call('POST', `${url}/pause`)).body.pause).toMatchObject({ until: null });
    expect(await api.call('POST', `${url}/resume`)).toMatchObject({
      status: 200,
      body: { pause: null, health: 'sound' },
    });
    expect((await api.call('POST', `${url}/resume`, { json: {} })).status).toBe(200);
  });

  it.each([
    [{ until: 'soon' }, 'until'],
    [{ until: '0s' }, 'until'],
    [{ until: '2020-01-01T00:00:00Z' }, 'until'],
    [{ until: '2031-01-01T00:00:00' }, 'until'],
    [{ until: 5 }, 'until'],
    [{ note: 5 }, 'note'],
    [{ note: 'x'.repeat(1_001) }, 'note'],
    [{ reason: 'x' }, 'reason'],
  ])('is not paused by %j', async (json, where) => {
    const { api, put } = await serving();
    await put('digest-a');
    const answer = await api.call('POST', '/v1/schedules/digest-a/pause', { json });
    expectProblem(answer, 422, 'request-invalid', { problems: [{ where }] });
    expect((await api.call('GET', '/v1/schedules/digest-a')).body.pause).toBeNull();
  });

  it('is triggered: the run has an address, and is executed', async () => {
    const { api, put, work, events } = await serving();
    await put('digest-a');
    const { status, body, headers } = await api.call('POST', '/v1/schedules/digest-a/trigger');
    expect({ status, body }).toMatchObject({ status: 202, body: { job: 'digest', id: expect.any(String) } });
    expect(headers.get('location')).toBe(body.url);
    await work();
    await events.next('run.succeeded', ({ run }) => run === body.id);
    expect((await api.call('GET', body.url)).body).toMatchObject({ origin: 'triggered', result: 'a' });
  });

  it('tells what became of its ticks, also for a while after it was removed', async () => {
    const { api, put, work, broker } = await serving();
    await put('digest-a', { ...hourly, every: '200ms' });
    await work();
    const of = { job: 'digest', schedule: 'digest-a' };
    await eventually(async () => (await readTicks(broker, of)).entries.length >= 4);
    const url = '/v1/schedules/digest-a';
    expect((await api.call('DELETE', url)).status).toBe(204);
    expectProblem(await api.call('GET', url), 404, 'schedule-unknown');
    const entries = await eventually(async () => {
      const { entries: found } = await readTicks(broker, of);
      return found.every(({ outcome }) => outcome !== 'waiting' && outcome !== 'running') && found;
    });

    const { body } = await api.call('GET', `${url}/ticks`);
    expect(body).toMatchObject({ schedule: 'digest-a', job: 'digest', removed: expect.any(String), unreadable: 0 });
    const times = entries.map(({ time }) => time);
    const told = async (query: string) => {
      const answer = await api.call('GET', `${url}/ticks?${query}`);
      return answer.body.ticks.map(({ time }: { time: string }) => Date.parse(time));
    };
    const iso = (time = 0) => new Date(time).toISOString();
    expect(await told('')).toEqual(times.slice(-20));
    expect(await told('limit=2')).toEqual(times.slice(-2));
    expect(await told(`from=${iso(times[1])}&to=${iso(times[2])}`)).toEqual(times.slice(1, 3));
    expect(await told('outcome=failed,timed-out')).toEqual([]);
    const succeeded = entries.filter(({ outcome }) => outcome === 'succeeded').map(({ time }) => time);
    expect(await told('outcome=failed,%20succeeded')).toEqual(succeeded.slice(-20));
  });

  it.each([
    ['ticks?from=yesterday', 'from'],
    ['ticks?to=2026-11-21T07:00:00', 'to'],
    ['ticks?from=2026-11-21T07:00:00Z&to=2026-11-20T07:00:00Z', 'to'],
    ['ticks?outcome=succeded', 'outcome'],
    ['ticks?outcome=', 'outcome'],
    ['ticks?limit=1001', 'limit'],
    ['preview?count=0', 'count'],
    ['preview?count=1e9', 'count'],
    ['preview?from=now', 'from'],
  ])('refuses %s', async (path, where) => {
    const { api, put } = await serving();
    await put('digest-a');
    const answer = await api.call('GET', `/v1/schedules/digest-a/${path}`);
    expectProblem(answer, 422, 'request-invalid', { problems: [{ where }] });
  });

  it('shows its next times from any moment, with when they are due', async () => {
    const { api, put } = await serving();
    const { body: made } = await put('digest-a', { ...hourly, every: undefined, cron: '0 7 * * *', spread: '10m' });
    const { body } = await api.call('GET', '/v1/schedules/digest-a/preview?count=2&from=2027-03-01T08:00:00%2B01:00');
    const due = (time: string) => new Date(Date.parse(time) + made.timing.offset).toISOString().replace('.000', '');
    expect(body).toMatchObject({
      id: 'digest-a',
      left: [],
      complete: true,
      times: ['2027-03-02T07:00:00Z', '2027-03-03T07:00:00Z'].map((time) => ({ time, due: due(time) })),
    });
    expect((await api.call('GET', '/v1/schedules/digest-a/preview')).body.times).toHaveLength(5);
  });

  it('answers nonsense on the wire as one', async () => {
    const { api } = await serving();
    const head = `host: x\r\nauthorization: Bearer ${secretOf('admin')}\r\nconnection: close\r\n\r\n`;
    expect(await sendRaw(api.url, `GET /v1/schedules/%00 HTTP/1.1\r\n${head}`)).toMatch(
      /^HTTP\/1.1 404 .*schedule-unknown/s,
    );
  });
});
