import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/define-job.js';
import { enqueue, findRun } from '../../src/producers/runs.js';
import { startCluster, startSentinels } from '../support/cluster.js';
import { eventually, type Fixture, fixture, freshPrefix } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { type ProgramOptions, runProgram, runWarm, startProgram } from '../support/processes.js';
import { prompt } from '../support/prompt.js';
import { findFreePort, hasRedisServer, startRedis } from '../support/servers.js';

const hasOpenssl = spawnSync('openssl', ['version'], { stdio: 'ignore' }).status === 0;
if (!hasOpenssl) console.log('SKIPPED: the tests of TLS, since no openssl is on the PATH');

const job = defineJob({ name: 'work', schedules: [{ id: 'work-often', every: '1s' }], run: () => 'done' });

describe.skipIf(!hasRedisServer())('a password', () => {
  const password = 'p@ss/w:rd?#%';

  it.each([
    ['of the default user', ['--requirepass', password], `:${encodeURIComponent(password)}`],
    [
      'of a user of its own',
      ['--user', 'rondo', 'on', `>${password}`, '~*', '&*', '+@all', '--user', 'default', 'off'],
      `rondo:${encodeURIComponent(password)}`,
    ],
  ])('%s opens the way, for the blocking connections of workers too', async (_, args, credentials) => {
    const { port } = await ownRedis(args);

    await runsOn(`redis://${credentials}@127.0.0.1:${port}`);
  });

  it.each([
    ['that is wrong', ':wrong-secret@', /WRONGPASS|invalid/],
    ['that is missing', '', /NOAUTH/],
    ['of a user that does not exist', 'nobody:wrong-secret@', /WRONGPASS|invalid/],
  ])('%s is refused at once, by name of the setting and without the secret', prompt, async (_, credentials, reason) => {
    const { port } = await ownRedis(['--requirepass', password]);
    const startedAt = Date.now();

    const refused = await fixture([job], { url: `redis://${credentials}127.0.0.1:${port}` }).catch((error) => error);

    expect(refused).toMatchObject({ code: 'redis-unreachable', message: expect.stringContaining('REDIS_URL') });
    expect(refused.message).toMatch(reason);
    expect(refused.message).not.toContain('secret');
    expect(Date.now() - startedAt).toBeLessThan(2_500); // not the whole time that an absent server is waited for
  });
});

describe.skipIf(!hasRedisServer())('a set with Sentinels', () => {
  it('is worked with, and after its master is gone the one that took over is', async () => {
    const { url, master, stop } = await startSentinels();
    onTestFinished(stop);
    const { events, work, produce } = await fixture([job], { url });
    await work();
    await produce();
    await events.next('run.succeeded');
    await master.kill('SIGKILL');
    const killedAt = Date.now();
    // A Sentinel that a slow machine has held up for two seconds trusts its clock no more, and does nothing for 30 s.
    await eventually(() => events.of('run.succeeded').some(({ tick = 0 }) => tick > killedAt + 3_000), 120_000);
  }, 150_000);
});

describe.skipIf(!hasRedisServer())('a database number', () => {
  it('is where all keys go, and nowhere else', async () => {
    const { url } = await ownRedis();

    await runsOn(`${url}/3`);

    const keyspace = await asked(url, (redis) => redis.info('keyspace'));
    expect(keyspace).toContain('db3:keys=');
    expect(keyspace.match(/^db/gm)).toHaveLength(1);
  });

  it('that the server does not have is refused', async () => {
    const { url } = await ownRedis();

    await expect(fixture([job], { url: `${url}/99` })).rejects.toMatchObject({
      code: 'redis-unreachable',
      message: expect.stringMatching(/DB index is out of range/),
    });
    expect(await asked(url, (redis) => redis.dbsize())).toBe(0);
  });
});

describe.skipIf(!hasRedisServer() || !hasOpenssl)('TLS', () => {
  it('is used with rediss://, for a certificate that Node.js is told to trust', async () => {
    const { url, certificate, env } = await startTlsRedis();
    const program = startProgram(['start'], { env: { ...env, NODE_EXTRA_CA_CERTS: certificate } });

    await program.line(({ event, job }) => event === 'run.succeeded' && job === 'work', 30_000);
    program.kill('SIGTERM');
    expect(await program.exit).toEqual({ code: 0, signal: null });
    expect(url).toMatch(/^rediss:/);
  });

  it('is not trusted blindly: an unknown certificate is refused, with the reason', async () => {
    const { env, url } = await startTlsRedis();

    const { code, stderr } = await runProgram(['start'], { env });

    expect(code).toBe(1);
    expect(stderr).toContain(`REDIS_URL is ${url}: `);
    expect(stderr).toMatch(/self-signed certificate/);
    expect(stderr).toContain('[redis-unreachable]');
  });

  it('with a port that speaks none ends in an error, not in waiting', async () => {
    const { url } = await ownRedis();

    const refused = await fixture([job], { url: url.replace('redis:', 'rediss:') }).catch((error) => error);

    expect(refused).toMatchObject({ code: 'redis-unreachable' });
  });

  async function startTlsRedis() {
    const folder = freshFolder();
    const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
    const request = 'req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1';
    const made = spawnSync('openssl', [...request.split(' '), '-keyout', key, '-out', certificate], {
      encoding: 'utf8',
    });
    expect(made.status, made.stderr).toBe(0);
    const port = await findFreePort();
    const files = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate];
    await ownRedis(['--tls-port', String(port), ...files, '--tls-auth-clients', 'no']);
    const url = `rediss://127.0.0.1:${port}`;
    const source = `export default [
      defineJob({ name: 'work', schedules: [{ id: 'work-often', every: '1s' }], run: () => 'done' }),
    ];`;
    return { url, certificate, env: { REDIS_URL: url, RONDO_JOBS: writeJobs(source), RONDO_PREFIX: freshPrefix() } };
  }
});

