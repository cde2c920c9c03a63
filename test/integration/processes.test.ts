import { describe, expect, it, onTestFinished } from 'vitest';
import { startEmbedded } from '../../src/broker/embedded.js';
import { type ProcessReport, readProcesses, type SignOptions } from '../../src/broker/processes.js';
import type { Broker } from '../../src/broker/queues.js';
import { createSelf } from '../../src/broker/self.js';
import { createClient } from '../../src/client/index.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { watchVitalSigns } from '../../src/observability/vital-signs.js';
import { enqueue } from '../../src/producers/enqueue.js';
import { listProcesses } from '../../src/producers/processes.js';
import { commands, rowsOf } from '../support/commands.js';
import { createGate } from '../support/gate.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { apiKey, expectProblem, secretOf } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { startProgram } from '../support/processes.js';

const vitalSigns = () => ({ loopDelayMs: 1.5, memory: { rss: 80_000_000, heapUsed: 1, heapTotal: 2 } });

async function show(broker: Broker, { now = Date.now, ...options }: SignOptions & { now?: () => number } = {}) {
  const self = createSelf({ roles: ['worker'], app: 'shop', release: '1.4.0', vitalSigns, now, ...options });
  const sign = self.shownOn(broker);
  onTestFinished(() => sign.stop(Date.now()));
  return { self, sign };
}

describe.each([
  ["the tests' server", async () => fixture([])],
  ['the embedded server, which is 32-bit', onEmbedded],
])('processes tell who they are, in %s', (_, open) => {
  it('from start to stop, and are gone at once when they stop', async () => {
    const { broker } = await open();
    const [one, other] = [await show(broker), await show(broker)];
    await one.sign.start();
    await other.sign.start();

    const { found, unreadable, left } = await readProcesses(broker);
    expect(found.map(({ report }) => report.id).sort()).toEqual([one.self.id, other.self.id].sort());
    expect({ unreadable, left }).toEqual({ unreadable: [], left: 0 });
    expect(found[0]?.report).toMatchObject({ app: 'shop', release: '1.4.0', pid: process.pid, roles: ['worker'] });

    await one.sign.stop(Date.now());
    expect((await readProcesses(broker)).found.map(({ report }) => report.id)).toEqual([other.self.id]);
    await other.sign.stop(Date.now());
    expect(await broker.client.keys(`${broker.keys.processes.slice(0, -2)}*`)).toEqual([]);
  });

  it('again and again, and are gone once they were silent for too long', async () => {
    const { broker } = await open();
    const { self, sign } = await show(broker, { everyMs: 50, silentMs: 600 });
    await sign.start();
    const first = (await readProcesses(broker)).found[0]?.seenAt ?? 0;
    await eventually(async () => ((await readProcesses(broker)).found[0]?.seenAt ?? 0) > first + 700);

    // One that was killed tells nothing any more.
    const report = (await broker.client.get(broker.keys.process(self.id))) ?? '';
    await sign.stop(Date.now());
    await broker.client.set(broker.keys.process(self.id), report, 'PX', 1_000);
    await broker.client.zadd(broker.keys.processes, Date.now(), self.id);
    expect((await readProcesses(broker)).found).toHaveLength(1);
    await eventually(async () => (await readProcesses(broker)).found.length === 0);
  });

  it('are told of where their report makes no sense, and hide no other', async () => {
    const { broker } = await open();
    const { client, keys } = broker;
    const { self, sign } = await show(broker);
    await sign.start();
    const sound = JSON.parse((await client.get(keys.process(self.id))) ?? '') as ProcessReport;
    const hostile: Record<string, string> = {
      'cut off': JSON.stringify(sound).slice(0, 100),
      'no object': '[]',
      'of another': JSON.stringify(sound),
      'too long': JSON.stringify({ ...sound, id: 'aaaaaaaaaaaa', host: 'x'.repeat(600_000) }),
      bbbbbbbbbbbb: JSON.stringify({ ...sound, id: 'bbbbbbbbbbbb', runs: Array(101).fill(sound.runs[0] ?? {}) }),
      cccccccccccc: JSON.stringify({ ...sound, id: 'cccccccccccc', startedAt: 1e300 }),
    };
    for (const [id, text] of Object.entries(hostile)) {
      await client.set(keys.process(id), text);
      await client.zadd(keys.processes, Date.now(), id);
    }
    await client.hset(keys.process('a hash'), { a: 1 });
    await client.zadd(keys.processes, Date.now(), 'a hash', 1, 'nothing behind it');

    const { processes, unreadable } = await listProcesses(broker);

    expect(processes.map(({ id }) => id)).toEqual([self.id]);
    expect(unreadable).toEqual([...Object.keys(hostile), 'a hash'].sort());
    await client.zadd(keys.processes, '+inf', self.id);
    expect((await listProcesses(broker)).unreadable).toContain(self.id);
    await client.set(keys.processes, 'by hand');
    expect(await listProcesses(broker)).toEqual({ processes: [], unreadable: [], left: 0 });
    await sign.start();
    expect((await listProcesses(broker)).processes.map(({ id }) => id)).toEqual([self.id]);
  });
});

