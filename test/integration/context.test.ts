import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Broker } from '../../src/broker/queues.js';
import type { JobContext } from '../../src/jobs/context.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { secret } from '../../src/jobs/secret-mark.js';
import { retryRun } from '../../src/producers/redrive.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { aborted, createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';

const quick = { delay: 10, jitter: 0 } as const;
const quickly = { lockMs: 1_000, stalledCheckMs: 200 };

describe('what a run remembers', () => {
  it('is there at its next attempts, and after a redrive, and gone when it has succeeded', async () => {
    const seen: unknown[] = [];
    const { job, events, broker, start } = await remembering({ attempts: 2 }, async ({ checkpoint, run }) => {
      const before = await checkpoint.read<{ row: number }>();
      seen.push(before);
      await checkpoint.write({ row: (before?.row ?? 0) + 500 });
      if (seen.length < 3) throw new Error(`attempt ${run.attempt}`);
    });
    const id = await start();

    await events.next('run.failed', ({ retryInMs }) => retryInMs === null);
    expect(await keptKeys(broker)).toHaveLength(1);
    await retryRun(broker, job, id);
    await events.next('run.succeeded');

    expect(seen).toEqual([undefined, { row: 500 }, { row: 1_000 }]);
    await eventually(async () => (await keptKeys(broker)).length === 0);
  });

  it('is of this run alone, and expires where the run is not heard of again', async () => {
    const seen: unknown[] = [];
    const { events, broker, start } = await remembering({ attempts: 1 }, async ({ checkpoint }) => {
      seen.push(await checkpoint.read());
      await checkpoint.write('mine');
      throw new Error('no');
    });
    await start();
    await start();
    await eventually(() => events.of('run.failed').length === 2);

    expect(seen).toEqual([undefined, undefined]);
    const [key = ''] = await keptKeys(broker);
    expect(await broker.client.pttl(key)).toBeGreaterThan(13 * 86_400_000);
    expect(await broker.client.pttl(key)).toBeLessThanOrEqual(14 * 86_400_000);
  });

  it('costs no key in Redis where the handler asks for nothing', async () => {
    const { events, broker, start } = await remembering({ attempts: 1 }, ({ run }) => raise(`no ${run.id}`));
    await start();
    await events.next('run.failed');

    expect(await keptKeys(broker)).toEqual([]);
  });

  it.each([
    ['more than 64 KiB', () => 'é'.repeat(40_000), 'checkpoint: expected at most 65536 bytes of JSON; got 80002 bytes'],
    ['a number that JSON has no form of', () => 7n, 'checkpoint: expected a value that JSON has a form of; got bigint'],
    ['a function', () => () => 7, 'checkpoint: expected a value that JSON has a form of; got function'],
  ])('is refused where it is %s, and no retry would help', async (_, value, reason) => {
    const { events, start } = await remembering({ attempts: 3 }, ({ checkpoint }) => checkpoint.write(value()));
    await start();

    expect(await events.next('run.failed')).toMatchObject({
      code: 'memory-refused',
      retryInMs: null,
      reason: expect.stringContaining(reason),
    });
  });

  it('is not overwritten by whoever has lost the run to another worker', async () => {
    const lost = createGate();
    const done = createGate();
    const late: unknown[] = [];
    const { job, events, broker, start } = await remembering({ attempts: 3 }, async ({ checkpoint, once }) => {
      if ((await checkpoint.read()) !== undefined) return checkpoint.read();
      await checkpoint.write('of the first');
      await lost.opened;
      await checkpoint.write('too late').catch((error) => late.push(error.code));
      await once('too late', () => 'done').catch((error) => late.push(error.code));
      done.open();
    });
    const id = await start();
    await eventually(async () => (await keptKeys(broker)).length === 1);

    await broker.client.del(broker.queue('remembers').toKey(`${id}:lock`));
    lost.open();
    await done.opened;
    await events.next('run.succeeded');

    expect(late).toEqual(['run-lock-lost', 'run-lock-lost']);
    expect((await findRun(broker, job, id)).result).toBe('of the first');
  });
});

