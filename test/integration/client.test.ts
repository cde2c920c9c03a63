import { expect, test } from 'vitest';
import { z } from 'zod';
import { createClient, RondoApiError, RondoConnectionError, RondoTimeoutError } from '../../src/client/index.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { fixture } from '../support/harness.js';
import { secretOf, startTarget } from '../support/http.js';

const key = secretOf('admin');

const jobs = [
  defineJob({
    name: 'add',
    payload: z.object({ a: z.number(), b: z.number().default(1) }),
    retry: { attempts: 1 },
    run: ({ payload }) => ({ sum: payload.a + payload.b }),
  }),
  defineJob({
    name: 'fail',
    retry: { attempts: 1 },
    run: () => {
      throw new Error('no luck');
    },
  }),
];

async function start() {
  const parts = await fixture(jobs);
  const api = await parts.serve();
  return { ...parts, api, client: createClient<typeof jobs>({ url: api.url, key }) };
}

/** The runtime's fetch, with trouble in place of the first answers. */
function troubled(trouble: readonly ((real: () => Promise<Response>) => Promise<Response>)[]) {
  const keys: (string | null)[] = [];
  const send: typeof fetch = (input, init) => {
    const next = trouble[keys.length];
    keys.push(new Headers(init?.headers).get('idempotency-key'));
    return next ? next(() => fetch(input, init)) : fetch(input, init);
  };
  return { keys, fetch: send };
}

const lost = async (real: () => Promise<Response>) => {
  await real();
  throw new TypeError('fetch failed', { cause: new Error('socket hang up') });
};
const refusedWith =
  (status: number, headers: Record<string, string> = {}) =>
  () =>
    Promise.resolve(new Response('<html>busy</html>', { status, headers }));

test('a run is enqueued, waited for, and its result is there', async () => {
  const { client, work } = await start();
  await work();
  const { id, deduplicated } = await client.enqueue('add', { a: 41 });
  const run = await client.waitFor('add', id);
  expect(run).toMatchObject({ id, job: 'add', state: 'completed', result: { sum: 42 } });
  expect(deduplicated).toBe(false);
  const failed = await client.waitFor('fail', (await client.enqueue('fail')).id);
  expect(failed).toMatchObject({ state: 'failed', error: 'no luck', result: null });
  await expect(client.retry('fail', failed.id)).resolves.toBeUndefined();
  expect(await client.runs('add', { state: 'completed', limit: 5 })).toMatchObject({ runs: [{ id }], next: null });
});

test('what the caller sends along goes with each try, asked anew, and takes the place of nothing of the client', async () => {
  const { api } = await start();
  const sent: (string | null)[][] = [];
  const send: typeof fetch = (input, init) => {
    const headers = new Headers(init?.headers);
    sent.push([headers.get('traceparent'), headers.get('tracestate'), headers.get('authorization')]);
    return sent.length === 1 ? refusedWith(503)() : fetch(input, init);
  };
  let spans = 0;
  const headers = () => ({ traceparent: `span-${++spans}`, tracestate: null, authorization: 'mine' });
  await createClient<typeof jobs>({ url: api.url, key, fetch: send, headers }).enqueue('add', { a: 1 });
  expect(sent).toEqual([1, 2].map((number) => [`span-${number}`, null, `Bearer ${key}`]));
});

test('many runs are enqueued at once, all of them or none', async () => {
  const { client } = await start();
  const items = Array.from({ length: 1_200 }, (_, a) => ({ payload: { a }, delay: '1h' as const }));
  const enqueued = await client.enqueueBulk('add', items);
  expect(new Set(enqueued.map(({ id }) => id)).size).toBe(1_200);
  const wrong = client.enqueueBulk('add', [{ payload: { a: 1 } }, { payload: { a: 'one' as never } }]);
  await expect(wrong).rejects.toMatchObject({
    name: 'RondoApiError',
    status: 422,
    problems: [{ where: 'runs[1].payload.a', expected: 'a number', got: '"one"' }],
  });
  expect((await client.runs('add', { limit: 1_000, state: 'waiting' })).runs).toEqual([]);
});

test('an answer that is lost costs no second run: every try of a call has the same key', async () => {
  const { client: plain, api } = await start();
  const { keys, fetch } = troubled([lost, refusedWith(503), lost]);
  const client = createClient<typeof jobs>({ url: api.url, key, fetch });
  const { id } = await client.enqueue('add', { a: 1 }, { delay: '1h' });
  expect(keys).toHaveLength(4);
  expect(new Set(keys).size).toBe(1);
  expect((await plain.runs('add')).runs.map((run) => run.id)).toEqual([id]);
  await client.enqueue('add', { a: 1 }, { delay: '1h' });
  expect(keys[4]).not.toBe(keys[0]);
});

