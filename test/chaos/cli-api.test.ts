import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { z } from 'zod';
import type { Broker } from '../../src/broker/queues.js';
import type { Control } from '../../src/cli/control.js';
import { httpControl } from '../../src/cli/control-http.js';
import { redisControl } from '../../src/cli/control-redis.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { putSchedule } from '../../src/producers/put.js';
import { fixture } from '../support/harness.js';
import { secretOf } from '../support/http.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { hasTerminal, runProgram, runShell, startOnTerminal } from '../support/processes.js';

const mail = defineJob({ name: 'mail', payload: z.object({ to: z.string() }), run: () => null });
const source = `export default [defineJob({ name: 'mail', payload: z.object({ to: z.string() }), run: () => null })];`;
const key = secretOf('admin');
const unreachable = 'redis://127.0.0.1:1';

async function start() {
  const parts = await fixture([mail]);
  const api = await parts.serve();
  const jobs = writeJobs(source);
  return {
    ...parts,
    api,
    /** With Redis at hand. */
    redis: { RONDO_PREFIX: parts.prefix, RONDO_JOBS: jobs, REDIS_URL: inject('redisUrl') },
    /** Through the API alone: whatever goes to Redis fails. */
    through: { RONDO_URL: api.url, RONDO_API_KEY: key, REDIS_URL: unreachable },
  };
}

const deployment = { app: 'test', release: '1' };
const sessionOn = (broker: Broker) => ({
  ...{ broker, registry: createRegistry([mail]) },
  ...{ config: deployment, tracing: null },
});

/** What does not differ from run to run. */
const plain = (value: unknown) =>
  JSON.stringify(value, null, 1)
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replaceAll(/trigger:daily:\w+/g, 'trigger:daily:ID')
    .replaceAll(/"offset": \d+/g, '"offset"')
    .replaceAll(/"id": "[0-9a-f]{8}"/g, '"id"')
    .replaceAll(/mail (\d+|idem:\w+:0)/g, 'mail ID')
    .replaceAll(/"(\d+|idem:\w+:0)"/g, '"ID"')
    .split('\n');

test('whatever a command asks for is the same through an API as with Redis at hand', async () => {
  const told = await Promise.all(
    [false, true].map(async (isThroughApi) => {
      const { broker, api } = await start();
      const control = isThroughApi ? httpControl({ url: api.url, key }) : redisControl(sessionOn(broker));
      return everythingOn(control, isThroughApi ? undefined : 'admin');
    }),
  );
  expect(plain(told[1])).toEqual(plain(told[0]));
  expect(plain(told[1]).filter((line) => line.includes('"failed:'))).toHaveLength(5);
});

