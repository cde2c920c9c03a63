import { expect, inject, test } from 'vitest';
import { createPresence } from '../../src/broker/releases.js';
import { createClient, type RondoClient } from '../../src/client/index.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import type { Diagnosis } from '../../src/producers/examination.js';
import { createGoneWatch } from '../../src/producers/gone-jobs.js';
import { enqueue } from '../../src/producers/runs.js';
import { commands, refused, rowsOf } from '../support/commands.js';
import { fixture } from '../support/harness.js';
import { type Api, expectProblem, secretOf, startTarget } from '../support/http.js';
import { writeJobs } from '../support/jobs-module.js';

const old = defineJob({ name: 'old-import', run: () => null });
const report = defineJob({
  name: 'report',
  schedules: [{ id: 'nightly', at: '2098-01-01T00:00:00Z' }],
  run: () => null,
});
const source = `export default [defineJob({
  name: 'report', schedules: [{ id: 'nightly', at: '2098-01-01T00:00:00Z' }], run: () => null,
})];`;

/** An API, the command line that has it alone, and the one that has Redis. */
async function start(jobs = [report]) {
  const parts = await fixture(jobs);
  const api = await parts.serve();
  const own = { RONDO_PREFIX: parts.prefix, RONDO_JOBS: writeJobs(source), RONDO_APP: 'test', RONDO_RELEASE: '1' };
  return { ...parts, api, through: commandsOn(api), local: commands({ ...own, REDIS_URL: inject('redisUrl') }) };
}

const commandsOn = ({ url }: Api, key = 'admin') =>
  commands({ RONDO_URL: url, RONDO_API_KEY: secretOf(key), REDIS_URL: refused });
const clientOn = ({ url }: Api, key = 'admin'): RondoClient => createClient({ url, key: secretOf(key) });

test('schedules are planned and applied through an API, by the code of the API', async () => {
  const { api, through, local } = await start();
  const added = { kind: 'add', id: 'nightly', job: 'report', before: null, after: '2098-01-01T00:00:00Z', why: 'new' };
  const planned = await through.json('schedules', 'plan');
  expect(planned).toEqual({
    ...{ app: 'test', release: '1', changes: [added], unchanged: 0, conflicts: [], refused: null, warnings: [] },
  });
  expect(planned).toEqual(await local.json('schedules', 'plan'));
  expect(await through.json('schedules', 'list'), 'a plan changes nothing').toEqual([]);

  const applied = await through('schedules', 'apply');
  expect(applied.split('\n')[0]).toBe('By the code of the API, test 1:');
  expect(rowsOf(applied)[2]).toEqual(['add', 'nightly', 'report', '-', '2098-01-01T00:00:00Z', 'new']);
  expect(await through('schedules', 'plan')).toBe(
    'By the code of the API, test 1:\nNothing to change.\n1 unchanged.\n',
  );
  expect(await local('schedules', 'plan')).toBe('Nothing to change.\n1 unchanged.\n');
  const [entry] = await through.json('audit', '--limit', '1');
  expect(entry).toMatchObject({ who: 'admin', via: 'api', action: 'POST /v1/plan/apply', request: { yes: false } });
  expectProblem(await api.call('POST', '/v1/plan/apply', { key: 'operate' }), 403, 'forbidden');
  const wrong = await api.call('POST', '/v1/plan/apply', { json: { yes: 'please' } });
  expectProblem(wrong, 422, 'request-invalid', { problems: [expect.objectContaining({ where: 'yes' })] });
});

