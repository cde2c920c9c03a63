import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { NonRetryableError } from '../../src/errors.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue, enqueueBulk } from '../../src/producers/enqueue.js';
import { pageOfRuns } from '../../src/producers/run-pages.js';
import type { RunState } from '../../src/producers/run-view.js';
import { createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { type Api, expectProblem } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { runWarm } from '../support/processes.js';

const job = defineJob({
  name: 'job',
  payload: z.object({ n: z.int().default(0), fail: z.boolean().default(false) }),
  concurrency: 50,
  retention: { completed: { age: '1h', count: 20_000 }, failed: { age: '1h', count: 20_000 } },
  run({ payload }) {
    if (payload.fail) throw new NonRetryableError('it was to fail');
  },
});

type Ids = string[];

async function serve() {
  const parts = await fixture([job]);
  const { broker } = parts;
  const api = await parts.serve();
  const add = async (count: number, options = {}, payload = {}): Promise<Ids> => {
    const items = Array.from({ length: count }, () => ({ payload, options }));
    return (await enqueueBulk(broker, job, items)).map(({ id }) => id);
  };
  return { ...parts, api, add, queue: broker.queue('job') };
}

/** All pages of a query, as a caller walks them; `between` happens after each. */
async function walk(api: Api, query: string, between: (page: Ids) => unknown = () => {}): Promise<Ids> {
  const seen: Ids = [];
  let cursor: string | null = null;
  do {
    const path = `/v1/jobs/job/runs?${query}${cursor ? `&cursor=${cursor}` : ''}`;
    const { status, body } = await api.call('GET', path, { key: 'read' });
    expect({ status, body }).toMatchObject({ status: 200 });
    const page = body.runs.map(({ id }: { id: string }) => id);
    seen.push(...page);
    cursor = body.next;
    await between(page);
  } while (cursor !== null);
  return seen;
}

/** Each of these exactly once, whatever else was met. */
function expectOnce(seen: Ids, expected: Ids): void {
  const times = new Map<string, number>();
  for (const id of seen) times.set(id, (times.get(id) ?? 0) + 1);
  expect(expected.filter((id) => times.get(id) !== 1).slice(0, 10)).toEqual([]);
}

describe('GET /v1/jobs/{job}/runs?cursor=', () => {
  it('walks 10,000 runs that wait, while others come, are taken, and are removed', async () => {
    const { api, add, queue, broker } = await serve();
    const ids = await add(10_000);
    let removed = 0;

    const seen = await walk(api, 'state=waiting&limit=1000', async (page) => {
      await add(37);
      // What a worker does: the oldest goes. And somebody cancels the very run that the cursor stands at.
      for (let n = 0; n < 20; n++) await (await queue.getJob(String(ids[removed++])))?.remove();
      await (await queue.getJob(String(page.at(-1))))?.remove();
    });

    const left = new Set(await broker.client.lrange(queue.toKey('wait'), 0, -1));
    expectOnce(
      seen,
      ids.filter((id) => left.has(id)),
    );
    expect(left.size).toBeGreaterThan(9_700);
  });

  it('walks what has ended, though runs of the same millisecond lie on both sides of a page', async () => {
    const { api, add, queue, broker, work } = await serve();
    const old = await add(300);
    await work();
    await eventually(async () => (await queue.getCompletedCount()) === 300);
    // All at the same time, which is what a fast worker comes to.
    const key = queue.toKey('completed');
    const together = String(Date.now());
    for (const id of old.slice(0, 200)) await broker.client.zadd(key, together, id);

    const seen = await walk(api, 'state=completed&limit=7', async () => {
      await add(3);
    });

    expectOnce(seen, old);
  });

  it('walks the delayed soonest first, and others by priority', async () => {
    const { api, queue, broker } = await serve();
    const delayed: Ids = [];
    for (const minutes of [5, 1, 4, 2, 3])
      delayed[minutes - 1] = await enqueue(broker, job, {}, { delay: minutes * 60_000 });
    expect(await walk(api, 'state=delayed&limit=2')).toEqual(delayed);

    const prioritized = await Promise.all([3, 1, 2].map((priority) => enqueue(broker, job, {}, { priority })));
    const waiting = await enqueue(broker, job, {});
    const seen = await walk(api, 'state=waiting&limit=1');
    expectOnce(seen, [...prioritized, waiting]);
    expect(seen).toHaveLength(4);
    expect(await queue.getPrioritizedCount()).toBe(3);
  });

  it('walks those of a priority newest first, while others come and go', async () => {
    const { api, add, queue } = await serve();
    const ids = await add(40, { priority: 7 });
    expect(await walk(api, 'state=waiting&limit=100')).toEqual(ids.toReversed());

    const gone: Ids = [];
    const seen = await walk(api, 'limit=3', async (page) => {
      await add(2, { priority: 7 });
      // The very run that the cursor stands at, and the one that a worker would take.
      for (const id of [page.at(-1), ids.find((it) => !gone.includes(it) && !page.includes(it))]) {
        await (await queue.getJob(String(id)))?.remove();
        gone.push(String(id));
      }
    });

    const left = ids.filter((id) => !gone.includes(id));
    expectOnce(seen, left);
    expect(seen.filter((id) => left.includes(id))).toEqual(left.toReversed());
    expect(left.length).toBeGreaterThan(10);
  });

  it('walks what executes, though the one that the cursor stands at ends', async () => {
    const gates = Array.from({ length: 9 }, () => createGate());
    const slow = defineJob({
      name: 'job',
      payload: z.object({ n: z.int() }),
      concurrency: 10,
      run: ({ payload }) => gates[payload.n]?.opened,
    });
    const { broker, serve: listen, work, events } = await fixture([slow]);
    const api = await listen();
    const ids: Ids = [];
    for (let n = 0; n < 9; n++) ids.push(await enqueue(broker, slow, { n }));
    await work();
    await eventually(() => events.of('run.started').length === 9);

    const ended: Ids = [];
    const seen = await walk(api, 'state=active&limit=2', async (page) => {
      const last = String(page.at(-1));
      gates[ids.indexOf(last)]?.open();
      await events.next('run.succeeded', ({ run }) => run === last);
      ended.push(last);
    });
    for (const gate of gates) gate.open();

    expectOnce(seen, ids);
    expect(ended.length).toBeGreaterThan(3);
  });

  it('walks all states in one, newest first', async () => {
    const { api, add, work, events, queue } = await serve();
    const failed = await add(3, {}, { fail: true });
    const completed = await add(3);
    const pool = await work();
    await eventually(() => events.of('run.succeeded').length + events.of('run.failed').length === 6);
    await eventually(async () => (await queue.getFailedCount()) === 3);
    await pool.stop(Date.now() + 5_000);
    const waiting = await add(3);
    const delayed = await add(3, { delay: 3_600_000 });

    for (const limit of [1, 5, 100]) {
      const seen = await walk(api, `limit=${limit}`);
      expect(seen).toHaveLength(12);
      expectOnce(seen, [...failed, ...completed, ...waiting, ...delayed]);
      expect(seen.slice(0, 3).sort()).toEqual(delayed.sort());
      expect(seen.slice(3, 6).sort()).toEqual(waiting.sort());
    }
  });

  it('finds the few of a schedule, or of a code, among many', async () => {
    const { api, add, queue, work, events } = await serve();
    await add(450);
    const options = { jobId: 'trigger:nightly:1' };
    await queue.add('job', {}, options);
    await add(450, {}, { fail: true });
    expect(await walk(api, 'schedule=nightly&limit=5')).toEqual(['trigger:nightly:1']);
    expect(await walk(api, 'schedule=other&state=waiting')).toEqual([]);

    await queue.add('job', { n: 'wrong' });
    await work();
    await eventually(() => events.of('run.failed').length === 451);
    await eventually(async () => (await queue.getFailedCount()) === 451);
    const [refused, ...others] = await walk(api, 'code=payload-invalid&state=failed');
    expect(others).toEqual([]);
    expect((await api.call('GET', `/v1/jobs/job/runs/${refused}`)).body.code).toBe('payload-invalid');
  });

  it('answers a short page and goes on, where a filter leaves out thousands', async () => {
    const { broker, add } = await serve();
    await add(4_500);
    const query = { job: 'job', schedule: 'nightly', limit: 10 };
    const first = await pageOfRuns(broker, query);
    expect(first).toEqual({ runs: [], next: expect.any(String) });
    const second = await pageOfRuns(broker, { ...query, cursor: String(first.next) });
    const third = await pageOfRuns(broker, { ...query, cursor: String(second.next) });
    expect(third).toEqual({ runs: [], next: null });
  });

  it('refuses a cursor that is none, or of another query', async () => {
    const { api, add } = await serve();
    await add(3);
    const { next } = (await api.call('GET', '/v1/jobs/job/runs?state=waiting&limit=1')).body;
    const packed = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const of = '["job",null,null,null]';
    const wrong = [
      `cursor=${next}`,
      `state=failed&cursor=${next}`,
      `state=waiting&code=run-interrupted&cursor=${next}`,
      'cursor=nonsense',
      'cursor=',
      `cursor=${packed({ of, at: { completed: ['1', '(5'] } })}`,
      `cursor=${packed({ of, at: { completed: ['1'] } })}`,
      `cursor=${packed({ of, at: { meta: ['1'] } })}`,
      `cursor=${packed({ of, at: [] })}`,
    ];
    for (const query of wrong) {
      const answer = await api.call('GET', `/v1/jobs/job/runs?${query}`);
      expectProblem(answer, 422, 'request-invalid');
      expect(answer.body.problems).toMatchObject([{ where: 'cursor' }]);
    }
    for (const query of ['state=lost', 'code=lost', 'limit=0', 'limit=1001', 'offset=5']) {
      expectProblem(await api.call('GET', `/v1/jobs/job/runs?${query}`), 422, 'request-invalid');
    }
  });

  it.each<RunState>(['waiting', 'delayed', 'active', 'completed', 'failed'])('says that none is %s', async (state) => {
    const { api } = await serve();
    expect((await api.call('GET', `/v1/jobs/job/runs?state=${state}`)).body).toEqual({ runs: [], next: null });
  });
});

it('`runs list` goes from page to page by itself', async () => {
  const { add, prefix } = await serve();
  const ids = await add(2_300);
  const module = writeJobs(`export default [defineJob({ name: 'job', run: () => {} })];`);
  const env = { RONDO_PREFIX: prefix, RONDO_JOBS: module };
  const args = ['runs', 'list', '--job', 'job', '--state', 'waiting', '--limit', '2200', '--json'];
  const { stdout } = await runWarm(args, { env });
  expect(JSON.parse(stdout).map(({ id }: { id: string }) => id)).toEqual(ids.slice(100).reverse());
});