it('reads the 500 that told something last of any number, and says how many there are beyond', async () => {
  const { broker } = await fixture([]);
  const { client, keys } = broker;
  const { self, sign } = await show(broker);
  await sign.start();
  const report = JSON.parse((await client.get(keys.process(self.id))) ?? '');
  const adding = client.pipeline();
  for (let index = 0; index < 520; index++) {
    const id = index.toString(16).padStart(12, '0');
    adding
      .set(keys.process(id), JSON.stringify({ ...report, id }))
      .zadd(keys.processes, Date.now() - 60_000 + index, id);
  }
  await adding.exec();

  const { processes, left } = await listProcesses(broker);

  expect(processes).toHaveLength(500);
  expect(left).toBe(21);
  expect(processes.map(({ id }) => id)).toContain(self.id);
});

it('tells what a worker executes, for how long by whichever clock, and what is stuck', async () => {
  const gate = createGate();
  const slow = defineJob({
    name: 'slow',
    concurrency: 7,
    timeout: '1h',
    schedules: [{ id: 'slow-hourly', every: '300d' }],
    run: () => gate.opened,
  });
  const { broker, work, events, serve, prefix } = await fixture([slow]);
  const ahead = 3_600_000;
  const { self, sign } = await show(broker, { everyMs: 100, now: () => Date.now() + ahead });
  const pool = await work({ now: () => Date.now() + ahead });
  self.worksOn([slow], pool.running);
  const id = await enqueue(broker, slow, {});
  await events.next('run.started');
  await sign.start();

  const [view] = (await listProcesses(broker)).processes;
  expect(view).toMatchObject({
    ...{ id: self.id, state: 'working', loopDelayMs: 1.5, running: 1, version: expect.stringMatching(/^\d+\.\d+/) },
    jobs: [{ name: 'slow', concurrency: 7, timeoutMs: 3_600_000 }],
    runs: [{ job: 'slow', run: id, schedule: null, tick: null, attempt: 1, typicalMs: null, stuck: null }],
  });
  expect(Math.abs((view?.clockAheadMs ?? 0) - ahead)).toBeLessThan(2_000);
  expect(view?.runs[0]?.runningMs).toBeLessThan(10_000);

  const { url, call } = await serve({ keys: [apiKey('read', ['read']), { ...apiKey('some', ['read']), jobs: ['x'] }] });
  expectProblem(await call('GET', '/v1/workers', { key: null }), 401, 'unauthenticated');
  expectProblem(await call('GET', '/v1/workers', { key: 'some' }), 403, 'forbidden');
  const client = createClient({ url, key: secretOf('read') });
  expect((await client.workers()).processes).toMatchObject([{ id: self.id, runs: [{ run: id }] }]);

  // Its runs took 1 s, and this one goes on for an hour.
  const completed = broker.queue('slow').toKey('completed');
  await broker.client.zadd(completed, 1, 'a', 2, 'b');
  for (const run of ['a', 'b'])
    await broker.client.hset(broker.queue('slow').toKey(run), { processedOn: 5, finishedOn: 1_005 });
  const key = broker.keys.process(self.id);
  const report = JSON.parse((await broker.client.get(key)) ?? '') as ProcessReport;
  await sign.stop(Date.now());
  const at = Date.now() + ahead;
  const since = at - 61_000;
  const runs = [
    { job: 'slow', run: id, attempt: 1, since },
    { job: 'slow', run: 'tick:slow-hourly:0', attempt: 1, since: since - 3_600_000, schedule: 'slow-hourly', tick: 0 },
  ];
  await broker.client.set(key, JSON.stringify({ ...report, stopping: true, at, running: 102, runs }));
  await broker.client.zadd(broker.keys.processes, Date.now(), self.id);

  const rondo = (env: Record<string, string>) =>
    commands({ RONDO_JOBS: writeJobs("export default [defineJob({ name: 'other', run: () => null })];"), ...env });
  const text = await rondo({ RONDO_PREFIX: prefix })('workers', 'list');
  const rows = rowsOf(text);
  expect(rows[0]?.slice(0, 4)).toEqual(['PROCESS', 'HOST', 'PID', 'ROLES']);
  expect(rows[1]).toEqual(expect.arrayContaining([self.id, 'shop', '1.4.0', 'stopping', '102 of 7', '80 MB']));
  expect(rows[3]).toEqual([
    self.id,
    'slow',
    'tick:slow-hourly:0',
    'slow-hourly',
    '1',
    '1h 1m',
    'longer than its timeout of 1h',
  ]);
  expect(rows[4]).toEqual([self.id, 'slow', id, '-', '1', expect.stringMatching(/^1m/), 'its runs take 1s as a rule']);
  expect(text).toContain('100 more runs execute');
  const through = rondo({ RONDO_URL: url, RONDO_API_KEY: secretOf('read') });
  expect((await through.json('workers', 'list')).processes[0].runs).toMatchObject([{ typicalMs: 1_000 }, {}]);
  gate.open();
});