/** Each of a control's calls, and what came of it. */
async function everythingOn(control: Control, by: string | undefined): Promise<unknown[]> {
  const told: unknown[] = [];
  const tell = async <Answer>(work: Promise<Answer>): Promise<Answer> => {
    const answer = await work.catch((error) => `failed: ${error.message} [${error.code}]` as Answer);
    told.push(answer ?? null);
    return answer;
  };
  const { id } = await tell(control.enqueue('mail', { to: 'b' }, { delay: 3_600_000, priority: 3 }));
  await tell(control.run('mail', id));
  await tell(control.runs({ job: 'mail', limit: 5 }));
  await tell(control.runs({ limit: 5, state: 'delayed' }));
  await tell(control.retryRun('mail', id));
  await tell(control.cancelRun('mail', id, by));
  await tell(control.run('mail', id));
  await tell(control.enqueue('mail', { to: 1 }, {}));
  await tell(control.enqueue('mial', {}, {}));
  await tell(control.enqueueMany('mail', [{ to: 'c' }], { at: Date.now() + 60_000 }, 'key'));
  await tell(control.redrive('mail', { limit: 3 }));
  await tell(control.pauseJob('mail', { by, note: 'stock' }));
  await tell(control.pausedJobs());
  for (const _ of [1, 2]) await tell(control.resumeJob('mail'));
  await tell(control.goneJobs());
  const daily = { job: 'mail', cron: '0 7 * * *', payload: { to: 'a' } };
  for (const fields of [daily, daily, { ...daily, cron: '0 8 * * *' }]) await tell(control.put('daily', fields, by));
  const list = [{ id: 'other', ...daily }, daily, { id: 'wrong', ...daily, cron: 'never' }, { id: 'other', ...daily }];
  const put = await control.putMany(list, by, () => {});
  told.push(put.map((it) => ({ ...it, ...('error' in it && { error: (it.error as Error).message }) })));
  await tell(control.schedules());
  await tell(control.schedule('daily', 5));
  await tell(control.preview('daily', { from: Date.UTC(2026, 0, 1), count: 2 }));
  await tell(control.ticks('daily', { limit: 5 }));
  await tell(control.pause('daily', { by, note: 'stock', until: Date.UTC(2037, 0, 1) }));
  await tell(control.all());
  for (const _ of [1, 2]) await tell(control.resume('daily'));
  await tell(control.trigger('daily', { force: true }));
  const range = { from: Date.now() - 3 * 86_400_000, to: Date.now(), onlyMissed: false };
  await tell(control.backfills.preview('daily', range));
  await tell(control.backfills.begin('daily', { ...range, confirmed: false, by }));
  await tell(control.backfills.list('daily'));
  await tell(control.plan());
  await tell(control.apply(false));
  await tell(control.remove('daily'));
  await tell(control.remove('daily'));
  return told;
}

test('a tick that is overdue when its schedule is removed is told of, whichever way', async () => {
  const told = await Promise.all(
    [false, true].map(async (isThroughApi) => {
      const { broker, api } = await start();
      const registry = createRegistry([mail]);
      const at = Date.now() - 1_500;
      const fields = { job: 'mail', every: '1s', payload: { to: 'a' } };
      await putSchedule(broker, registry, 'often', fields, { by: 'admin', now: at }, () => {});
      const control = isThroughApi ? httpControl({ url: api.url, key }) : redisControl(sessionOn(broker));
      return (await control.remove('often')).length;
    }),
  );
  expect(told[1]).toBe(told[0]);
  expect(told[0]).toBeGreaterThan(0);
});

test('lists and what is done to all schedules go through an API', async () => {
  const { broker, through, redis } = await start();
  const list = Array.from({ length: 30 }, (_, n) => ({ id: `s-${n}`, job: 'mail', every: '1h', payload: { to: 'a' } }));
  const put = `echo '${JSON.stringify(list)}' | $rondo schedules put --file -`;
  const { stdout, stderr } = await runShell(
    `${put}; $rondo pause --all --note stock; $rondo schedules list | wc -l; $rondo resume --all
     $rondo jobs enqueue mail --payload '{"to":"a"}'; $rondo runs list --state waiting --json`,
    { env: through },
  );
  expect(stderr).toBe('');
  const [created, paused, lines, resumed, enqueued, ...runs] = stdout.split('\n');
  expect([created, paused, lines?.trim(), resumed, enqueued]).toEqual([
    '30 created, 0 changed, 0 unchanged, 0 failed',
    '30 of 30 schedules are paused',
    '31',
    '30 of 30 schedules go on; 0 were not paused',
    expect.stringMatching(/^mail \S+ is enqueued$/),
  ]);
  const local = await runProgram(['runs', 'list', '--state', 'waiting', '--json'], { env: redis });
  expect(JSON.parse(runs.join('\n'))).toEqual(JSON.parse(local.stdout));
  expect(await broker.queue('mail').getJobCounts('wait')).toEqual({ wait: 1 });
});

