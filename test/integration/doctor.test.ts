import { hostname } from 'node:os';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connect, disconnect } from '../../src/broker/connection.js';
import { commandsNeeded, findRefusals } from '../../src/broker/permissions.js';
import { createSelf } from '../../src/broker/self.js';
import { readServers } from '../../src/broker/server-facts.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue } from '../../src/producers/enqueue.js';
import type { Finding } from '../../src/producers/finding.js';
import { createLease } from '../../src/producers/lease.js';
import { judgeServers } from '../../src/producers/server-findings.js';
import { readService } from '../../src/producers/service.js';
import { commands, refused } from '../support/commands.js';
import { fixture, freshPrefix } from '../support/harness.js';
import { secretOf } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';
import { hasRedisServer, type RedisOptions, startRedis } from '../support/servers.js';

const source = `export default [
  defineJob({ name: 'tidy', schedules: [{ id: 'nightly', at: '2098-01-01T00:00:00Z' }], run: () => null }),
];`;
const codes = (findings: readonly Finding[]) => findings.map(({ severity, code }) => `${severity} ${code}`);

describe('rondo doctor', () => {
  it('finds what is broken under the prefix, and with --fix heals it without losing a run', {
    timeout: 60_000,
  }, async () => {
    const { doctor, rondo, broker, job } = await shop();
    await rondo('schedules', 'apply');
    const queue = broker.queue('tidy');
    await enqueue(broker, job, {});
    await broker.client.zrem(queue.toKey('delayed'), 'repeat:nightly:4039372800000');
    await queue.upsertJobScheduler('by-hand', { every: 3_600_000 }, { name: 'tidy' });
    await broker.client.hset(`{${broker.keys.prefix}:other}:other:meta`, 'opts', '1');

    const before = await doctor();
    expect(before.code).toBe(1);
    expect(codes(before.findings)).toEqual([
      'serious no-producer',
      'serious schedule-broken',
      'serious no-worker',
      'warning scheduler-stray',
      'note queue-unknown',
    ]);
    expect(before.what('schedule-broken')).toBe(
      'the schedule nightly is broken: its next run is gone. No further tick of it runs',
    );
    expect(before.what('scheduler-stray')).toContain('by-hand');
    expect(await queue.getWaitingCount(), 'looking changes nothing').toBe(2);

    const fixed = await doctor('--fix');
    expect(fixed.code).toBe(1);
    expect(fixed.findings.filter((it) => it.fixed).map(({ code }) => code)).toEqual(['schedule-broken']);
    expect(await queue.getJobState('repeat:nightly:4039372800000')).toBe('delayed');
    expect(await queue.getWaitingCount()).toBe(2);
    expect(await queue.getJobScheduler('by-hand'), 'what somebody made is theirs').toBeTruthy();
    expect(await rondo('audit')).toContain('doctor --fix');
  });

  it('gives a lock an end that has none, and leaves its run where it is', { timeout: 60_000 }, async () => {
    const { doctor, broker, job } = await shop();
    const queue = broker.queue('tidy');
    const [held, left] = [await enqueue(broker, job, {}), await enqueue(broker, job, {})];
    // As a worker takes them; then its lock is made to last by hand, and the other's is gone with its process.
    for (const id of [held, left]) {
      await broker.client.lrem(queue.toKey('wait'), 0, id);
      await broker.client.lpush(queue.toKey('active'), id);
    }
    await broker.client.set(`${queue.toKey(held)}:lock`, 'token');

    expect(codes((await doctor()).findings)).toEqual(
      expect.arrayContaining(['serious lock-endless', 'serious run-abandoned']),
    );
    const { findings } = await doctor('--fix');
    expect(findings.find(({ code }) => code === 'lock-endless')?.fixed).toContain('30s');
    const ttl = await broker.client.pttl(`${queue.toKey(held)}:lock`);
    expect(ttl).toBeGreaterThan(0);
    expect(await queue.getActiveCount()).toBe(2);
  });

  it('tells of a prefix under which there is nothing, and writes nothing there', async () => {
    const { broker } = await fixture([]);
    const prefix = 'test-doctor-nowhere';
    const misspelt = commands({ RONDO_PREFIX: prefix });
    expect(await misspelt('schedules', 'list'), 'a look leaves no mark').toContain('There are no schedules');
    const { stdout } = await misspelt.attempt('doctor', '--json');
    expect(codes(JSON.parse(stdout).findings)).toContain('warning prefix-unused');
    expect(await broker.client.keys(`{${prefix}*`)).toEqual([]);
  });

  it('takes a prefix for used once a command has put a schedule there', async () => {
    const prefix = freshPrefix();
    const { broker } = await fixture([]);
    onTestFinished(async () => void (await broker.client.del(...(await broker.client.keys(`{${prefix}*`)))));
    const rondo = commands({ RONDO_PREFIX: prefix, RONDO_JOBS: writeJobs(source) });
    await rondo('schedules', 'put', 'own', '--job', 'tidy', '--at', '2098-01-01');
    const { stdout } = await rondo.attempt('doctor', '--json');
    expect(codes(JSON.parse(stdout).findings)).toEqual(expect.arrayContaining(['serious no-producer']));
    expect(stdout).not.toContain('prefix-unused');
  });

  it('goes on where settings, jobs and Redis are wrong, and says all of it, without a secret', async () => {
    const env = {
      REDIS_URL: refused,
      RONDO_API_KEYS: 'ops:tooshort:read',
      RONDO_JOBS: '/no/such.mjs',
      RONDO_PORT: '1',
    };
    const { code, stdout } = await commands(env).attempt('doctor');
    expect(code).toBe(1);
    expect(stdout).toMatch(/SERIOUS {2}settings: RONDO_API_KEYS\[0\]: expected a secret of at least 16 characters/);
    expect(stdout).toContain('[jobs-module]');
    expect(stdout).toContain('[redis-unreachable]');
    expect(stdout).toContain('RONDO_PORT is no setting');
    expect(stdout).not.toContain('tooshort');
  });
});

