import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';
import { type Api, expectProblem } from '../support/http.js';
import { prompt } from '../support/prompt.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

const job = defineJob({ name: 'job', payload: z.unknown(), run: () => 'done' });
const other = defineJob({ name: 'other', run: () => 'done' });

/** Both ways in which Redis goes: the connection is refused, or nobody answers on it. */
const ways = [
  { way: 'killed', go: 'SIGKILL', reason: 'no connection to it', comeBack: (redis: Redis) => redis.restart() },
  {
    way: 'frozen',
    go: 'SIGSTOP',
    reason: /no answer within 1000 ms/,
    comeBack: (redis: Redis) => redis.kill('SIGCONT'),
  },
] as const;

type Redis = Awaited<ReturnType<typeof startRedis>>;

describe.skipIf(!hasRedisServer()).each(ways)('while Redis is $way', ({ go, reason, comeBack }) => {
  it('an enqueue is answered with 503 and Retry-After within 2 s, and works by itself afterwards', prompt, async () => {
    const { redis, api, enqueue } = await serveOnOwnRedis();
    expect((await enqueue()).status).toBe(202);

    await redis.kill(go);
    for (let turn = 0; turn < 3; turn++) expectAway(await timed(() => enqueue()));
    expectAway(await timed(() => api.call('GET', '/v1/jobs/job/runs')));
    expectAway(await timed(() => api.call('GET', '/v1/jobs/job/runs/1')));
    const reads = ['schedules', 'service', 'plan', 'doctor', 'audit'].map((of) =>
      timed(() => api.call('GET', `/v1/${of}`)),
    );
    const range = { from: '2026-11-01', to: '2026-11-02' };
    const changes = [timed(() => api.call('POST', '/v1/schedules/own/backfill', { json: range }))];
    for (const path of ['plan/apply', 'doctor/fix']) changes.push(timed(() => api.call('POST', `/v1/${path}`)));
    for (const asked of await Promise.all([...reads, ...changes])) expectAway(asked);
    const pages = ['/schedules', '/day'].map((path) => timed(() => api.call('GET', path)));
    for (const { answer, tookMs } of await Promise.all(pages))
      expect([answer.status, tookMs < 2_000]).toEqual([503, true]);

    await comeBack(redis);
    await eventually(async () => (await enqueue()).status === 202);
  });

  it('what needs no Redis is answered as ever', async () => {
    const { redis, api, enqueue } = await serveOnOwnRedis();
    await redis.kill(go);
    expect((await api.call('GET', '/v1/jobs')).status).toBe(200);
    expect((await api.call('GET', '/v1/jobs/job')).status).toBe(200);
    expectProblem(await enqueue('jb'), 404, 'job-unknown');
    expectProblem(await enqueue('job', { at: 'never' }), 422, 'request-invalid');
    await comeBack(redis);
  });

  it('readyz says why it is not ready, and livez goes on', prompt, async () => {
    const { redis, api } = await serveOnOwnRedis();
    const ready = () => api.call('GET', '/readyz', { key: null });
    const before = await ready();
    expect(before).toMatchObject({ status: 200, body: { parts: { redis: { status: 'ready', address: redis.url } } } });

    await redis.kill(go);
    const { answer, tookMs } = await timed(ready);
    expect(answer.status).toBe(503);
    expect(answer.body).toEqual({
      status: 'unready',
      parts: {
        redis: {
          ...{ status: 'unready', reason: expect.stringMatching(reason) },
          ...{ since: expect.any(String), address: redis.url },
        },
      },
    });
    const { since } = answer.body.parts.redis;
    expect(Date.parse(since)).toBeGreaterThanOrEqual(Date.parse(before.body.parts.redis.since));
    expect((await ready()).body.parts.redis.since, 'since it went').toBe(since);
    expect(tookMs).toBeLessThan(2_000);
    expect((await api.call('GET', '/livez', { key: null })).status).toBe(200);

    await comeBack(redis);
    await eventually(async () => (await ready()).status === 200);
    expect(Date.parse((await ready()).body.parts.redis.since)).toBeGreaterThan(Date.parse(since));
  });

  it('the board says so too, and comes back', prompt, async () => {
    const { redis, api } = await serveOnOwnRedis();
    const queues = () => api.call('GET', '/board/api/queues');
    expect((await queues()).status).toBe(200);

    await redis.kill(go);
    expect((await api.call('GET', '/board')).status).toBe(200);
    const away = await timed(queues);
    expectAway(away);
    // What Bull Board shows.
    expect(away.answer.body).toMatchObject({ error: 'Redis cannot be used', message: away.answer.body.detail });

    await comeBack(redis);
    await eventually(async () => (await queues()).status === 200);
  });

  it('the API stops in order all the same', prompt, async () => {
    const { redis, stop } = await serveOnOwnRedis();
    await redis.kill(go);
    const { tookMs } = await timed(stop);
    expect(tookMs).toBeLessThan(3_000);
    await comeBack(redis);
  });
});