describe.skipIf(!hasRedisServer())('a cluster of three nodes', () => {
  it('carries it all: schedules, runs, retries, the command line, and a stop', { timeout: 90_000 }, async () => {
    const cluster = await startCluster();
    onTestFinished(() => cluster.stop());
    const source = `
      const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      export default [
        defineJob({ name: 'tick', schedules: [{ id: 'tick-often', cron: '* * * * * *' }], run: () => {} }),
        defineJob({ name: 'flaky', payload: z.object({ size: z.number() }), retry: { attempts: 3, delay: 50, jitter: 0 },
          run({ run, payload }) { if (run.attempt < 3) throw new Error('not yet'); return payload.size; } }),
        defineJob({ name: 'long', schedules: [{ id: 'long-seldom', every: '300d' }],
          async run({ signal, log }) { log.info('under way'); await wait(60_000 * !signal.aborted); } }),
      ];`;
    const prefix = 'app'; // on a cluster of its own: its slots are on more than one node
    const env = {
      REDIS_URL: cluster.url,
      RONDO_JOBS: writeJobs(source),
      RONDO_PREFIX: prefix,
      LOG_LEVEL: 'debug',
      SHUTDOWN_GRACE: '200ms',
    };
    const producer = startProgram(['producer'], { env });
    const worker = startProgram(['worker'], { env });
    const ticked = await worker.line(({ event, job }) => event === 'run.succeeded' && job === 'tick', 30_000);
    await worker.line(({ event, tick }) => event === 'run.succeeded' && Number(tick) > Number(ticked.tick));

    const { code, stdout } = await runWarm(['doctor', '--json'], { env });
    const doctor = JSON.parse(stdout);
    expect({ code, serious: doctor.serious }, stdout).toEqual({ code: 0, serious: false });
    expect(doctor.looked.redis.match(/answers in/g), 'each master').toHaveLength(3);
    expect(doctor.looked.store).toMatch(/^2 schedules, 3 queues, 1 workers, a producer leads/);

    const flaky = await added('flaky', { size: 12 }, { env });
    await worker.line(({ event, job, attempt }) => event === 'run.succeeded' && job === 'flaky' && attempt === 3);
    expect(await shown('flaky', flaky, { env })).toMatchObject({ state: 'completed', attempts: 3, result: 12 });

    const long = await added('long', {}, { env });
    await worker.line(({ event, job }) => event === 'run.logged' && job === 'long');
    for (const program of [worker, producer]) program.kill('SIGTERM');
    expect(await worker.exit).toEqual({ code: 0, signal: null });
    expect(await producer.exit).toEqual({ code: 0, signal: null });
    expect(await shown('long', long, { env })).toMatchObject({ state: 'waiting', attempts: 0 });

    for (const program of [worker, producer]) {
      expect(program.text()).toBe('');
      const troubles = ['worker.error', 'producer.failed', 'redis.away', 'schedule.failed', 'schedule.healed'];
      expect(program.lines.filter(({ event }) => troubles.includes(event ?? ''))).toEqual([]);
    }
    const again = await runWarm(['schedules', 'plan', '--json'], { env });
    expect(again).toMatchObject({ code: 0, stderr: '' });
    const nodesInUse = await Promise.all(cluster.nodes.map(({ url }) => asked(url, (redis) => redis.dbsize())));
    expect(nodesInUse.filter((keys) => keys > 0).length, `keys by node: ${nodesInUse}`).toBeGreaterThan(1);
  });

  async function added(name: string, payload: object, options: ProgramOptions): Promise<string> {
    const args = ['jobs', 'enqueue', name, '--payload', JSON.stringify(payload), '--json'];
    const { code, stdout, stderr } = await runWarm(args, options);
    expect(code, stderr).toBe(0);
    return z.object({ id: z.string() }).parse(JSON.parse(stdout)).id;
  }

  async function shown(name: string, id: string, options: ProgramOptions): Promise<unknown> {
    const { stdout, stderr } = await runWarm(['runs', 'show', name, id, '--json'], options);
    expect(stderr).toBe('');
    return JSON.parse(stdout);
  }
});

async function ownRedis(args: string[] = []) {
  const redis = await startRedis({ args });
  onTestFinished(() => redis.stop());
  return redis;
}

/** A run and a tick, through all parts. */
async function runsOn(url: string): Promise<Fixture> {
  const parts = await fixture([job], { url });
  await parts.work();
  await parts.produce();
  const id = await enqueue(parts.broker, job, {});
  await parts.events.next('run.succeeded', ({ run }) => run === id);
  await parts.events.next('run.succeeded', ({ schedule }) => schedule === 'work-often');
  expect(await findRun(parts.broker, job, id)).toMatchObject({ state: 'completed', result: 'done' });
  return parts;
}

async function asked<Answer>(url: string, question: (redis: Redis) => Promise<Answer>): Promise<Answer> {
  const redis = new Redis(url);
  try {
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}
