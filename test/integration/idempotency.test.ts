import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueueBulk, type Ticket } from '../../src/producers/enqueue.js';
import { findRun } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';
import { type Answer, apiKey, callsTo, expectProblem, secretOf } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { diesAtAdd } from '../support/preloads.js';
import { startProgram } from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

const once = { retention: { completed: { age: '1h', count: 1 } } } as const;
const mail = defineJob({ name: 'mail', payload: z.object({ to: z.string() }).loose(), ...once, run: () => {} });
const full = defineJob({ name: 'full', maxWaiting: 1, run: () => {} });

async function serve() {
  const parts = await fixture([mail, full]);
  const api = await parts.serve();
  const send = (key: string, json: object, path = 'mail/runs', as = 'enqueue', to = api) =>
    to.call('POST', `/v1/jobs/${path}`, { key: as, json, headers: { 'idempotency-key': key } });
  const count = (job = 'mail') => parts.broker.queue(job).getJobCountByTypes();
  return { ...parts, api, send, count };
}

const ada = { payload: { to: 'ada' } };

function expectReplay(answer: Answer, first: Answer): void {
  const seen = (it: Answer) => ({ status: it.status, body: it.body, location: it.headers.get('location') });
  expect(seen(answer)).toEqual(seen(first));
  expect(answer.headers.get('content-type')).toBe(first.headers.get('content-type'));
  expect(answer.headers.get('idempotent-replayed')).toBe('true');
}

describe('a request with an Idempotency-Key', () => {
  it('is answered once more as before, by another api process too, and enqueues nothing', async () => {
    const { send, count, serve: another, api } = await serve();
    const first = await send('key', ada);
    expect(first.status).toBe(202);
    expect(first.headers.get('idempotent-replayed')).toBeNull();

    expectReplay(await send('key', ada), first);
    await api.stop();
    expectReplay(await send('key', ada, undefined, undefined, await another()), first);
    expect(await count()).toBe(1);
  });

  it('is answered so though its run has ended and is forgotten', async () => {
    const { send, count, work, events, broker } = await serve();
    const first = await send('key', ada);
    await work();
    for (let n = 0; n < 3; n++) await send(`other-${n}`, ada);
    await eventually(() => events.of('run.succeeded').length === 4);
    expect(await broker.queue('mail').getJob(first.body.id)).toBeUndefined();

    expectReplay(await send('key', ada), first);
    expect(await count()).toBe(1);
  });

  it('enqueues one run however many come at once, from two processes', async () => {
    const { send, count, serve: another, api } = await serve();
    const other = await another();

    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) => send('key', ada, undefined, undefined, n % 2 === 0 ? api : other)),
    );

    expect(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1);
    expect(answers[0]?.status).toBe(202);
    expect(answers.filter(({ headers }) => !headers.has('idempotent-replayed'))).toHaveLength(1);
    expect(await count()).toBe(1);
  });

  it('holds for a bulk, long answer included', async () => {
    const { send, count } = await serve();
    const bulk = { runs: Array.from({ length: 1_500 }, () => ada) };
    const first = await send('key', bulk, 'mail/runs/bulk');
    expect(first.body.runs).toHaveLength(1_500);
    expectReplay(await send('key', bulk, 'mail/runs/bulk'), first);
    expect(await count()).toBe(1_500);
  });

  it('is refused where the key stands for another: payload, address, or options', async () => {
    const { send, count } = await serve();
    await send('key', ada);
    expectProblem(await send('key', { payload: { to: 'bob' } }), 422, 'idempotency-mismatch', { detail: '"key"' });
    expectProblem(await send('key', { ...ada, delay: '5m' }), 422, 'idempotency-mismatch');
    expectProblem(await send('key', { runs: [ada] }, 'mail/runs/bulk'), 422, 'idempotency-mismatch');
    expect(await count()).toBe(1);
  });

  it('leaves the keys of another caller alone', async () => {
    const { send, count } = await serve();
    const first = await send('key', ada);
    const second = await send('key', ada, undefined, 'admin');
    expect(second.status).toBe(202);
    expect(second.body.id).not.toBe(first.body.id);
    expect(await count()).toBe(2);
  });

  it('may come again with what is right, or when there is room', async () => {
    const { send, count, broker, work, events } = await serve();
    expectProblem(await send('key', { payload: {} }), 422, 'payload-invalid');
    expect((await send('key', ada)).status).toBe(202);

    await broker.queue('full').add('full', {});
    for (let turn = 0; turn < 2; turn++) expectProblem(await send('room', {}, 'full/runs'), 429, 'queue-full');
    await work();
    await events.next('run.succeeded', ({ job }) => job === 'full');
    expect((await send('room', {}, 'full/runs')).status).toBe(202);
    expect(await count()).toBe(1);
  });

  it('keeps to what its run is a duplicate of', async () => {
    const { send, count } = await serve();
    const json = { ...ada, deduplicate: { key: 'k' } };
    const first = await send('a', json);
    const second = await send('b', json);
    expect(second.body).toMatchObject({ id: first.body.id, deduplicated: true });
    expectReplay(await send('b', json), second);
    expect(await count()).toBe(1);
  });

  it.each([
    ['', 'empty'],
    ['two words', 'with a space'],
    ['x'.repeat(256), 'too long'],
    ['schlüssel', 'beyond ASCII'],
  ])('is refused with the key "%.10s": %s', async (key) => {
    const { send, count } = await serve();
    const answer = await send(key, ada);
    expectProblem(answer, 422, 'request-invalid');
    expect(answer.body.problems).toMatchObject([{ where: 'Idempotency-Key' }]);
    expect(await count()).toBe(0);
  });

  it('takes a key of 255 characters, and 24 h later begins anew', async () => {
    const { send, broker, prefix } = await serve();
    await send('x'.repeat(255), ada);
    const [record] = await broker.client.keys(`{${prefix}}:idempotency:*`);
    const left = await broker.client.pttl(String(record));
    expect(left).toBeGreaterThan(86_300_000);
    expect(left).toBeLessThanOrEqual(86_400_000);
  });

  it('is told with 409 to come again while somebody is at it, and takes it over from the dead', async () => {
    const { send, broker, prefix, count } = await serve();
    const first = await send('key', ada);
    const [record] = await broker.client.keys(`{${prefix}}:idempotency:*`);
    await broker.client.hdel(String(record), 'answer');
    await broker.client.hset(String(record), 'until', String(Date.now() + 3_600_000));

    const busy = await send('key', ada);
    expectProblem(busy, 409, 'idempotency-in-progress');
    expect(busy.headers.get('retry-after')).toBe('2');

    await broker.client.hset(String(record), 'until', String(Date.now() - 1));
    const again = await send('key', ada);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotent-replayed')).toBeNull();
    expect(await count()).toBe(1);
  });
});

