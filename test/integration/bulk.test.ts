import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { expectProblem } from '../support/http.js';

const mail = defineJob({ name: 'mail', payload: z.object({ to: z.string(), n: z.int().optional() }), run: () => {} });
const bounded = defineJob({ name: 'bounded', maxWaiting: 5, run: () => {} });
const resting = defineJob({ name: 'resting', enabled: false, run: () => {} });

async function serve() {
  const parts = await fixture([mail, bounded, resting]);
  const api = await parts.serve();
  const bulk = (runs: unknown, job = 'mail') =>
    api.call('POST', `/v1/jobs/${job}/runs/bulk`, { key: 'enqueue', json: { runs } });
  const enqueue = (json: object) => api.call('POST', '/v1/jobs/mail/runs', { key: 'enqueue', json });
  const count = async (job = 'mail') =>
    Object.values(await parts.broker.queue(job).getJobCounts()).reduce((sum, some) => sum + some, 0);
  return { ...parts, api, bulk, enqueue, count };
}

const to = (n: number) => ({ payload: { to: 'ada', n } });

describe('POST /v1/jobs/{job}/runs/bulk', () => {
  it('enqueues 5,000 runs, and answers their ids in order', async () => {
    const { bulk, count, broker } = await serve();

    const answer = await bulk(Array.from({ length: 5_000 }, (_, n) => to(n)));

    expect(answer.status).toBe(202);
    expect(answer.body.job).toBe('mail');
    const ids: string[] = answer.body.runs.map(({ id }: { id: string }) => id);
    expect(new Set(ids).size).toBe(5_000);
    expect(await count()).toBe(5_000);
    for (const n of [0, 999, 1_000, 4_999]) {
      expect((await broker.queue('mail').getJob(String(ids[n])))?.data).toEqual({ to: 'ada', n });
    }
  });

  it('takes for each run what an enqueue takes', async () => {
    const { bulk, broker } = await serve();
    const at = new Date(Date.now() + 3_600_000).toISOString();

    const { body } = await bulk([
      { ...to(0), delay: '1h', attempts: 7 },
      { ...to(1), at },
      { ...to(2), priority: 4, expiresIn: '5m' },
    ]);

    const options = await Promise.all(
      body.runs.map(async ({ id }: { id: string }) => (await broker.queue('mail').getJob(id))?.opts),
    );
    expect(options[0]).toMatchObject({ delay: 3_600_000, attempts: 7 });
    expect(Math.abs(options[1].delay - 3_600_000)).toBeLessThan(60_000);
    expect(options[2]).toMatchObject({ priority: 4, expiresIn: 300_000 });
  });

  it('enqueues nothing where any run is refused, and names each with what is wrong with it', async () => {
    const { bulk, count } = await serve();

    const answer = await bulk([
      to(0),
      { payload: { to: 7 } },
      { ...to(2), dealy: '5m' },
      { payload: { n: 1.5 }, delay: 'soon' },
      'not a run',
      { ...to(5), at: '2999-01-01T00:00:00Z', delay: 5 },
    ]);

    expectProblem(answer, 422, 'request-invalid', { detail: '5 of 6 runs are refused, and so none is enqueued' });
    const said = answer.body.problems.map(({ where, got }: { where: string; got: string }) => `${where} ${got}`);
    expect(said.sort()).toEqual([
      'runs[1].payload.to 7',
      'runs[2].dealy "5m"',
      'runs[3].delay "soon"',
      'runs[3].payload.n 1.5',
      'runs[3].payload.to nothing',
      'runs[4] "not a run"',
      'runs[5].at "2999-01-01T00:00:00Z"',
    ]);
    expect(await count()).toBe(0);
  });

  it('refuses a payload, or a time beyond a year, where all else is right', async () => {
    const { bulk, count } = await serve();
    const wrong = await bulk([to(0), { payload: {} }, { ...to(2), at: '2999-01-01T00:00:00Z' }]);
    expectProblem(wrong, 422, 'request-invalid');
    expect(wrong.body.problems.map(({ where }: { where: string }) => where)).toEqual([
      'runs[1].payload.to',
      'runs[2].at',
    ]);
    expectProblem(await bulk([to(0), { payload: {} }]), 422, 'request-invalid', {
      detail: '1 of 2 runs are refused, and so none is enqueued',
    });
    expect(await count()).toBe(0);
  });

  it.each([
    ['no runs', undefined, 'runs'],
    ['none', [], 'runs'],
    ['no list', 'all', 'runs'],
    ['more than 5,000', Array.from({ length: 5_001 }, () => ({})), 'runs'],
  ])('refuses %s', async (_what, runs, where) => {
    const { bulk, count } = await serve();
    const answer = await bulk(runs);
    expectProblem(answer, 422, 'request-invalid');
    expect(answer.body.problems[0].where).toBe(where);
    expect(await count()).toBe(0);
  });

  it('refuses millions at a glance', async () => {
    const { api } = await serve();
    const call = (body: string) =>
      api.call('POST', '/v1/jobs/mail/runs/bulk', { body, headers: { 'content-type': 'application/json' } });
    const answer = await call(`{"runs":[${Array(5_000_000).fill('0').join()}]}`);
    const problems = [{ where: 'runs', expected: 'at most 5000 items', got: '5000000 items' }];
    expectProblem(answer, 422, 'request-invalid', { problems });
    const keys = Array.from({ length: 100_000 }, (_, n) => `"k${n}":0`);
    const unknown = await call(`{"runs":[{}],${keys.join()}}`);
    expectProblem(unknown, 422, 'request-invalid');
    expect(unknown.body.problems.length).toBeLessThan(110);
  });

  it('names each of 5,000 that are refused, however much is wrong with it', async () => {
    const { bulk, count } = await serve();
    const wrong = Object.fromEntries(Array.from({ length: 150 }, (_, n) => [`k${n}`, 0]));

    const answer = await bulk(Array.from({ length: 5_000 }, () => ({ payload: {}, ...wrong })));

    const detail = '5000 of 5000 runs are refused, and so none is enqueued';
    expectProblem(answer, 422, 'request-invalid', { detail });
    const { problems } = answer.body;
    expect(problems).toHaveLength(5_001);
    const named = problems.slice(0, 5_000).map(({ where }: { where: string }) => where.replace(/\..*$/, ''));
    expect(named).toEqual(Array.from({ length: 5_000 }, (_, index) => `runs[${index}]`));
    expect(problems[5_000]).toMatchObject({ where: 'the rest', got: 'more in these runs' });
    expect(await count()).toBe(0);
  });

  it('lets all in or none, where the job bounds what waits', async () => {
    const { bulk, count } = await serve();
    expect((await bulk([{}, {}, {}, { delay: '1h' }], 'bounded')).status).toBe(202);

    const answer = await bulk([{}, {}, {}], 'bounded');

    expectProblem(answer, 429, 'queue-full', { detail: 'bounded: 3 of 5, and 3 more are to' });
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(await count('bounded')).toBe(4);
    expect((await bulk([{}, {}], 'bounded')).status).toBe(202);
  });

  it('counts against the bound what is to wait: neither what debounces, nor what another of the bulk stands for', async () => {
    const { bulk, count } = await serve();
    const debounced = (n: number) => ({ deduplicate: { key: `k${n}`, ttl: '1h', mode: 'debounce' } });
    expect((await bulk([0, 1, 2, 3, 4, 5, 6].map(debounced), 'bounded')).status).toBe(202);
    const throttled = { deduplicate: { key: 'k' } };
    expect((await bulk([{}, {}, {}, {}, throttled, throttled], 'bounded')).status).toBe(202);
    expect(await count('bounded')).toBe(12);
  });

  it('refuses for good what never fits', async () => {
    const { bulk, count } = await serve();
    const answer = await bulk([{}, {}, {}, {}, {}, {}, { delay: '1h' }], 'bounded');
    const problems = [{ where: 'runs', expected: 'at most 5 that are to start now, as many as may wait', got: '6' }];
    expectProblem(answer, 422, 'request-invalid', { problems });
    expect(answer.headers.get('retry-after')).toBeNull();
    expect(await count('bounded')).toBe(0);
  });

  it('is refused as an enqueue is: without the scope, for a disabled job, for none', async () => {
    const { bulk, api } = await serve();
    const call = { key: 'read', json: { runs: [{}] } };
    expectProblem(await api.call('POST', '/v1/jobs/mail/runs/bulk', call), 403, 'forbidden');
    expectProblem(await bulk([{}], 'resting'), 409, 'job-disabled');
    expectProblem(await bulk([{}], 'mial'), 404, 'job-unknown');
  });

  it('takes 10 MiB, and says so of more', async () => {
    const { api, count } = await serve();
    const send = (bytes: number) => {
      const body = JSON.stringify({ runs: [{ payload: { to: 'x'.repeat(bytes) } }] });
      const headers = { 'content-type': 'application/json' };
      return api.call('POST', '/v1/jobs/mail/runs/bulk', { key: 'enqueue', body, headers });
    };
    expect((await send(9 * 2 ** 20)).status).toBe(202);
    expectProblem(await send(10 * 2 ** 20), 413, 'body-too-large', { detail: 'at most 10 MiB' });
    expect(await count()).toBe(1);
  });
});