test('calls go through an api that is away and comes back, and so does who waits for a run', async () => {
  const { api, client, serve, work } = await start();
  const { id: first } = await client.enqueue('add', { a: 1 });
  const waiting = client.waitFor('add', first);
  await api.stop();
  const enqueued = client.enqueue('add', { a: 2 });
  // Long enough for a slow machine to have been refused once.
  const short = client.enqueue('add', { a: 3 }, { timeoutMs: 2_000 });
  await expect(short).rejects.toThrow(RondoConnectionError);
  await serve({ port: Number(new URL(api.url).port) });
  await work();
  expect(await client.waitFor('add', (await enqueued).id)).toMatchObject({ state: 'completed', result: { sum: 3 } });
  expect(await waiting).toMatchObject({ state: 'completed', result: { sum: 2 } });
});

test('what is refused for good is told at once, with all that is wrong', async () => {
  const { api, client } = await start();
  const { keys, fetch } = troubled([]);
  const counting = createClient({ url: api.url, key, fetch });
  const refused = counting.enqueue('add', { a: 'one' }).catch((error: unknown) => error);
  expect(await refused).toMatchObject({
    status: 422,
    code: 'payload-invalid',
    problems: [{ where: 'payload.a', expected: 'a number', got: '"one"' }],
    message: expect.stringContaining('payload.a: expected a number; got "one"'),
  });
  expect(keys).toHaveLength(1);
  await expect(client.run('add', 'none')).rejects.toMatchObject({ status: 404, code: 'run-unknown' });
  await expect(createClient({ url: api.url, key: 'wrong' }).jobs.list()).rejects.toMatchObject({ status: 401 });
});

test('what must not happen twice is sent again only where it was refused', async () => {
  const { received, url } = await startTarget((request, response) => {
    const isFirst = received.filter((it) => it.url === request.url).length === 1;
    const status = request.url?.includes('busy') && isFirst ? 429 : request.url?.includes('busy') ? 202 : 503;
    response.writeHead(status, { 'retry-after': '0' }).end(status === 202 ? '{"id":"1","job":"a"}' : '');
  });
  const client = createClient({ url, key });
  expect(await client.schedules.trigger('busy')).toEqual({ id: '1', job: 'a' });
  await expect(client.schedules.trigger('away')).rejects.toMatchObject({ status: 503, code: 'http-503' });
  expect(received.map((it) => it.url)).toEqual([
    '/v1/schedules/busy/trigger',
    '/v1/schedules/busy/trigger',
    '/v1/schedules/away/trigger',
  ]);
});

test('Retry-After is kept to, unless the time of the call is over before', async () => {
  const { received, url } = await startTarget((_request, response) => {
    response.writeHead(received.length === 1 ? 429 : 202, { 'retry-after': '1' }).end('{"id":"1"}');
  });
  const client = createClient({ url, key });
  const startedAt = Date.now();
  expect(await client.enqueue('any')).toEqual({ id: '1', deduplicated: false });
  expect(Date.now() - startedAt).toBeGreaterThanOrEqual(1_000);
  received.length = 0;
  const refused = client.enqueue('any', {}, { timeoutMs: 500 });
  await expect(refused).rejects.toMatchObject({ status: 429, retryAfterMs: 1_000 });
  expect(received).toHaveLength(1);
});

test('a call ends in time, and at once when its signal aborts', async () => {
  const { url } = await startTarget(() => {}); // never answers
  const client = createClient({ url, key, timeoutMs: 200 });
  await expect(client.jobs.list()).rejects.toThrow(RondoTimeoutError);
  const abort = new AbortController();
  const reason = new Error('enough');
  const aborted = client.enqueue('any', {}, { timeoutMs: 60_000, signal: abort.signal });
  setTimeout(() => abort.abort(reason), 50);
  await expect(aborted).rejects.toBe(reason);
  await expect(client.enqueue('any', {}, { signal: abort.signal })).rejects.toBe(reason);
});

test('who waits for a run that does not end is told when the time is over', async () => {
  const { client } = await start();
  const { id } = await client.enqueue('add', { a: 1 }, { delay: '1h' });
  const startedAt = Date.now();
  await expect(client.waitFor('add', id, { timeoutMs: 700 })).rejects.toThrow(RondoTimeoutError);
  expect(Date.now() - startedAt).toBeGreaterThanOrEqual(700);
  expect(await client.cancel('add', id)).toBe('removed');
  await expect(client.waitFor('add', id)).rejects.toMatchObject({ code: 'run-unknown' });
});

