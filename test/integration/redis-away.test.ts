import { describe, expect, it, onTestFinished } from 'vitest';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { aborted, createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { startProgram } from '../support/processes.js';
import { prompt } from '../support/prompt.js';
import { hasRedisServer, startRedis } from '../support/servers.js';

const awayMs = 3_000;

describe.skipIf(!hasRedisServer())('while Redis is away', () => {
  it('it is said once a connection, nothing runs hot, and work goes on by itself when it is back', prompt, async () => {
    const redis = await startDurableRedis();
    const tick = defineJob({ name: 'tick', schedules: [{ id: 'tick', cron: '* * * * * *' }], run: () => {} });
    const job = defineJob({ name: 'ad-hoc', run: () => 'done' });
    const { broker, events, produce, work } = await fixture([tick, job], { url: redis.url });
    await work();
    await produce();
    await events.next('run.succeeded', ({ schedule }) => schedule === 'tick');
    const connections = 3; // the worker's, the producer's, and the one that the test enqueues with

    await redis.kill('SIGKILL');
    await eventually(() => events.of('redis.away').length === connections);
    const { share, told } = await overAwayTime(events.all);
    expect(told, 'what was told while it was away').toEqual([]);
    expect(share, 'of one core').toBeLessThan(0.3);

    await redis.restart();
    await eventually(() => events.of('redis.back').length === connections);
    const id = await enqueue(broker, job, {});
    await events.next('run.succeeded', ({ run, job }) => job === 'ad-hoc' && run === id);
    const back = Date.now();
    await events.next('run.succeeded', ({ tick }) => (tick ?? 0) > back);

    expect(events.of('redis.away')).toHaveLength(connections);
    expect(events.of('redis.back')).toHaveLength(connections);
    for (const { awayMs: away } of events.of('redis.back')) expect(away).toBeGreaterThanOrEqual(awayMs);
    expect(events.of('worker.error')).toEqual([]);
    expect(events.of('producer.failed')).toEqual([]);
    const ticks = events.of('run.succeeded').flatMap(({ tick }) => tick ?? []);
    expect(new Set(ticks).size).toBe(ticks.length);
  });

  it('a run goes on, and its result is stored when Redis is back', async () => {
    const redis = await startDurableRedis();
    const gate = createGate();
    const job = defineJob({ name: 'long', run: () => gate.opened.then(() => 'survived') });
    const { broker, events, work } = await fixture([job], { url: redis.url });
    await work();
    const id = await enqueue(broker, job, {});
    await events.next('run.started');

    await redis.kill('SIGKILL');
    await eventually(() => events.of('redis.away').length === 2);
    gate.open();
    await redis.restart();
    await events.next('run.succeeded');
    await eventually(() => events.of('redis.back').length === 2); // the worker's may be back before ours

    expect(events.of('run.started')).toHaveLength(1);
    expect(await findRun(broker, job, id)).toMatchObject({ state: 'completed', attempts: 1, result: 'survived' });
  });

  it('an enqueue fails within two seconds, and succeeds when Redis is back', prompt, async () => {
    const redis = await startDurableRedis();
    const job = defineJob({ name: 'ad-hoc', run: () => {} });
    const { broker, events } = await fixture([job], { url: redis.url });
    await enqueue(broker, job, {});

    await redis.kill('SIGKILL');
    const startedAt = Date.now();
    await expect(enqueue(broker, job, {})).rejects.toThrow();
    await events.next('redis.away');
    await expect(enqueue(broker, job, {})).rejects.toThrow();
    expect(Date.now() - startedAt).toBeLessThan(2_000);

    await redis.restart();
    await events.next('redis.back');
    const id = await enqueue(broker, job, {});
    expect((await findRun(broker, job, id)).state).toBe('waiting');
  });

  it('a worker and a producer can be stopped all the same', prompt, async () => {
    const redis = await startDurableRedis();
    const job = defineJob({
      name: 'long',
      schedules: [{ id: 'long', every: '300d' }],
      run: ({ signal }) => aborted(signal),
    });
    const { broker, events, produce, work } = await fixture([job], { url: redis.url });
    const [pool, supervisor] = [await work(), await produce()];
    await enqueue(broker, job, {});
    await events.next('run.started');
    await redis.kill('SIGKILL');
    await eventually(() => events.of('redis.away').length === 3);

    const deadline = Date.now() + 200;
    await Promise.all([pool.stop(deadline), supervisor.stop(deadline)]);

    expect(Date.now() - deadline).toBeLessThan(6_000);
    await redis.restart();
    await eventually(() => broker.client.status === 'ready');
  });

  it('a process of all roles says so in a line or two, and ends in order when it is asked to', async () => {
    const redis = await startDurableRedis();
    const program = startProgram(['start'], { env: { REDIS_URL: redis.url, SHUTDOWN_GRACE: '1s' } });
    await program.line(({ msg }) => msg?.includes('started, with Redis') === true, 30_000);
    await redis.kill('SIGKILL');
    await program.line(({ event }) => event === 'redis.away');
    const before = program.lines.length;
    await eventually(waited(awayMs));
    expect(program.lines.slice(before).filter(({ event }) => event !== 'redis.away')).toEqual([]);

    const asked = Date.now();
    program.kill('SIGTERM');
    expect(await program.exit).toEqual({ code: 0, signal: null });
    expect(Date.now() - asked).toBeLessThan(12_000);
    expect(program.text()).toBe('');
  });

  async function startDurableRedis() {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    onTestFinished(() => redis.stop());
    return redis;
  }

  /** What share of a core this process uses over the time, and what is told meanwhile. */
  async function overAwayTime(all: readonly { type: string }[]) {
    const first = all.length;
    const [cpu, startedAt] = [process.cpuUsage(), performance.now()];
    await eventually(waited(awayMs));
    const { user, system } = process.cpuUsage(cpu);
    const share = (user + system) / 1_000 / (performance.now() - startedAt);
    return { share, told: all.slice(first).map(({ type }) => type) };
  }

  function waited(ms: number): () => boolean {
    const until = Date.now() + ms;
    return () => Date.now() > until;
  }
});
