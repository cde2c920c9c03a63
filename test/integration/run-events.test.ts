import { setTimeout } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { NonRetryableError } from '../../src/errors.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { readLogAfter } from '../../src/producers/run-log.js';
import { createRunWatch } from '../../src/producers/run-watch.js';
import { sentEvents } from '../support/event-stream.js';
import { createGate, type Gate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { type Api, expectProblem, secretOf } from '../support/http.js';
import { prompt } from '../support/prompt.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

/** A job whose runs say a word, go half-way, and then wait at a gate. */
async function serve(options: { url?: string } = {}) {
  const gate = createGate();
  const job = defineJob({
    name: 'job',
    payload: z.object({ fail: z.boolean().default(false) }),
    concurrency: 100,
    async run({ payload, log, progress }) {
      log.info('begun');
      await progress(50);
      await gate.opened;
      log.info('ended');
      if (payload.fail) throw new NonRetryableError('it was to fail');
      return { done: true };
    },
  });
  const brief = defineJob({ name: 'brief', retention: { completed: { age: '1h', count: 1 } }, run: () => 'gone' });
  const parts = await fixture([job, brief], options);
  const api = await parts.serve();
  const enqueue = async (json: object = {}, name = 'job'): Promise<string> =>
    (await api.call('POST', `/v1/jobs/${name}/runs`, { json })).body.url;
  return { ...parts, gate, api, enqueue, job };
}

describe('GET …/runs/{id}?wait=', () => {
  it('answers as soon as the run has ended, with its result, many at once', async () => {
    const { api, gate, enqueue, work, events } = await serve();
    const urls = await Promise.all(Array.from({ length: 20 }, () => enqueue()));
    const startedAt = performance.now();
    const waiting = urls.flatMap((url) => [1, 2].map(() => api.call('GET', `${url}?wait=30s`, { key: 'read' })));
    await work();
    await eventually(() => events.of('run.started').length === 20);
    gate.open();

    const answers = await Promise.all(waiting);

    expect(performance.now() - startedAt).toBeLessThan(15_000);
    for (const { status, body } of answers) {
      expect({ status, body }).toMatchObject({ status: 200, body: { state: 'completed', result: { done: true } } });
    }
  });

  it('answers with the run as it is when the time is over', async () => {
    const { api, enqueue } = await serve();
    const startedAt = performance.now();
    const url = await enqueue();
    const { status, body } = await api.call('GET', `${url}?wait=300ms`);
    expect({ status, state: body.state }).toEqual({ status: 200, state: 'waiting' });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(300);
  });

  it('takes whole milliseconds for a time as well, up to a minute', async () => {
    const { api, enqueue } = await serve();
    const url = await enqueue();
    const startedAt = performance.now();
    expect(await api.call('GET', `${url}?wait=200`)).toMatchObject({ status: 200, body: { state: 'waiting' } });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(200);
    for (const wait of ['60001', '1.5', '-1', '0x10', '']) {
      const problems = [{ where: 'wait', got: JSON.stringify(wait) }];
      expectProblem(await api.call('GET', `${url}?wait=${wait}`), 422, 'request-invalid', { problems });
    }
  });

  it('answers at once where the run has ended before, or is none', prompt, async () => {
    const { api, gate, enqueue, work, events } = await serve();
    gate.open();
    await work();
    const url = await enqueue({ payload: { fail: true } });
    await events.next('run.failed');
    await eventually(async () => (await api.call('GET', url)).body.state === 'failed');
    const startedAt = performance.now();
    expect((await api.call('GET', `${url}?wait=20s`)).body).toMatchObject({ state: 'failed', error: 'it was to fail' });
    expectProblem(await api.call('GET', '/v1/jobs/job/runs/none?wait=20s'), 404, 'run-unknown');
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  it('tells of a run that is removed meanwhile that there is none', async () => {
    const { api, enqueue, broker } = await serve();
    const url = await enqueue();
    const waiting = api.call('GET', `${url}?wait=20s`);
    await connectionsOf(broker, (count) => count > 0);
    await api.call('POST', `${url}/cancel`);
    expectProblem(await waiting, 404, 'run-unknown');
  });

  it('tells how a run ended that is forgotten right away', prompt, async () => {
    const { api, enqueue, broker } = await serve();
    const url = await enqueue({}, 'brief');
    const waiting = api.call('GET', `${url}?wait=20s`);
    const key = broker.queue('brief').toKey('events');
    await eventually(async () => (await broker.client.exists(key)) === 1);
    await setTimeout(100); // for the waiter to listen; else it finds no run, and the test is none
    const id = url.split('/').at(-1) as string;
    await broker.client.del(broker.queue('brief').toKey(id));
    await broker.client.xadd(key, '*', 'event', 'completed', 'jobId', id, 'returnvalue', '"gone"', 'prev', 'active');
    expect(await waiting).toMatchObject({ status: 200, body: { state: 'completed', result: 'gone' } });
  });

  it.each(['61s', '-1s', 'long', ''])('refuses a wait of "%s"', async (wait) => {
    const { api, enqueue } = await serve();
    const answer = await api.call('GET', `${await enqueue()}?wait=${wait}`);
    expectProblem(answer, 422, 'request-invalid');
    expect(answer.body.problems).toMatchObject([{ where: 'wait' }]);
  });

  it('ends with the state as it is when the process stops', prompt, async () => {
    const { api, enqueue, broker } = await serve();
    const waiting = api.call('GET', `${await enqueue()}?wait=60s`);
    await connectionsOf(broker, (count) => count > 0);
    const startedAt = performance.now();
    await Promise.all([api.stop(), waiting]);
    expect((await waiting).body.state).toBe('waiting');
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});

describe('GET …/runs/{id}/events', () => {
  it('tells the whole story of a run, and ends with it', async () => {
    const { api, gate, enqueue, work, events } = await serve();
    const stream = await listen(api, await enqueue());
    await stream.next('state');
    await work();
    await stream.next('progress');
    await events.next('run.logged');
    gate.open();

    await stream.ended;

    expect(stream.type).toBe('text/event-stream');
    expect(stream.told.map(({ event, data }) => [event, data.line?.replace(/^\S+ /, '') ?? data])).toEqual([
      ['state', { state: 'waiting' }],
      ['state', { state: 'active' }],
      ['progress', 50],
      ['log', 'info begun'],
      ['log', 'info ended'],
      ['state', { state: 'completed' }],
      ['end', { state: 'completed', result: { done: true }, error: null, code: null, attempts: 1 }],
    ]);
  });

  it('tells of log lines while the run executes, and goes on behind the last that was seen', async () => {
    const { api, gate, enqueue, work } = await serve();
    await work();
    const url = await enqueue({ payload: { fail: true } });
    const first = await listen(api, url);
    const { id } = await first.next('log');
    first.close();
    gate.open();

    const second = await listen(api, url, { 'last-event-id': String(id) });
    await second.ended;

    expect(second.told.filter(({ event }) => event === 'log').map(({ data }) => data.line.slice(-5))).toEqual([
      'ended',
    ]);
    const end = second.told.at(-1);
    expect(end).toMatchObject({ event: 'end', data: { state: 'failed', error: 'it was to fail' } });
    const back = await fetch(`${api.url}${url}/events`, { headers: { ...bearer, 'last-event-id': String(end?.id) } });
    expect(back.status).toBe(204);
  });

  it('ends with the removal of the run', async () => {
    const { api, enqueue } = await serve();
    const url = await enqueue();
    const stream = await listen(api, url);
    await stream.next('state');
    await api.call('POST', `${url}/cancel`);
    await stream.ended;
    expect(stream.told.at(-1)).toMatchObject({ event: 'end', data: { state: 'removed' } });
  });

  it('is refused for a run that is none, and without the scope', async () => {
    const { api, enqueue } = await serve();
    expectProblem(await api.call('GET', '/v1/jobs/job/runs/none/events'), 404, 'run-unknown');
    const url = await enqueue();
    expectProblem(await api.call('GET', `${url}/events`, { key: 'enqueue' }), 403, 'forbidden');
  });

  it('ends in order when the process stops', prompt, async () => {
    const { api, enqueue } = await serve();
    const stream = await listen(api, await enqueue());
    await stream.next('state');
    const startedAt = performance.now();
    await api.stop();
    await stream.ended;
    expect(performance.now() - startedAt).toBeLessThan(6_500);
  });
});

describe('a log that is cut off at its beginning', () => {
  it('is read on from the line that was seen last', async () => {
    const { broker } = await serve();
    const key = broker.queue('job').toKey('x:logs');
    const read = async (mark: string | null) => readLogAfter(broker, 'job', 'x', mark);
    await broker.client.rpush(key, ...Array.from({ length: 8 }, (_, n) => `line ${n}`));
    const mark = (await read(null)).at(-1)?.mark ?? null;
    await broker.client.rpush(key, 'line 8', 'line 9');
    await broker.client.ltrim(key, -5, -1);
    expect((await read(mark)).map(({ line }) => line)).toEqual(['line 8', 'line 9']);
    await broker.client.ltrim(key, -1, -1);
    expect((await read(mark)).map(({ line }) => line)).toEqual(['line 9']);
    expect(await read('nonsense')).toHaveLength(1);
  });
});

describe('watching runs', () => {
  it('takes one connection for all that watch runs of a job, and none when nobody does', async () => {
    const { broker } = await serve();
    const watch = createRunWatch(broker, { keepMs: 50, most: 100 });
    onTestFinished(() => watch.stop());
    const nothing = { onNews: () => {}, onAway: () => {}, onStop: () => {} };
    const all = Array.from({ length: 100 }, (_, n) => watch.watch(n % 2 ? 'job' : 'brief', `${n % 10}`, nothing));
    await Promise.all(all.map(({ ready }) => ready));
    expect(watch.size()).toEqual({ watchers: 100, connections: 2 });
    expect(() => watch.watch('job', '1', nothing)).toThrow('As many wait for runs here as this process allows');

    for (const { leave } of all) leave();
    for (const { leave } of all) leave();
    expect(watch.size().watchers).toBe(0);
    await eventually(() => watch.size().connections === 0);
  });

  it('tells now and then without an event, since one can be lost', async () => {
    const { broker } = await serve();
    const watch = createRunWatch(broker, { lookMs: 20 });
    onTestFinished(() => watch.stop());
    const news: unknown[] = [];
    watch.watch('job', '1', { onNews: (event) => news.push(event), onAway: () => {}, onStop: () => {} });
    await eventually(() => news.length > 1);
    expect(news[0]).toBeNull();
  });
});

describe.skipIf(!hasRedisServer())('on a Redis of its own', () => {
  it('callers that go leave nothing behind', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const { api, enqueue, broker } = await serve({ url: redis.url });
    const url = await enqueue();
    const connections = async () => Number(/connected_clients:(\d+)/.exec(await broker.client.info('clients'))?.[1]);
    const before = await connections();
    const going = new AbortController();
    const waits = Array.from({ length: 30 }, (_, n) =>
      fetch(`${api.url}${url}${n % 3 ? '?wait=60s' : '/events'}`, { headers: bearer, signal: going.signal }).then(
        (response) => response.text(),
      ),
    );
    await eventually(async () => (await connections()) === before + 1);
    going.abort();
    const ends = await Promise.allSettled(waits);
    expect(ends.every(({ status }) => status === 'rejected')).toBe(true);
    await eventually(async () => (await connections()) === before);
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)('who waits is told within 2 s of a %s', prompt, async (signal) => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const { api, enqueue, broker } = await serve({ url: redis.url });
    const url = await enqueue();
    const waiting = api.call('GET', `${url}?wait=60s`);
    const stream = await listen(api, url);
    await stream.next('state');
    await connectionsOf(broker, (count) => count > 0);

    const startedAt = performance.now();
    await redis.kill(signal);
    const answer = await waiting;
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expectProblem(answer, 503, 'redis-unreachable');
    expect(answer.headers.get('retry-after')).toBe('2');
    await stream.ended;
    expect(stream.told.at(-1)).toMatchObject({ event: 'error', data: { code: 'redis-unreachable' } });

    const calls = [
      api.call('GET', `${url}?wait=20s`),
      api.call('GET', `${url}/events`),
      api.call('POST', '/v1/jobs/job/runs/bulk', { json: { runs: [{}] } }),
      api.call('POST', '/v1/jobs/job/runs', { json: {}, headers: { 'idempotency-key': 'k' } }),
      api.call('POST', '/v1/jobs/job/pause'),
      api.call('POST', '/v1/jobs/job/resume'),
    ];
    const askedAt = performance.now();
    for (const answer of await Promise.all(calls)) expectProblem(answer, 503, 'redis-unreachable');
    expect(performance.now() - askedAt).toBeLessThan(2_000);

    await (signal === 'SIGKILL' ? redis.restart() : redis.kill('SIGCONT'));
    const again = await eventually(async () => {
      const url = await enqueue().catch(() => undefined);
      return url !== undefined && url;
    });
    expect((await api.call('GET', `${again}?wait=100ms`)).body.state).toBe('waiting');
    const keyed = { json: {}, headers: { 'idempotency-key': 'k' } };
    await eventually(async () => (await api.call('POST', '/v1/jobs/job/runs', keyed)).status === 202);
  });
});

const bearer = { authorization: `Bearer ${secretOf('admin')}` };

/** Until so many follow the events of runs: a blocked read shows in the list of Redis's clients. */
async function connectionsOf(broker: Gateless['broker'], suits: (count: number) => boolean): Promise<void> {
  await eventually(async () => {
    const { client } = broker;
    const list = 'client' in client ? String(await client.client('LIST')) : '';
    return suits(list.split('\n').filter((line) => /cmd=xread/.test(line)).length);
  });
}

type Gateless = Omit<Awaited<ReturnType<typeof serve>>, keyof Gate>;

interface Told {
  readonly event: string;
  readonly id: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: what came is what the test is about
  readonly data: any;
}

async function listen(api: Api, url: string, headers: Record<string, string> = {}) {
  const closing = new AbortController();
  const response = await fetch(`${api.url}${url}/events`, {
    headers: { ...bearer, ...headers },
    signal: closing.signal,
  });
  expect(response.status).toBe(200);
  const told: Told[] = [];
  const read = async () => {
    for await (const { event, id, data } of sentEvents(response)) {
      if (event && data) told.push({ event, id, data: JSON.parse(data) });
    }
  };
  const ended = read().catch(() => {});
  return {
    type: response.headers.get('content-type'),
    told,
    ended,
    close: () => closing.abort(),
    next: (wanted: string) => eventually(() => told.find(({ event }) => event === wanted)),
  };
}