describe('a request that nobody knows the end of', () => {
  /** As it stands where Redis went away before the answer was kept, and who was at it has been given up. */
  async function leaveOpen({ broker, prefix }: Awaited<ReturnType<typeof serve>>): Promise<void> {
    const [record] = await broker.client.keys(`{${prefix}}:idempotency:*`);
    await broker.client.hdel(String(record), 'answer');
    await broker.client.hset(String(record), 'until', String(Date.now() - 1));
  }

  /** As it stands where Redis never had the run. */
  async function lose({ broker }: Awaited<ReturnType<typeof serve>>, id: string): Promise<void> {
    await (await broker.queue('full').getJob(id))?.remove();
    await broker.client.del(broker.queue('full').toKey(`de:${id}`));
  }

  it.each([
    ['full/runs', {}],
    ['full/runs/bulk', { runs: [{ delay: '1h' }, {}] }],
  ])('is held to the bound of the job where it had added nothing: %s', async (path, json) => {
    const parts = await serve();
    const { send, broker, count } = parts;
    const { body } = await send('key', json, path);
    for (const { id } of body.runs ?? [body]) await lose(parts, id);
    await leaveOpen(parts);
    const other = await broker.queue('full').add('full', {});

    expectProblem(await send('key', json, path), 429, 'queue-full');
    expect(await count('full')).toBe(1);

    await other.remove();
    await leaveOpen(parts);
    expect((await send('key', json, path)).body).toEqual(body);
  });

  it.each([
    ['full/runs', {}],
    ['full/runs', { deduplicate: { key: 'k' } }],
    ['full/runs/bulk', { runs: [{ delay: '1h' }, {}] }],
  ])('goes on beyond the bound where it had added some: %s %j', async (path, json) => {
    const parts = await serve();
    const { send, broker } = parts;
    const { body } = await send('key', json, path);
    if (body.runs) await lose(parts, body.runs[1].id);
    await leaveOpen(parts);
    await broker.queue('full').add('full', {});

    expect(await send('key', json, path)).toMatchObject({ status: 202, body });
  });
});

it.each([
  ['whose schema takes it no more', [defineJob({ name: 'mail', payload: z.object({ to: z.int() }), run: () => {} })]],
  ['that has switched the job off', [defineJob({ name: 'mail', off: 'for now', run: () => {} })]],
  ['that does not know the job', [full]],
])('what was answered is answered again by a release %s', async (_which, jobs) => {
  const { send, serve: another, count } = await serve();
  const next = await another({ jobs });
  for (const [key, json, path] of [
    ['one', ada, 'mail/runs'],
    ['many', { runs: [ada] }, 'mail/runs/bulk'],
  ] as const) {
    const first = await send(key, json, path);
    expect(first.status).toBe(202);
    expectReplay(await send(key, json, path, undefined, next), first);
    expect((await send(`${key}-new`, json, path, undefined, next)).status).toBeGreaterThan(400);
  }
  expect(await count()).toBe(2);
});

