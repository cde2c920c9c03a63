import { describe, expect, it, onTestFinished } from 'vitest';
import { startEmbedded } from '../../src/broker/embedded.js';
import { ledgerCap, ledgerKeys, packClaim } from '../../src/broker/ledger-format.js';
import type { Broker } from '../../src/broker/queues.js';
import { iterationId } from '../../src/broker/repeat.js';
import { type Swept, supplySweep, sweepRetention } from '../../src/jobs/catalog/sweep-retention.js';
import { defineJob, type JobDefinition } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { auditKept } from '../../src/producers/audit.js';
import { enqueueRun } from '../../src/producers/enqueue.js';
import { createGoneWatch, listGone } from '../../src/producers/gone-jobs.js';
import { claim } from '../../src/producers/idempotency.js';
import { wantedOf } from '../../src/producers/plan.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { createSweep, type SweepInput } from '../../src/producers/sweep.js';
import { type FinishedRun, runJob } from '../../src/testing/index.js';
import { startCluster } from '../support/cluster.js';
import { type Fixture, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { type Line, startProgram } from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

const hour = 3_600_000;
const kept = { completed: { age: '1h', count: 50 }, failed: { age: '3h', count: 50 } } as const;
const mail = defineJob({ name: 'mail', retention: kept, run: () => null });
const broken = defineJob({
  name: 'broken',
  retention: kept,
  retry: { attempts: 1 },
  async run({ log, progress }) {
    log.info('a line of its log');
    await progress(50); // by then Redis has the line
    throw new Error('no');
  },
});
const none: Swept = {
  ...{ completed: 0, failed: 0, held: 0, ledgerEntries: 0, auditEntries: 0, idempotencyRecords: 0 },
  left: false,
};

describe('finished runs', () => {
  it('go when they are too old, with their logs, though nothing else finishes', async () => {
    const { broker, ...parts } = await fixture([mail, broken]);
    await ran(parts, broker, mail, 3);
    const [failed = ''] = await ran(parts, broker, broken, 2);
    const logs = broker.queue('broken').toKey(`${failed}:logs`);
    expect(await broker.client.llen(logs)).toBe(1);

    expect(await sweep(broker, [mail, broken], { now: in_(0.9 * hour) })).toEqual(none);
    expect(await sweep(broker, [mail, broken], { now: in_(1.1 * hour) })).toEqual({ ...none, completed: 3 });
    expect(await broker.client.llen(logs)).toBe(1);
    expect(await sweep(broker, [mail, broken], { now: in_(3.1 * hour) })).toEqual({ ...none, failed: 2 });
    expect(await broker.client.exists(logs)).toBe(0);
    expect(await broker.queue('broken').getJob(failed)).toBeUndefined();
  });

  it('go when they are too many by the retention of today, the oldest first', async () => {
    // Several at once would end in any order.
    const oneByOne = defineJob({ name: 'mail', retention: kept, concurrency: 1, run: () => null });
    const { broker, ...parts } = await fixture([oneByOne]);
    const ids = await ran(parts, broker, oneByOne, 5);
    const stricter = defineJob({ name: 'mail', retention: { completed: { count: 2 } }, run: () => null });

    expect(await sweep(broker, [stricter])).toEqual({ ...none, completed: 3 });
    expect((await broker.queue('mail').getCompleted()).map(({ id }) => id).sort()).toEqual(ids.slice(3).sort());
  });

  it('go some in each pass, which says that there are more; the next one goes on', async () => {
    const { broker, ...parts } = await fixture([mail]);
    await ran(parts, broker, mail, 7);
    const some = { now: in_(2 * hour), mostRuns: 5, batch: 2 };

    expect(await sweep(broker, [mail], some)).toEqual({ ...none, completed: 5, left: true });
    expect(await sweep(broker, [mail], some)).toEqual({ ...none, completed: 2 });
  });

  it('stay while the ledger has not heard of their end, and hold up no others', async () => {
    const job = defineJob({
      name: 'digest',
      retention: kept,
      schedules: [{ id: 'often', every: '1s' }],
      run: () => null,
    });
    const { broker, events, produce, work } = await fixture([job]);
    const producer = await produce();
    const pool = await work();
    const { tick = 0 } = (await events.next('run.succeeded')) as { tick?: number };
    await events.next('run.succeeded', (event) => (event.tick ?? 0) > tick);
    await Promise.all([pool.stop(Date.now() + 5_000), producer.stop(Date.now() + 5_000)]);
    const finished = await broker.queue('digest').getCompletedCount();
    // As a worker leaves it that is killed between BullMQ's word and the ledger's.
    const { claims } = ledgerKeys(broker, { job: 'digest', schedule: 'often' });
    const open = packClaim({ tick, due: tick, claimedAt: tick, state: 'running' });
    await broker.client.hset(claims, iterationId('often', tick), open);

    const swept = { ...none, completed: finished - 1, held: 1 };
    expect(await sweep(broker, [job], { now: in_(2 * hour), batch: 1 })).toEqual(swept);
    await broker.client.hdel(claims, iterationId('often', tick));
    expect(await sweep(broker, [job], { now: in_(2 * hour) })).toEqual({ ...none, completed: 1 });
  });

  it('leave behind what keeps a second one from being added for as long as was asked', async () => {
    const { broker, ...parts } = await fixture([mail]);
    const once = { payload: {}, options: { deduplicate: { key: 'k', mode: 'throttle', ttl: 24 * hour } } } as const;
    const { id } = await enqueueRun(broker, mail, once);
    await work(parts, mail, [id]);

    expect(await sweep(broker, [mail], { now: in_(2 * hour) })).toEqual({ ...none, completed: 1 });
    expect(await broker.queue('mail').getJob(id)).toBeUndefined();
    expect(await enqueueRun(broker, mail, once)).toEqual({ id, deduplicated: true });
  });

  it('of a job that is gone from code go by what they were enqueued with, and only then is the job forgotten', async () => {
    const { broker, events, ...parts } = await fixture([mail]);
    const look = (jobs: readonly JobDefinition[]) =>
      createGoneWatch({
        ...{ broker, registry: createRegistry(jobs), emit: events.emit },
        ...{ app: 'test', release: '1', silentMs: -1 },
      })();
    await look([mail, broken]);
    await ran({ events, ...parts }, broker, mail, 2);
    await look([broken]);
    expect(await listGone(broker, createRegistry([broken]), 'test')).toEqual([]);

    expect(await sweep(broker, [broken], { now: in_(0.9 * hour) })).toEqual(none);
    expect(await sweep(broker, [broken], { now: in_(1.1 * hour) })).toEqual({ ...none, completed: 2 });
    await look([broken]);
    expect(Object.keys(await broker.client.hgetall(broker.keys.jobs))).toEqual(['["test","broken"]']);
  });
});

it('ledgers and the audit log are cut to what they keep, and a record without an end gets one', async () => {
  const { broker } = await fixture([scheduled]);
  await overfill(broker);

  expect(await sweep(broker, [scheduled])).toEqual({
    ...{ ...none, ledgerEntries: 3, auditEntries: 2, idempotencyRecords: 1 },
  });
  await expectInBounds(broker);
  expect(await sweep(broker, [scheduled])).toEqual(none);
});

it.skipIf(!hasRedisServer())('a server that lets us look at no keys is swept of the rest', async () => {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const admin = await fixture([mail], { url: server.url });
  await admin.broker.client.call('ACL', 'SETUSER', 'rondo', 'on', '>secret', '~*', '&*', '+@all', '-scan');
  const { broker, ...parts } = await fixture([mail], { url: server.url.replace('://', '://rondo:secret@') });
  await ran(parts, broker, mail, 2);

  expect(await sweep(broker, [mail], { now: in_(2 * hour) })).toEqual({ ...none, completed: 2 });
});

it('a part that fails keeps no other from its turn, and the run fails', async () => {
  const { broker, ...parts } = await fixture([mail, broken]);
  await ran(parts, broker, mail, 1);
  await broker.client.set(broker.queue('broken').toKey('completed'), 'a hand');

  const failing = sweep(broker, [mail, broken], { now: in_(2 * hour) });
  await expect(failing).rejects.toThrow(/^1 of 5 parts could not be swept: .*WRONGTYPE/);
  expect(await broker.queue('mail').getCompletedCount()).toBe(0);
});

it('a run that is told to stop leaves the rest to the next', async () => {
  const { broker, ...parts } = await fixture([mail]);
  await ran(parts, broker, mail, 3);
  const input = { broker, registry: createRegistry([mail]), now: in_(2 * hour) };
  const stop = new AbortController();
  const stopping = createSweep(input)({ signal: stop.signal, progress: async () => stop.abort() });

  await expect(stopping).rejects.toThrow(/aborted/);
  expect(await broker.queue('mail').getCompletedCount()).toBe(3);
});

it('says what it removed, and how far it is', async () => {
  const { broker, ...parts } = await fixture([mail]);
  await ran(parts, broker, mail, 1);
  const { log, progress } = await sweepRun(broker, [mail], { now: in_(2 * hour) });

  expect(log).toEqual([{ level: 'info', message: 'retention is held', facts: { ...none, completed: 1 } }]);
  expect(progress).toEqual([25, 50, 75, 100]);
});

it.skipIf(!hasRedisServer())('all of it is held on a cluster', async () => {
  const { url, stop } = await startCluster();
  onTestFinished(stop);
  await expectAllSwept(await fixture([mail, scheduled], { url }));
});

it('all of it is held on the embedded server', async () => {
  const server = await startEmbedded();
  onTestFinished(() => server.stop());
  await expectAllSwept(await fixture([mail, scheduled], { url: server.url }));
});

it('a worker runs it, of a list of jobs of one’s own too, hourly', async () => {
  const { broker, prefix } = await fixture([mail]);
  const RONDO_JOBS = writeJobs("import { sweepRetention } from 'rondo';\nexport default [sweepRetention()];");
  const worker = startProgram(['worker'], { env: { RONDO_PREFIX: prefix, RONDO_JOBS } });
  const job = sweepRetention();
  expect(job.schedules).toMatchObject([{ id: 'sweep-retention', timing: { cron: '@hourly' } }]);
  const id = await enqueue(broker, job, {});
  await worker.line(({ event, run }: Line) => event === 'run.succeeded' && run === id);

  expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', result: none });
});

/** A clock that is ahead by so many ms. */
function in_(ms: number): () => number {
  return () => Date.now() + ms;
}

type More = Partial<Pick<SweepInput, 'now' | 'mostRuns' | 'batch'>>;

async function sweep(broker: Broker, jobs: readonly JobDefinition[], more: More = {}): Promise<Swept> {
  return (await sweepRun(broker, jobs, more)).result;
}

function sweepRun(broker: Broker, jobs: readonly JobDefinition[], more: More): Promise<FinishedRun<Swept>> {
  const job = sweepRetention();
  supplySweep([job], createSweep({ broker, registry: createRegistry(jobs), now: Date.now, ...more }));
  return runJob(job, {});
}

type Parts = Pick<Fixture, 'events' | 'work'>;

/** Runs of a job that have ended, oldest first, and nobody who works on. */
async function ran(parts: Parts, broker: Broker, job: JobDefinition, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index++) ids.push(await enqueue(broker, job, {}));
  await work(parts, job, ids);
  return ids;
}