it('a process of each role tells its own; one that is stopped is gone at once, one that is killed stays until its time is over', {
  timeout: 60_000,
}, async () => {
  const { prefix, broker } = await fixture([]);
  const jobs = writeJobs(`export default [defineJob({ name: 'hold', timeout: '1h', run: ({ signal }) =>
    new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason))) })];`);
  const env = { RONDO_PREFIX: prefix, RONDO_JOBS: jobs, SHUTDOWN_GRACE: '30s' };
  const started = /started, with Redis/;
  const [worker, all] = [
    startProgram(['worker'], { env }),
    startProgram(['start'], { env: { ...env, RONDO_CONCURRENCY: 'hold=3' } }),
  ];
  for (const program of [worker, all]) await program.line(({ msg = '' }) => started.test(msg));
  const list = async () => (await listProcesses(broker)).processes;
  const byPid = async (pid: number | undefined) => (await list()).find((it) => it.pid === pid);

  expect(await byPid(worker.child.pid)).toMatchObject({ roles: ['worker'], jobs: [{ name: 'hold', concurrency: 5 }] });
  expect(await byPid(all.child.pid)).toMatchObject({
    roles: ['worker', 'producer', 'api'],
    jobs: [{ concurrency: 3 }],
  });

  all.kill('SIGTERM');
  await all.exit;
  expect((await list()).map(({ pid }) => pid)).toEqual([worker.child.pid]);

  worker.kill('SIGKILL');
  await worker.exit;
  const { id = '' } = (await byPid(worker.child.pid)) ?? {};
  const left = await broker.client.pttl(broker.keys.process(id));
  expect(left).toBeGreaterThan(15_000);
  expect(left).toBeLessThanOrEqual(30_000);
  // Its time over, as Redis will have it in half a minute.
  await broker.client.pexpire(broker.keys.process(id), 1);
  await eventually(async () => (await list()).length === 0);
});

it('measures how late timers are while something blocks the event loop', async () => {
  const read = watchVitalSigns();
  read();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const until = performance.now() + 150;
  while (performance.now() < until);
  await new Promise((resolve) => setTimeout(resolve, 60));
  const { loopDelayMs, memory } = read();
  expect(loopDelayMs).toBeGreaterThan(80);
  expect(memory.rss).toBeGreaterThan(memory.heapUsed);
});

async function onEmbedded(): Promise<Fixture> {
  const server = await startEmbedded();
  onTestFinished(() => server.stop());
  return fixture([], { url: server.url });
}