test('a file of payloads is enqueued by the thousand; again, it adds nothing; a wrong line is named', async () => {
  const { broker, through, redis } = await start();
  const count = async () => (await broker.queue('mail').getJobCounts('delayed')).delayed;
  const folder = freshFolder();
  const file = join(folder, 'runs.ndjson');
  const lines = Array.from({ length: 2_500 }, (_, n) => JSON.stringify({ to: `n${n}` }));
  const write = (wanted: readonly string[]) => writeFileSync(file, `${wanted.join('\n')}\n`);
  const enqueue = ['jobs', 'enqueue', 'mail', '--file', file, '--at', new Date(Date.now() + 86_400_000).toISOString()];
  write(lines.with(1_400, '{"to": 5}').with(1_410, '{"to"'));
  for (const env of [through, redis]) {
    const broken = await runProgram(enqueue, { env });
    expect(broken).toMatchObject({ code: 1, stdout: '' });
    expect(broken.stderr).toContain('before it 1000 runs are');
    expect(broken.stderr).toMatch(
      /line 1411: expected a payload as JSON; got what is none at its end, which comes too early/,
    );
    write(lines.with(1_400, '{"to": 5}'));
    const refused = await runProgram(enqueue, { env });
    expect(refused.stderr).toContain('line 1401: payload.to: expected a string; got 5');
    write(lines);
    const [first, second] = [await runProgram(enqueue, { env }), await runProgram(enqueue, { env })];
    expect([first.stdout, second.stdout]).toEqual(Array(2).fill('2500 runs of mail are enqueued\n'));
    expect(await count()).toBe(env === through ? 2_500 : 5_000);
    write(lines.with(1_400, '{"to": 5}').with(1_410, '{"to"'));
  }
  write(['{"to":"a"}', '', '{"to":"b"}']);
  const { stdout } = await runShell(`$rondo jobs enqueue mail --file - --anew --json < ${file}`, { env: through });
  expect(JSON.parse(stdout)).toEqual({ job: 'mail', enqueued: 2 });
});

test.skipIf(!hasTerminal())(
  'a large file shows a bar on a terminal',
  async () => {
    const { through } = await start();
    const file = join(freshFolder(), 'runs.ndjson');
    writeFileSync(file, `${JSON.stringify({ to: 'a' })}\n`.repeat(3_000));
    const { screen, exit } = startOnTerminal(`jobs enqueue mail --file ${file}`, { env: through });
    expect(await exit).toBe(0);
    expect(screen()).toMatch(/\[##########\.{20}\] 1000, \d+ a second/);
    expect(screen()).toContain('3000 runs of mail are enqueued');
  },
  30_000,
);

test('what goes through no API says so; wrong access is told without the key', async () => {
  const { api } = await start();
  const access = ['--url', api.url, '--key', key];
  const told = async (args: readonly string[], env: Record<string, string> = {}) => {
    const { code, stdout, stderr } = await runProgram(args, { env: { REDIS_URL: unreachable, ...env } });
    expect(stdout + stderr).not.toContain(key);
    return { code, stderr };
  };
  const notThere = { code: 2, stderr: expect.stringContaining('this command does not go through an API') };
  const results = await Promise.all([
    told(['start', ...access]),
    told([...access, 'worker']),
    told(['api', ...access]),
    told(['runs', 'cancel', 'mail', '1', '--by', 'ada', ...access]),
    told(['runs', 'list', '--url', `http://ada:${key}@127.0.0.1`]),
    told(['runs', 'list', '--url', 'http://127.0.0.1:1', '--key', `${key}x`.slice(0, -1), '--limit', '1'], {}),
    told(['runs', 'list', '--url', api.url, '--key', 'x'.repeat(20)]),
  ]);
  expect(results.slice(0, 3)).toEqual([notThere, notThere, notThere]);
  const [by, address, away, wrong] = results.slice(3);
  expect(by).toMatchObject({ code: 2, stderr: expect.stringContaining('no --by [usage-wrong]') });
  expect(address?.stderr).toMatch(/--url: expected the address of an API.*got \(not shown\)/);
  expect(address?.stderr).toContain('--key or RONDO_API_KEY: expected the secret of an API key; got nothing');
  expect(away).toMatchObject({ code: 1, stderr: expect.stringMatching(/cannot be reached.*\[api-unreachable\]/) });
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('[unauthenticated]') });
});