async function work({ events, ...parts }: Parts, job: JobDefinition, ids: readonly string[]): Promise<void> {
  const pool = await parts.work({ jobs: [job] });
  for (const id of ids) {
    const isIts = (event: { job: string; run: string }) => event.job === job.name && event.run === id;
    await events.next(job === broken ? 'run.failed' : 'run.succeeded', isIts);
  }
  await pool.stop(Date.now() + 5_000);
}

const scheduled = defineJob({
  name: 'nightly',
  schedules: [{ id: 'nightly', cron: '0 0 1 1 *' }],
  run: () => null,
});
const nightly = { job: 'nightly', schedule: 'nightly' };

/** As an older release that kept more, and a hand, leave a store: three entries, two, and one record too much. */
async function overfill(broker: Broker): Promise<void> {
  const { cursor, ticks } = ledgerKeys(broker, nightly);
  const [wanted] = wantedOf(createRegistry([scheduled]));
  const entry = JSON.stringify({ ...wanted, id: undefined, owner: 'code:test', release: '1' });
  await broker.client.hset(broker.keys.schedules, 'nightly', entry);
  await broker.client.hset(cursor, { at: 1, next: 2, from: 1_700_000_000_000 });
  const entries = Array.from({ length: ledgerCap + 3 }, (_, at) => [1_700_000_000_000 + at, `entry ${at}`]);
  await broker.client.zadd(ticks, ...entries.flat().map(String));

  const fill = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'entry', '{}') end";
  await broker.client.eval(fill, 1, broker.keys.audit.changes, auditKept + 2);

  await claim(broker, { owner: 'ada', key: 'sound', request: '{}' });
  await broker.client.hset(broker.keys.idempotency('endless'), 'request', 'x');
}

async function expectInBounds(broker: Broker): Promise<void> {
  const { cursor, ticks } = ledgerKeys(broker, nightly);
  expect(await broker.client.zcard(ticks)).toBe(ledgerCap);
  expect(await broker.client.hget(cursor, 'from')).toBe(String(1_700_000_000_003));
  expect(await broker.client.xlen(broker.keys.audit.changes)).toBe(auditKept);
  const left = await broker.client.pttl(broker.keys.idempotency('endless'));
  expect(left).toBeGreaterThan(23 * hour);
  expect(left).toBeLessThanOrEqual(24 * hour);
}

async function expectAllSwept({ broker, ...parts }: Fixture): Promise<void> {
  await ran(parts, broker, mail, 3);
  await overfill(broker);
  expect(await sweep(broker, [mail, scheduled], { now: in_(2 * hour), batch: 2 })).toEqual({
    ...{ ...none, completed: 3, ledgerEntries: 3, auditEntries: 2, idempotencyRecords: 1 },
  });
  await expectInBounds(broker);
}