describe.skipIf(!hasRedisServer())('a queue that is first used as Redis goes', () => {
  it('works when it is back', async () => {
    const { redis, broker } = await serveOnOwnRedis();
    await redis.kill('SIGSTOP');
    const late = defineJob({ name: 'late', run: () => null });
    const first = enqueue(broker, late, {}).catch((error: Error) => error);
    await redis.kill('SIGKILL'); // with the queue's first command on its way

    expect(await first).toBeInstanceOf(Error);
    await redis.restart();
    await eventually(() => broker.client.status === 'ready');
    const id = await enqueue(broker, late, {});
    expect(await findRun(broker, late, id)).toMatchObject({ state: 'waiting' });
  });
});

describe.skipIf(!hasRedisServer())('a bulk that Redis dies under', () => {
  it('is answered with 503, and completed by who asks again', async () => {
    const { redis, broker, events, api } = await serveOnOwnRedis();
    const runs = Array.from({ length: 5_000 }, (_, n) => ({ payload: n }));
    const send = (key: string) =>
      api.call('POST', '/v1/jobs/job/runs/bulk', { json: { runs }, headers: { 'idempotency-key': key } });
    for (const key of ['a', 'b', 'c']) {
      const queue = broker.queue('job');
      const before = await queue.getWaitingCount();
      const answer = send(key);
      await eventually(async () => (await queue.getWaitingCount()) > before);
      await redis.kill('SIGKILL');
      expectProblem(await answer, 503, 'redis-unreachable');

      await redis.restart();
      await eventually(() => broker.client.status === 'ready');
      await eventually(async () => (await send(key)).status === 202);
      expect(await queue.getWaitingCount()).toBe(before + 5_000);
    }
    expect(events.of('http.failed')).toEqual([]);
  });
});

describe.skipIf(!hasRedisServer())('a run that was answered with 202', () => {
  it('is there after a kill -9 of Redis right behind the answer', async () => {
    const { redis, broker, enqueue } = await serveOnOwnRedis();
    for (let turn = 0; turn < 3; turn++) {
      const answered: string[] = [];
      const refused: unknown[] = [];
      let killed = false;
      // Killed in the midst of them: what is answered is kept, and what is not is refused.
      const callers = Array.from({ length: 20 }, async () => {
        while (!killed) {
          const { status, body } = await enqueue();
          if (status === 202) answered.push(body.id);
          else refused.push({ status, body });
        }
      });
      await eventually(() => answered.length >= 100);
      await redis.kill('SIGKILL');
      killed = true;
      await Promise.all(callers);

      await redis.restart();
      await eventually(() => broker.client.status === 'ready');
      expect(answered.length).toBeGreaterThanOrEqual(100);
      for (const id of answered) expect(await findRun(broker, job, id)).toMatchObject({ id, state: 'waiting' });
      expect(refused.every((it) => (it as { status: number }).status === 503)).toBe(true);
      await eventually(async () => (await enqueue()).status === 202);
    }
  });
});

async function serveOnOwnRedis() {
  const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
  onTestFinished(() => redis.stop());
  const parts = await fixture([job, other], { url: redis.url });
  const api: Api = await parts.serve();
  const enqueue = (name = 'job', json: object = {}) => api.call('POST', `/v1/jobs/${name}/runs`, { json });
  return { ...parts, redis, api, enqueue, stop: () => api.stop() };
}

async function timed<Answer>(work: () => Promise<Answer>): Promise<{ answer: Answer; tookMs: number }> {
  const startedAt = performance.now();
  const answer = await work();
  return { answer, tookMs: performance.now() - startedAt };
}

function expectAway({ answer, tookMs }: Awaited<ReturnType<typeof timed<Awaited<ReturnType<Api['call']>>>>>): void {
  expectProblem(answer, 503, 'redis-unreachable', { detail: expect.stringMatching(/\w/) });
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(tookMs).toBeLessThan(2_000);
}