describe('deduplicate', () => {
  it('throttles: the first run of a key stands for the others, until it has ended', async () => {
    const { api, enqueue, work, events, count } = await serve();
    const deduplicate = { key: 'invoice-7' };
    const first = (await enqueue({ ...to(1), deduplicate })).body;
    const second = await enqueue({ ...to(2), deduplicate });

    expect(first).toEqual({ id: first.id, job: 'mail', url: first.url });
    expect(second).toMatchObject({ status: 202, body: { ...first, deduplicated: true } });
    expect((await enqueue({ ...to(3), deduplicate: { key: 'invoice-8' } })).body.deduplicated).toBeUndefined();
    expect(await count()).toBe(2);
    expect((await api.call('GET', first.url)).body.payload).toEqual({ to: 'ada', n: 1 });

    await work();
    await events.next('run.succeeded', ({ run }) => run === first.id);
    await eventually(async () => (await enqueue({ ...to(4), deduplicate })).body.deduplicated === undefined);
  });

  it('throttles for a time, though the run has ended', async () => {
    const { enqueue, work, events } = await serve();
    const deduplicate = { key: 'k', ttl: '1h' };
    const { id } = (await enqueue({ ...to(1), deduplicate })).body;
    await work();
    await events.next('run.succeeded', ({ run }) => run === id);
    expect((await enqueue({ ...to(2), deduplicate })).body).toMatchObject({ id, deduplicated: true });
  });

  it('debounces: the last payload wins, and the time begins anew', async () => {
    const { api, enqueue, count } = await serve();
    const deduplicate = { key: 'k', ttl: '1h', mode: 'debounce' };
    const first = (await enqueue({ ...to(1), deduplicate })).body;
    const second = (await enqueue({ ...to(2), deduplicate })).body;

    expect(await count()).toBe(1);
    expect(second.deduplicated).toBeUndefined();
    const { body } = await api.call('GET', second.url);
    expect(body).toMatchObject({ state: 'delayed', payload: { n: 2 } });
    expect(Date.parse(body.dueAt) - Date.parse(body.enqueuedAt)).toBe(3_600_000);
    expectProblem(await api.call('GET', first.url), 404, 'run-unknown');
  });

  it('debounces without losing a payload to a run that has begun, or waits for a worker', async () => {
    const gate = createGate();
    const held = defineJob({ name: 'mail', payload: z.unknown(), concurrency: 1, run: () => gate.opened });
    const { serve: listen, broker, events, work } = await fixture([held]);
    const api = await listen();
    const enqueue = (n: number) =>
      api.call('POST', '/v1/jobs/mail/runs', {
        json: { payload: n, deduplicate: { key: 'k', ttl: '1h', mode: 'debounce' } },
      });
    const first = (await enqueue(1)).body.id;
    await (await broker.queue('mail').getJob(first))?.promote();
    const second = (await enqueue(2)).body.id; // the first waits
    await work();
    await events.next('run.started', ({ run }) => run === first);
    await (await broker.queue('mail').getJob(second))?.promote();
    const third = (await enqueue(3)).body;
    gate.open();

    await events.next('run.succeeded', ({ run }) => run === second);
    expect(third.deduplicated).toBeUndefined();
    expect(await broker.queue('mail').getJobState(third.id)).toBe('delayed');
    expect(new Set([first, second, third.id]).size).toBe(3);
  });

  it('holds within a bulk and across two', async () => {
    const { bulk, count } = await serve();
    const run = (n: number) => ({ ...to(n), deduplicate: { key: 'k' } });
    const { runs } = (await bulk([run(1), run(2), to(3)])).body;
    expect(runs).toEqual([{ id: runs[0].id }, { id: runs[0].id, deduplicated: true }, { id: runs[2].id }]);
    expect((await bulk([run(4)])).body.runs).toEqual([{ id: runs[0].id, deduplicated: true }]);
    expect(await count()).toBe(2);
  });

  it.each([
    ['without a key', {}, 'deduplicate.key'],
    ['with an empty key', { key: '' }, 'deduplicate.key'],
    ['with a line break in the key', { key: 'a\nb' }, 'deduplicate.key'],
    ['with a mode that there is not', { key: 'k', mode: 'bounce' }, 'deduplicate.mode'],
    ['with no time to wait', { key: 'k', mode: 'debounce' }, 'deduplicate.ttl'],
    ['with a time that is none', { key: 'k', ttl: 0 }, 'deduplicate.ttl'],
  ])('is refused %s', async (_what, deduplicate, where) => {
    const { enqueue } = await serve();
    const answer = await enqueue({ ...to(1), deduplicate });
    expectProblem(answer, 422, 'request-invalid');
    expect(answer.body.problems.map((it: { where: string }) => it.where)).toEqual([where]);
  });

  it('is refused with a delay of its own, where it debounces', async () => {
    const { enqueue } = await serve();
    const deduplicate = { key: 'k', ttl: '1m', mode: 'debounce' };
    expectProblem(await enqueue({ ...to(1), delay: '1m', deduplicate }), 422, 'request-invalid', {
      problems: [{ where: 'delay', expected: 'none beside mode "debounce", whose ttl is the delay', got: '"1m"' }],
    });
  });
});