describe('what a run does once', () => {
  it('is done once for all its attempts, each of which gets the same result, as JSON', async () => {
    const effects: string[] = [];
    const results: unknown[] = [];
    const { events, start } = await remembering({ attempts: 3 }, async ({ once, run }) => {
      const at = new Date('2026-11-21T07:00:00Z');
      results.push(await once('charge', () => ({ id: effects.push('charge'), at })));
      results.push(await once('note', () => void effects.push('note')));
      if (run.attempt < 3) throw new Error('later');
    });
    await start();
    await events.next('run.succeeded');

    expect(effects).toEqual(['charge', 'note']);
    const charge = { id: 1, at: '2026-11-21T07:00:00.000Z' };
    expect(results).toEqual([charge, undefined, charge, undefined, charge, undefined]);
  });

  it('is done again where it threw, and once where it is asked for twice at the same time', async () => {
    let calls = 0;
    const { events, broker, start, job } = await remembering({ attempts: 2 }, async ({ once, run }) => {
      const charge = async () => {
        calls++;
        if (run.attempt === 1) throw new Error('the bank is closed');
        return calls;
      };
      return Promise.all([once('charge', charge), once('charge', charge)]);
    });
    const id = await start();
    await events.next('run.succeeded');

    expect((await findRun(broker, job, id)).result).toEqual([2, 2]);
  });

  it('is not done again by the worker that takes over after a crash', async () => {
    let effects = 0;
    const { events, broker, start } = await remembering({ attempts: 2 }, async ({ once, signal }) => {
      const isFirst = effects === 0;
      await once('charge', () => ++effects);
      if (isFirst) await aborted(signal);
    });
    const id = await start();
    await eventually(async () => (await keptKeys(broker)).length === 1);

    await broker.client.del(broker.queue('remembers').toKey(`${id}:lock`));
    await events.next('run.succeeded');

    expect(effects).toBe(1);
  });

  it('is refused before it is done where the key is wrong', async () => {
    let effects = 0;
    const { events, start } = await remembering({ attempts: 2 }, ({ once }) => once('', () => ++effects));
    await start();

    const reason = expect.stringContaining('key: expected a text of 1 to 200 characters; got ""');
    expect(await events.next('run.failed')).toMatchObject({ code: 'memory-refused', reason, retryInMs: null });
    expect(effects).toBe(0);
  });
});