describe.skipIf(!hasRedisServer())('a Redis that is not as it should be', () => {
  it('is told of: what it evicts, keeps and allows, and where clocks differ', async () => {
    const { url, admin } = await ownRedis({
      args: ['--maxmemory-policy', 'allkeys-lru', '--maxmemory', '100mb', '--hz', '10'],
    });
    const { code, stdout } = await commands({ REDIS_URL: url }).attempt('doctor', '--json');
    expect(code).toBe(1);
    expect(codes(JSON.parse(stdout).findings)).toEqual([
      'serious redis-eviction',
      'warning redis-aof',
      'note redis-hz',
      'note prefix-unused',
    ]);

    await admin.call('ACL', 'SETUSER', 'some', 'on', '>pw', '~{rondo*', '+@all', '-zadd', '-config', '-bzpopmin');
    await admin.call('ACL', 'SETUSER', 'elsewhere', 'on', '>pw', '~{shop*', '+@all');
    const as = async (user: string) => {
      const given = url.replace('//', `//${user}:pw@`);
      const answer = await commands({ REDIS_URL: given }).attempt('doctor', '--json');
      expect(answer.stdout).not.toContain('pw@');
      return JSON.parse(answer.stdout).findings as Finding[];
    };
    const found = await as('some');
    expect(codes(found)).toEqual(
      expect.arrayContaining(['serious redis-eviction', 'serious redis-commands-denied', 'note redis-config-refused']),
    );
    expect(found.find(({ code: it }) => it === 'redis-commands-denied')?.what).toMatch(/: ZADD, BZPOPMIN$/);
    expect(codes(await as('elsewhere'))).toContain('serious redis-keys-denied');

    const [server] = await readServers(admin, () => Date.now() - 5_000);
    expect(server?.clock.aheadMs).toBeGreaterThan(4_900);
    const skewed = judgeServers(server ? [server] : [], { isCluster: false });
    expect(skewed.find(({ code: it }) => it === 'clock-skew')?.what).toContain('behind that of Redis');
  });

  it('is enough with the commands that the doctor tries: schedules, workers and enqueues go on with them alone', async () => {
    const { url, admin } = await ownRedis();
    const allowed = commandsNeeded.map((name) => `+${name}`);
    await admin.call('ACL', 'SETUSER', 'rondo', 'on', '>pw', '~{test-*', '-@all', ...allowed);
    const job = defineJob({ name: 'beat', schedules: [{ id: 'each', every: '1s' }], run: () => 'done' });
    const { broker, events, work, produce, prefix } = await fixture([job], { url: url.replace('//', '//rondo:pw@') });

    expect(await findRefusals(broker.client, prefix)).toEqual([]);
    expect(await broker.client.exists(`{${prefix}:doctor}:scratch`)).toBe(0);
    await produce();
    await work();
    await enqueue(broker, job, {});
    await events.next('run.succeeded', ({ schedule }) => schedule === 'each');
    await events.next('run.succeeded', ({ schedule }) => schedule === undefined);
    const answer = await commands({ REDIS_URL: url.replace('//', '//rondo:pw@'), RONDO_PREFIX: prefix }).attempt(
      'doctor',
      '--json',
    );
    const ofServer = (JSON.parse(answer.stdout).findings as Finding[]).filter(({ code }) => /redis|unseen/.test(code));
    expect(codes(ofServer), 'what it may not see it says, and goes on').toEqual([
      'warning redis-aof',
      ...['note redis-config-refused', 'note redis-memory-unbounded', 'note queues-unseen'],
    ]);
    const kept = (await admin.call('KEYS', '*scratch*')) as string[];
    expect(kept).toEqual([]);
  });
});