it('a bulk that died half-way is completed, though what it had added has run and is forgotten', async () => {
  const ran: string[] = [];
  const job = defineJob({ name: 'mail', payload: z.unknown(), ...once, run: ({ run }) => void ran.push(run.id) });
  const { broker, work, events } = await fixture([job]);
  const ticket = (again: boolean): Ticket => ({ idOf: (index) => `idem:abc:${index}`, again });
  const items = Array.from({ length: 6 }, () => ({ payload: { to: 'ada' }, options: {} }));
  await enqueueBulk(broker, job, items.slice(0, 4), { ticket: ticket(false) });
  await work();
  await eventually(() => events.of('run.succeeded').length === 4);
  expect(await broker.queue('mail').getJobCountByTypes()).toBe(1);

  const enqueued = await enqueueBulk(broker, job, items, { ticket: ticket(true) });

  expect(enqueued.map(({ id }) => id)).toEqual(items.map((_, index) => `idem:abc:${index}`));
  await eventually(() => events.of('run.succeeded').length === 6);
  expect(ran.sort()).toEqual(enqueued.map(({ id }) => id));
});

describe('an api process that is killed with SIGKILL', () => {
  it.each(['before', 'after'] as const)('%s it has added the run neither loses nor doubles it', async (point) => {
    const { serve: another, prefix, broker, work, events } = await fixture([mail]);
    const source = `export default [defineJob({ name: 'mail', payload: z.object({ to: z.string() }), run: () => {} })];`;
    const program = startProgram(['api'], {
      env: {
        ...diesAtAdd(point),
        RONDO_PREFIX: prefix,
        PORT: '0',
        RONDO_API_KEYS: `enqueue:${secretOf('enqueue')}:enqueue`,
        RONDO_JOBS: writeJobs(source),
      },
    });
    const { msg = '' } = await program.line(({ msg }) => msg?.startsWith('the board is at ') === true);
    const call = { key: 'enqueue', json: ada, headers: { 'idempotency-key': randomUUID() } };
    const dying = callsTo(msg.replace(/^the board is at (.*)\/board$/, '$1'));
    await expect(dying.call('POST', '/v1/jobs/mail/runs', call)).rejects.toThrow();
    expect((await program.exit).signal).toBe('SIGKILL');
    expect(await broker.queue('mail').getJobCountByTypes()).toBe(point === 'before' ? 0 : 1);
    // The run that was added has ended before anybody asks again, and is forgotten.
    await work();
    if (point === 'after') await eventually(() => events.of('run.succeeded').length === 1);
    await broker.queue('mail').add('mail', ada.payload, { removeOnComplete: { count: 1 } });
    await eventually(() => events.of('run.succeeded').length === (point === 'before' ? 1 : 2));

    const api = await another({ keys: [apiKey('enqueue', ['enqueue'])] });
    const answer = await eventually(async () => {
      const found = await api.call('POST', '/v1/jobs/mail/runs', call);
      return found.status !== 409 && found;
    });

    expect(answer.status).toBe(202);
    await events.next('run.succeeded', ({ run }) => run === answer.body.id);
    expect((await api.call('POST', '/v1/jobs/mail/runs', call)).body).toEqual(answer.body);
    expect(await broker.queue('mail').getJobCountByTypes('wait', 'active', 'delayed')).toBe(0);
    expect(events.of('run.succeeded').filter(({ run }) => run === answer.body.id)).toHaveLength(1);
  });
});

describe.skipIf(!hasRedisServer())('Redis with AOF always', () => {
  it('has each run that was answered once after a kill -9, and each that was not once it is asked for again', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    onTestFinished(() => redis.stop());
    const { serve: listen, broker } = await fixture([mail], { url: redis.url });
    const api = await listen();
    const send = (key: string) =>
      api.call('POST', '/v1/jobs/mail/runs', { json: ada, headers: { 'idempotency-key': key } });
    const answers = new Map<string, string>();
    const refused = new Set<string>();
    const callers = Array.from({ length: 10 }, async (_, caller) => {
      for (let n = 0; ; n++) {
        const key = `${caller}-${n}`;
        const { status, body } = await send(key);
        if (status !== 202) return void refused.add(key);
        answers.set(key, body.id);
        if (answers.size === 100) await redis.kill('SIGKILL');
      }
    });
    await Promise.all(callers);
    await redis.restart();
    await eventually(() => broker.client.status === 'ready');

    for (const id of answers.values()) expect(await findRun(broker, mail, id)).toMatchObject({ id });
    for (const key of refused) {
      const answer = await eventually(async () => {
        const found = await send(key);
        return found.status === 202 && found;
      });
      answers.set(key, answer.body.id);
    }
    for (const [key, id] of answers) expect((await send(key)).body.id).toBe(id);
    expect(new Set(answers.values()).size).toBe(answers.size);
    expect(await broker.queue('mail').getJobCountByTypes()).toBe(answers.size);
  });
});