test('the doctor finds through an API what it finds with Redis at hand, and mends it there', async () => {
  const { broker, serve, local } = await start();
  const warning = 'RONDO_PROT is no setting of this release and is ignored';
  const api = await serve({ warnings: [warning] });
  const doctor = async (command: typeof local, ...flags: string[]) => {
    const { code, stdout } = await command.attempt('doctor', '--json', ...flags);
    const { findings, ...rest } = JSON.parse(stdout) as Diagnosis;
    return { code, ...rest, findings, ofStore: findings.filter(({ about }) => about === 'bullmq') };
  };
  await local('schedules', 'apply');
  const queue = broker.queue('report');
  await broker.client.zrem(queue.toKey('delayed'), 'repeat:nightly:4039372800000');

  const seen = await doctor(commandsOn(api));
  expect({ code: seen.code, serious: seen.serious }).toEqual({ code: 1, serious: true });
  expect(seen.ofStore.map(({ code }) => code)).toContain('schedule-broken');
  expect(seen.ofStore).toEqual((await doctor(local)).ofStore);
  expect(seen.findings.filter(({ about }) => about === 'settings').map(({ what }) => what)).toEqual([warning]);
  expect(Object.keys(seen.looked)).toEqual(['api', 'redis', 'store']);
  expect(seen.looked.api).toContain(`app test, release 1, prefix ${broker.keys.prefix}, process ${process.pid} on `);
  expect(await queue.getDelayedCount(), 'looking changes nothing').toBe(0);
  expect(await broker.client.keys(`{${broker.keys.prefix}:doctor}*`)).toEqual([]);

  const mended = await doctor(commandsOn(api), '--fix');
  expect(mended.ofStore.filter(({ fixed }) => fixed).map(({ code }) => code)).toEqual(['schedule-broken']);
  expect(await queue.getJobState('repeat:nightly:4039372800000')).toBe('delayed');
  expect((await doctor(local)).ofStore.map(({ code }) => code)).not.toContain('schedule-broken');
  const [entry] = await local.json('audit', '--limit', '1');
  expect(entry).toMatchObject({ who: 'admin', via: 'api', action: 'POST /v1/doctor/fix', status: 200 });

  for (const key of ['read', 'operate']) {
    expectProblem(await api.call('GET', '/v1/doctor', { key }), 403, 'forbidden');
    expectProblem(await api.call('POST', '/v1/doctor/fix', { key }), 403, 'forbidden');
  }
  const refusal = await commandsOn(api, 'read').attempt('doctor');
  expect(refusal).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('[forbidden]') });
});

test('an API whose code has lost most schedules removes them with --yes alone', async () => {
  const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
  const many = (list: readonly string[]) => [
    defineJob({ name: 'tidy', schedules: list.map((id) => ({ id, cron: '@yearly' })), run: () => null }),
  ];
  const { serve } = await fixture(many(ids));
  await commandsOn(await serve())('schedules', 'apply');
  const less = commandsOn(await serve({ jobs: many(['a']), release: '2' }));

  const refusal = await less.attempt('schedules', 'apply');
  expect(refusal.stdout).toContain(
    'Refused to remove or disable 5 of 6 schedules (apply --yes does it): b, c, d, e, f.',
  );
  expect(refusal.code).toBe(1);
  expect(await less.json('schedules', 'list')).toHaveLength(6);

  expect((await less.json('schedules', 'apply', '--yes')).changes).toHaveLength(5);
  expect(await less.json('schedules', 'list')).toMatchObject([{ id: 'a' }]);
});

test('an API of an older release applies nothing while a newer one is alive', async () => {
  const { broker, through, serve } = await start();
  const newer = createPresence(broker, { app: 'test', release: '2' });
  await newer.start();
  await newer.stop(0);

  const { code, stderr } = await through.attempt('schedules', 'apply');
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: 'rondo: A newer release of the app is in charge: test 1, and 2 is alive [release-outdated]\n',
  });
  expect(await through.json('schedules', 'list')).toEqual([]);
  const right = clientOn(await serve({ release: '2' }));
  expect((await right.schedules.apply()).changes).toHaveLength(1);
});

test('paused jobs and those that are gone from code are listed as with Redis at hand', async () => {
  const { broker, events, through, local } = await start();
  const watch = { app: 'test', release: '1', emit: events.emit, silentMs: -1 };
  await createGoneWatch({ broker, registry: createRegistry([report, old]), ...watch })();
  await enqueue(broker, old, {});
  expect(await through('jobs', 'list', '--paused')).toBe('No job is paused.\n');
  await through('jobs', 'pause', 'report', '--note', 'stocktaking');

  for (const flag of ['--gone', '--paused']) {
    const found = await through.json('jobs', 'list', flag);
    expect(found).toHaveLength(1);
    expect(found).toEqual(await local.json('jobs', 'list', flag));
  }
  expect(await through('jobs', 'list', '--gone')).toMatch(/^JOB +WAITING .*\nold-import +1 +0 +0 +0 +test +1\n$/);
  expect(rowsOf(await through('jobs', 'list', '--paused'))[1]?.slice(2)).toEqual(['admin', 'stocktaking']);
});