test('schedules are put, looked at, paused, resumed, triggered, backfilled and removed', async () => {
  const { client } = await start();
  const { schedules } = client;
  const put = await schedules.put('sums', { job: 'add', every: '1h', payload: { a: 1 } });
  expect(put).toMatchObject({ id: 'sums', owner: 'api', health: 'sound' });
  await schedules.put('tots', { job: 'add', cron: '0 7 * * *', timezone: 'Europe/Paris', payload: { a: 1 } });
  const page = await schedules.list({ limit: 1 });
  expect(page).toMatchObject({ schedules: [{ id: 'sums' }], next: expect.any(String) });
  expect(await schedules.list({ cursor: page.next ?? '' })).toMatchObject({ schedules: [{ id: 'tots' }], next: null });
  expect(await schedules.pause('sums', { note: 'stock', until: 60_000 })).toMatchObject({ pause: { note: 'stock' } });
  expect(await schedules.resume('sums')).toMatchObject({ pause: null });
  const { id } = await schedules.trigger('sums');
  expect(await client.run('add', id)).toMatchObject({ origin: 'triggered', schedule: 'sums' });
  expect((await schedules.preview('tots', { count: 3 })).times).toHaveLength(3);
  expect(await schedules.ticks('sums', { outcome: ['failed', 'missed'] })).toMatchObject({ job: 'add', ticks: [] });
  const range = { from: new Date(Date.now() - 86_400_000), to: new Date() };
  expect(await schedules.previewBackfill('tots', range)).toMatchObject({ count: expect.any(Number) });
  expect(await schedules.backfills('tots')).toEqual([]);
  await schedules.remove('sums');
  await expect(schedules.get('sums')).rejects.toMatchObject({ status: 404, code: 'schedule-unknown' });
  await expect(schedules.put('bad', { job: 'add', cron: 'never', payload: { a: 1 } })).rejects.toThrow(RondoApiError);
});

test('a job is paused, told of and resumed', async () => {
  const { client } = await start();
  expect(await client.jobs.pause('add', { note: 'ledger closed' })).toMatchObject({
    by: 'admin',
    note: 'ledger closed',
  });
  expect([await client.jobs.resume('add'), await client.jobs.resume('add')]).toEqual([true, false]);
  expect((await client.jobs.list()).map(({ name }) => name)).toEqual(['add', 'fail']);
  expect((await client.jobs.get('add')).payloadSchema).toMatchObject({ required: ['a'] });
  expect(await client.jobs.redrive('fail')).toEqual({ redriven: 0, failed: 0, before: null });
});

test('no error shows the key, whatever is wrong with it or the address', async () => {
  const told = [
    () => createClient({ url: 'http://127.0.0.1:1', key: `${key}\n` }),
    () => createClient({ url: `http://user:${key}@127.0.0.1`, key }),
    () => createClient({ url: `ftp://${key}`, key }),
  ].map((make) => {
    try {
      return String(make());
    } catch (error) {
      return `${error} ${JSON.stringify(error)}`;
    }
  });
  for (const text of told) expect(text).toMatch(/^TypeError: (url|key): expected/);
  const gone = await createClient({ url: 'http://127.0.0.1:1', key, timeoutMs: 100 })
    .jobs.list()
    .catch((it) => it);
  told.push(`${gone.stack} ${gone.cause?.stack}`);
  expect(gone).toMatchObject({ name: 'RondoConnectionError', code: 'api-unreachable' });
  for (const text of told) expect(text).not.toContain(key);
});

test('what was removed by a try whose answer was lost is removed, and what was not there is not', async () => {
  const { api } = await start();
  const usual = createClient({ url: api.url, key });
  const losing = () => createClient({ url: api.url, key, fetch: troubled([lost]).fetch });
  await usual.schedules.put('daily', { job: 'fail', cron: '0 7 * * *' });
  const { id } = await usual.enqueue('fail', {}, { delay: '1h' });

  expect(await losing().schedules.remove('daily')).toBeNull();
  expect(await losing().cancel('fail', id)).toBe('removed');

  await expect(usual.schedules.remove('daily')).rejects.toMatchObject({ code: 'schedule-unknown' });
  await expect(usual.cancel('fail', id)).rejects.toMatchObject({ code: 'run-unknown' });
});

test('a time of any length and of parts of a ms is one; what no address or header takes is refused at once', async () => {
  const { client } = await start();
  for (const timeoutMs of [Number.POSITIVE_INFINITY, 20_000.5, 2 ** 40]) {
    const { id } = await client.enqueue('fail', {}, { timeoutMs });
    expect(await client.run('fail', id, { timeoutMs })).toMatchObject({ id });
  }
  for (const idempotencyKey of ['', 'a b', 'é', 'a'.repeat(256)]) {
    await expect(client.enqueue('fail', {}, { idempotencyKey })).rejects.toThrow(TypeError);
  }
  for (const id of ['', '.', '..']) {
    await expect(client.run('fail', id)).rejects.toThrow(TypeError);
    await expect(client.schedules.remove(id)).rejects.toThrow(TypeError);
  }
  const { id } = await client.enqueue('fail', {}, { delay: '1h' });
  const waiting = client.waitFor('fail', id, { timeoutMs: 300.5 });
  await expect(waiting).rejects.toBeInstanceOf(RondoTimeoutError);
});