describe('a run that enqueues another', () => {
  const child = defineJob({
    name: 'child',
    payload: z.object({ n: z.coerce.number(), pin: secret(z.string()).optional() }),
    run: ({ payload }) => payload.n,
  });

  it('gets one run for each thing it asks for, however many attempts ask', async () => {
    const asked: string[][] = [];
    const parent = defineJob({
      name: 'parent',
      retry: { attempts: 3, ...quick },
      async run({ enqueue, run }) {
        const two = [await enqueue(child, { n: 2 }), await enqueue('child', { n: 2 })];
        const first = await enqueue(child, { n: 1 });
        const keyed = await enqueue(child, { n: run.attempt }, { key: 'summary', delay: '1h' });
        asked.push([...two, first, keyed].map(({ id, job }) => `${job} ${id}`));
        if (run.attempt < 3) throw new Error('later');
      },
    });
    const { broker, events, work } = await fixture([parent, child]);
    await work({ jobs: [parent] });
    await enqueue(broker, parent, {});
    await events.next('run.succeeded');

    expect(new Set(asked[0]).size).toBe(4);
    expect(asked).toEqual([asked[0], asked[0], asked[0]]);
    expect(await broker.queue('child').getJobCounts('wait', 'delayed')).toEqual({ wait: 3, delayed: 1 });
  });

  it('loses none where a later attempt finds less to do, or something else', async () => {
    const todo = [
      ['a', 'b'],
      ['b', 'c'],
    ];
    const named = defineJob({ name: 'named', payload: z.object({ of: z.string() }), run: () => null });
    const parent = defineJob({
      name: 'parent',
      retry: { attempts: 2, ...quick },
      async run({ enqueue, run }) {
        for (const of of todo[run.attempt - 1] ?? []) await enqueue(named, { of });
        if (run.attempt === 1) throw new Error('later');
      },
    });
    const { broker, events, work } = await fixture([parent, named]);
    await work({ jobs: [parent] });
    await enqueue(broker, parent, {});
    await events.next('run.succeeded');

    const runs = await broker.queue('named').getJobs(['wait']);
    expect(runs.map(({ data }) => data.of).sort()).toEqual(['a', 'b', 'c']);
  });

  it('enqueues nothing twice though the other has run and is forgotten, and is not barred by its bound', async () => {
    const fleeting = defineJob({
      name: 'fleeting',
      maxWaiting: 1,
      retention: { completed: { count: 0 } },
      run: () => null,
    });
    const parent = defineJob({
      name: 'parent',
      retry: { attempts: 2, ...quick },
      async run({ enqueue, run }) {
        const { id } = await enqueue(fleeting, {});
        if (run.attempt === 1) {
          await events.next('run.succeeded', (event) => event.run === id);
          await broker.queue('fleeting').pause();
          await broker.queue('fleeting').add('fleeting', {});
          throw new Error('later');
        }
      },
    });
    const { broker, events, work } = await fixture([parent, fleeting]);
    await work();
    await enqueue(broker, parent, {});
    await events.next('run.succeeded', ({ job }) => job === 'parent');

    expect(events.of('run.started').filter(({ job }) => job === 'fleeting')).toHaveLength(1);
    expect(await broker.queue('fleeting').getJobCounts('wait')).toEqual({ wait: 1 });
  });

  it('does not tell a secret of the payload by the id', async () => {
    const ids: string[] = [];
    const parent = defineJob({
      name: 'parent',
      payload: z.object({ pin: z.string() }),
      retry: { attempts: 2, ...quick },
      async run({ enqueue, run }) {
        ids.push((await enqueue(child, { n: 1, pin: run.attempt === 1 ? '1111' : '2222' })).id);
        if (run.attempt === 1) throw new Error('later');
      },
    });
    const { broker, events, work } = await fixture([parent, child]);
    await work({ jobs: [parent] });
    await enqueue(broker, parent, { pin: '1234' });
    await events.next('run.succeeded');

    expect(ids[0]).toBe(ids[1]);
  });

  it.each([
    ['a job that there is not', (enqueue: JobContext['enqueue']) => enqueue('chidl'), 'job-unknown', '"child"'],
    ['a payload that its schema refuses', (enqueue) => enqueue(child, { n: 'x' }), 'payload-invalid', 'payload.n'],
    [
      'an option that there is not',
      (enqueue) => enqueue(child, { n: 1 }, { delya: 1 } as never),
      'run-invalid',
      'did you mean "delay"',
    ],
    ['two times', (enqueue) => enqueue(child, { n: 1 }, { delay: 1, at: new Date() }), 'run-invalid', 'not both'],
    ['a time that is none', (enqueue) => enqueue(child, { n: 1 }, { at: new Date('x') }), 'run-invalid', 'ISO time'],
  ] as [string, (enqueue: JobContext['enqueue']) => Promise<unknown>, string, string][])(
    'is refused %s, with what is wrong',
    async (_, ask, code, reason) => {
      const parent = defineJob({ name: 'parent', retry: { attempts: 3 }, run: ({ enqueue }) => ask(enqueue) });
      const { broker, events, work } = await fixture([parent, child]);
      await work({ jobs: [parent] });
      await enqueue(broker, parent, {});

      const failed = await events.next('run.failed');
      expect(failed).toMatchObject({ code, retryInMs: null, reason: expect.stringContaining(reason) });
    },
  );
});

/** A job with this handler, and a worker for it. */
async function remembering({ attempts }: { attempts: number }, run: (context: JobContext) => unknown) {
  const job = defineJob({ name: 'remembers', retry: { attempts, ...quick }, run });
  const { broker, events, work } = await fixture([job]);
  await work(quickly);
  return { job, broker, events, start: () => enqueue(broker, job, {}) };
}

function keptKeys(broker: Broker): Promise<string[]> {
  return broker.client.keys(`${broker.keys.queuePrefix('remembers')}:memory:*`);
}

function raise(message: string): never {
  throw new Error(message);
}
