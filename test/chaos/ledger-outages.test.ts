import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Broker } from '../../src/broker/queues.js';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { auditTicks, firstTick, type Journal, openJournal } from '../support/ledger-audit.js';
import { shiftedClock } from '../support/preloads.js';
import { startProgram } from '../support/processes.js';
import { hasRedisServer, type RedisProcess, startRedis } from '../support/servers.js';
import { together } from '../support/together.js';

const second = 1_000;
/** Longer than a run belongs to a worker that gives no sign of life. */
const beyondLockMs = 40 * second;

describe.skipIf(!hasRedisServer())('Redis', () => {
  it('may be killed, stand still or run out of memory: every tick has its entry', async () => {
    await together({ killed: redisKilled, 'standing still': redisStopped, 'out of memory': redisOutOfMemory });
  });

  async function redisKilled() {
    const { redis, ...rest } = await ownServer('redis-killed', ['--appendonly', 'yes']);
    await rest.underWay();
    for (let round = 1; round <= 3; round++) {
      await redis.kill('SIGKILL');
      await sleep(round * 2 * second);
      await redis.restart();
      await rest.ticksOn();
    }
    await rest.audit();
  }

  async function redisStopped() {
    const { redis, ...rest } = await ownServer('redis-stopped');
    await rest.underWay();
    await redis.kill('SIGSTOP');
    await sleep(15 * second);
    await redis.kill('SIGCONT');
    await rest.ticksOn();
    await rest.audit();
  }

  async function redisOutOfMemory() {
    const { broker, ...rest } = await ownServer('redis-full');
    await rest.underWay();
    await broker.client.config('SET', 'maxmemory', '1');
    await sleep(15 * second);
    await expect(broker.client.set('anything', 'at all')).rejects.toThrow(/OOM/);
    await broker.client.config('SET', 'maxmemory', '0');
    await rest.ticksOn();
    await rest.audit();
  }

  async function ownServer(name: string, args: string[] = []) {
    const redis: RedisProcess = await startRedis({ args });
    onTestFinished(redis.stop);
    const system = await schedulesOf(name, redis.url);
    for (const role of ['producer', 'worker', 'worker']) startProgram([role], { env: system.env });
    return { redis, ...system };
  }
});

describe('a process', () => {
  it('may stand still past its lock, or be wrong about the time: every tick has its entry', async () => {
    await together({ frozen: workerFrozen, 'wrong clocks': clocksWrong });
  });

  async function workerFrozen() {
    const { journal, env, underWay, ticksOn, audit } = await schedulesOf('frozen');
    startProgram(['producer'], { env });
    const frozen = startProgram(['worker'], { env });
    await underWay();
    startProgram(['worker'], { env });
    const open = await eventually(() => {
      const notes = journal.notes().filter(({ pid }) => pid === frozen.child.pid);
      const ended = new Set(notes.flatMap(({ word, run }) => (word === 'end' ? [run] : [])));
      const found = notes.find(({ word, run, at }) => word === 'begin' && !ended.has(run) && at > Date.now() - 200);
      if (found) frozen.kill('SIGSTOP');
      return found;
    }, 30_000);
    await sleep(beyondLockMs);
    frozen.kill('SIGCONT');
    await ticksOn();
    expect(frozen.child.exitCode).toBeNull();
    const again = (await audit()).flatMap((found) => found.again);
    expect(again, 'what it stood still with was given to the other').toContain(open.tick);
  }

  async function clocksWrong() {
    const { broker, of, journal, env, underWay, ticksOn, audit } = await schedulesOf('clocks');
    const behind = { ...env, ...shiftedClock(-5 * second) };
    const ahead = { ...env, ...shiftedClock(5 * second) };
    startProgram(['worker'], { env });
    let producer = startProgram(['producer'], { env: behind });
    await underWay();
    startProgram(['worker'], { env: ahead });
    await ticksOn();
    // Now the producer has to begin chains anew, at a time that is past for the others.
    await heal();
    producer.kill('SIGKILL');
    await producer.exit;
    producer = startProgram(['producer'], { env: behind });
    await producer.line((line) => line.event === 'producer.leading', 30_000);
    await heal();
    const early = journal.notes().filter(({ word, tick, at }) => word === 'begin' && at - 5 * second < tick);
    expect(early.length, 'ticks that the one ahead took before their time').toBeGreaterThan(0);
    await audit();

    async function heal() {
      const known = producer.lines.length;
      for (const { job, schedule } of of) await broker.queue(job).removeJobScheduler(schedule);
      const healed = () => producer.lines.slice(known).filter(({ event }) => event === 'schedule.healed');
      await eventually(() => healed().length >= of.length, 60_000);
      await ticksOn();
    }
  }
});

/** A schedule of each second for two jobs, one of which is to run every tick, and what a scenario does with them. */
async function schedulesOf(name: string, url?: string) {
  const { broker, prefix } = await fixture([], url ? { url } : {});
  const journal = openJournal();
  const names = [`${name}-once`, `${name}-all`];
  const env = { ...(url && { REDIS_URL: url }), RONDO_PREFIX: prefix, RONDO_JOBS: everySecond(journal, name) };
  const of = names.map((job) => ({ job, schedule: job }));
  return {
    broker,
    journal,
    env,
    of,
    /** Resolves when both have run a few times. */
    underWay: () => untilBegun(journal, names, 3),
    /** Resolves when both have begun a few times more. */
    async ticksOn() {
      const askedAt = Date.now();
      await untilBegun(journal, names, 1);
      console.log(`${name}: ticks run again after ${Date.now() - askedAt} ms`);
      await untilBegun(journal, names, 4);
    },
    audit: () => Promise.all(of.map((each) => audit(broker, each, journal))),
  };
}

async function audit(broker: Broker, of: { job: string; schedule: string }, journal: Journal) {
  const from = await firstTick(broker, of);
  const to = Math.floor(Date.now() / second) * second - 2 * second;
  const found = await auditTicks(broker, of, { journal, from, to, everyMs: second, withinMs: 90_000 });
  const words = of.job.endsWith('-all') ? ['succeeded'] : ['succeeded', 'coalesced'];
  expect
    .soft(
      Object.keys(found.counts).filter((word) => !words.includes(word)),
      of.job,
    )
    .toEqual([]);
  return found;
}

async function untilBegun(journal: Journal, names: readonly string[], times: number): Promise<void> {
  const begun = (name: string) => journal.notes(name).filter(({ word }) => word === 'begin').length;
  const before = names.map(begun);
  const more = () => names.map((name, index) => begun(name) - (before[index] ?? 0));
  await eventually(() => more().every((count) => count >= times), 60_000).catch(() => {
    throw new Error(`${names.join(' and ')} began ${more().join(' and ')} times more`);
  });
}

function everySecond({ folder, code }: Journal, name: string): string {
  const source = `
import { setTimeout as sleep } from 'node:timers/promises';
${code}
const job = (name, misfire) => defineJob({
  name,
  schedules: [{ id: name, cron: '* * * * * *', misfire }],
  async run(context) {
    note(context, 'begin');
    await sleep(400);
    note(context, 'end');
  },
});
export default [job('${name}-once', 'run-once'), job('${name}-all', 'run-all')];`;
  return writeJobs(source, { folder });
}