describe('rondo health --detailed', () => {
  it('tells who leads, who works and what is next, and that it is not well without them', async () => {
    const { rondo, produce, serve } = await shop();
    const alone = await rondo.attempt('health', '--detailed', '--json');
    expect(alone.code).toBe(1);
    expect(JSON.parse(alone.stdout)).toMatchObject({ status: 'unready', trouble: ['no worker is alive'], leads: [] });

    await produce({ app: 'shop' });
    const { stdout } = await rondo.attempt('health', '--detailed', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      leads: [{ app: 'shop', led: true, leader: null, producers: 0 }],
      schedules: { total: 1, byHealth: { sound: 1 } },
      next: [{ schedule: 'nightly', job: 'tidy', due: '2098-01-01T00:00:00Z' }],
    });
    const read = await rondo.attempt('health', '--detailed');
    expect(read.stdout).toMatch(/^Not well: no worker is alive\.\n/);

    const api = await serve();
    const through = ['--url', api.url, '--key', secretOf('read')];
    expect(await rondo.attempt(...through, 'health', '--detailed')).toEqual(read);
  });
});

it('who leads is known by the lease, and by what its process tells of itself', async () => {
  const { broker } = await fixture([]);
  const vitalSigns = () => ({ loopDelayMs: 1, memory: { rss: 1, heapUsed: 1, heapTotal: 2 } });
  const self = createSelf({ roles: ['producer'], app: 'shop', release: '1.4.0', vitalSigns, now: Date.now });
  const sign = self.shownOn(broker);
  await sign.start();
  onTestFinished(() => sign.stop(Date.now()));
  const leadOf = async () => (await readService(broker, Date.now())).leads;
  expect(await leadOf()).toEqual([{ app: 'shop', led: false, leader: null, producers: 1 }]);

  const lease = createLease(broker.client, broker.keys.producerLease('shop'), 8_000, self.id);
  await lease.acquire();
  onTestFinished(() => lease.release());
  const leader = { id: self.id, host: hostname(), pid: process.pid, release: '1.4.0' };
  expect(await leadOf()).toEqual([{ app: 'shop', led: true, leader, producers: 1 }]);
});

/** An app with a job and a schedule, and the command line for it. */
async function shop() {
  const job = defineJob({
    name: 'tidy',
    schedules: [{ id: 'nightly', at: '2098-01-01T00:00:00Z' }],
    run: () => null,
  });
  const parts = await fixture([job]);
  const rondo = commands({ RONDO_JOBS: writeJobs(source), RONDO_APP: 'shop', RONDO_PREFIX: parts.prefix });
  return {
    ...parts,
    job,
    rondo,
    /** What it says of the store; of the tests' server others may say what they like. */
    async doctor(...flags: string[]) {
      const { code, stdout } = await rondo.attempt('doctor', '--json', ...flags);
      const all = JSON.parse(stdout).findings as Finding[];
      const findings = all.filter(({ about }) => about === 'bullmq');
      return { code, findings, what: (of: string) => findings.find((it) => it.code === of)?.what };
    },
  };
}

async function ownRedis(options: RedisOptions = {}) {
  const redis = await startRedis(options);
  onTestFinished(() => redis.stop());
  const admin = await connect({ kind: 'single', url: redis.url, shown: redis.url }, 'fail-fast', () => {});
  onTestFinished(() => disconnect(admin));
  return { url: redis.url, admin };
}