test('the audit log is read through an API, for keys that may', async () => {
  const { api, through, local } = await start();
  await through('jobs', 'pause', 'report');
  await local('schedules', 'apply');

  const all = await through.json('audit');
  expect(all.map(({ action }: { action: string }) => action)).toEqual([
    'schedules apply',
    'POST /v1/jobs/report/pause',
  ]);
  expect(all).toEqual(await local.json('audit'));
  expect(await through.json('audit', '--who', 'admin')).toEqual(all.slice(1));
  expect(await through.json('audit', '--from', all[0].at)).toEqual(all.slice(0, 1));
  expect((await through('audit', '--limit', '1')).trim().split('\n')).toHaveLength(2);

  const operator = await commandsOn(api, 'operate').attempt('audit');
  expect(operator).toMatchObject({ code: 1, stderr: expect.stringContaining('[forbidden]') });
  const first = await clientOn(api).audit({ limit: 1 });
  const second = await clientOn(api).audit({ limit: 1, cursor: String(first.next), to: new Date() });
  expect([...first.entries, ...second.entries]).toEqual(all);
  expect(second.next).toBeNull();
});

test('health asks the API that --url names, without a key, and nothing that only the environment names', async () => {
  const { api } = await start();
  const rondo = commands({ RONDO_URL: 'http://127.0.0.1:1' });
  expect(rowsOf(await rondo('health', '--url', api.url))).toEqual([
    ['PART', 'IS', 'WHY'],
    ['redis', 'ready', '-'],
  ]);
  expect(await rondo.json('health', '--url', `${api.url}/`)).toMatchObject({
    status: 'ready',
    parts: { redis: { status: 'ready' } },
  });

  const answers: [number, string][] = [
    [503, '{"status":"unready","parts":{"redis":{"status":"unready","reason":"no answer within 1000 ms"}}}'],
    [404, '<html>nothing here</html>'],
  ];
  const target = await startTarget((_request, response) => {
    const [status, body] = answers.shift() ?? [500, ''];
    response.writeHead(status).end(body);
  });
  const unready = await rondo.attempt('health', '--url', target.url);
  expect({ code: unready.code, rows: rowsOf(unready.stdout)[1] }).toEqual({
    ...{ code: 1, rows: ['redis', 'unready', 'no answer within 1000 ms'] },
  });
  const strange = await rondo.attempt('health', '--url', target.url);
  expect(strange).toMatchObject({ code: 1, stderr: expect.stringMatching(/\(404\) is no API .* \[http-404\]/) });
  const away = await rondo.attempt('health', '--url', 'http://127.0.0.1:1');
  expect(away).toMatchObject({ code: 1, stderr: expect.stringContaining('[api-unreachable]') });
  expect(target.received.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);

  const wrong = await rondo.attempt('health', '--url', 'rondo.example');
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('--url: expected the address of an API') });
  const keyed = await rondo.attempt('health', '--key', 'some-key-of-an-api');
  expect(keyed).toMatchObject({ code: 2, stderr: expect.stringContaining('needs no --key') });
});

test('a key is made here, whatever API is named', async () => {
  const rondo = commands({ RONDO_URL: 'http://127.0.0.1:1', RONDO_API_KEY: secretOf('admin'), REDIS_URL: refused });
  const { name, scopes, line } = await rondo.json(
    'keys',
    'new',
    'shop',
    '--scopes',
    'enqueue',
    '--url',
    'http://a.example',
  );
  expect({ name, scopes }).toEqual({ name: 'shop', scopes: ['enqueue'] });
  expect(line).toMatch(/^shop:[0-9a-f]{64}:enqueue$/);
});
