import { expect, test } from 'vitest';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import { packEntry } from '../../src/broker/tick-entry.js';
import { stopBackfill } from '../../src/producers/feed.js';
import { commands, refused, rowsOf } from '../support/commands.js';
import { eventually } from '../support/harness.js';
import { type Api, apiKey, secretOf } from '../support/http.js';
import { daily, day, lastTick, missedTicks } from '../support/missed-ticks.js';
import { startProgram } from '../support/processes.js';

const iso = (time: number) => new Date(time).toISOString();
const throughApi = ({ url }: Api, key = 'admin') => ({
  ...{ RONDO_URL: url, RONDO_API_KEY: secretOf(key), REDIS_URL: refused },
});

test('ticks are followed through an API as they come and change, and on when it has been away', async () => {
  const { broker, serve } = await missedTicks(3);
  const api = await serve();
  const args = ['schedules', 'ticks', 'daily', '--follow', '--limit', '1', '--json'];
  const followed = startProgram(args, { env: throughApi(api) });
  await followed.line(({ outcome }) => outcome === 'missed');

  const key = ledgerKeys(broker, daily).ticks;
  const time = lastTick + day;
  const run = { time, due: time, claimed: time + 20, run: `repeat:daily:${time}`, attempts: 1, started: time + 30 };
  const running = packEntry('daily', { ...run, outcome: 'running' });
  await broker.client.zadd(key, time, running);
  await followed.line(({ outcome }) => outcome === 'running');

  await api.stop();
  await eventually(() => followed.stderr().includes('the API is away'));
  const done = packEntry('daily', { ...run, finished: time + 1_030, outcome: 'succeeded' });
  await broker.client.multi().zrem(key, running).zadd(key, time, done).exec();
  await serve({ port: Number(new URL(api.url).port) });
  await followed.line(({ outcome }) => outcome === 'succeeded');

  followed.kill('SIGINT');
  expect(await followed.exit).toEqual({ code: 0, signal: null });
  expect(followed.lines.map(({ outcome }) => outcome)).toEqual(['missed', 'running', 'succeeded']);
  expect(followed.lines[2]).toMatchObject({ time: iso(time).replace('.000Z', 'Z'), durationMs: 1_000, latenessMs: 20 });
  expect(followed.stderr()).toBe('rondo: the API is away; going on when it is back\nrondo: the API is back\n');
}, 60_000);

test('a backfill is previewed, begun, looked on at and listed through an API; a producer adds its runs', async () => {
  const { serve, produce, work, ran, missed } = await missedTicks(40);
  await produce();
  await work();
  const rondo = commands(throughApi(await serve()));
  const backfill = (...flags: string[]) => ['schedules', 'backfill', 'daily', ...flags];
  const range = ['--from', iso(missed[0] as number), '--to', iso(missed.at(-1) as number), '--only-missed'];

  const plan = await rondo.json(...backfill(...range, '--dry-run'));
  expect(plan).toMatchObject({ schedule: 'daily', dryRun: true, count: 40, leftOut: {} });
  expect(await rondo.json(...backfill('--status'))).toEqual([]);

  const done = await rondo.json(...backfill(...range));
  expect(done).toMatchObject({ schedule: 'daily', count: 40, added: 40, by: 'admin', onlyMissed: true });
  expect(['fed', 'done']).toContain(done.state);
  await eventually(() => ran.length === 40);
  expect([...ran].sort()).toEqual(missed);
  const [, row] = rowsOf(await rondo(...backfill('--status')));
  expect(row).toEqual(expect.arrayContaining([done.id, '40', 'admin']));
  expect(await rondo.json(...backfill(...range))).toMatchObject({ backfill: null, count: 0 });
});

test('a backfill that somebody cancels meanwhile has failed for whoever looks on', async () => {
  const { serve, missed } = await missedTicks(40);
  const env = throughApi(await serve());
  const range = ['--from', iso(Number(missed[0])), '--to', iso(Number(missed.at(-1)))];
  // No producer is there to add its runs.
  const looking = startProgram(['schedules', 'backfill', 'daily', ...range], { env });
  const rondo = commands(env);
  await eventually(async () => (await rondo.json('schedules', 'backfill', 'daily', '--status')).length === 1);
  await rondo('schedules', 'backfill', 'daily', '--cancel');

  expect(await looking.exit).toEqual({ code: 1, signal: null });
  expect(looking.stdout()).toMatch(/was cancelled meanwhile\n$/);
});

test('a backfill is cancelled, or gone on with after a stop, through an API', async () => {
  const { broker, serve, produce, ran, work, missed } = await missedTicks(40);
  const api = await serve({ keys: [apiKey('admin', ['admin']), apiKey('read', ['read'])] });
  const rondo = commands(throughApi(api));
  const ask = (from: number | undefined, to: number | undefined) =>
    api.call('POST', '/v1/schedules/daily/backfill', { json: { from: iso(Number(from)), to: iso(Number(to)) } });
  const command = (flag: string) => ['schedules', 'backfill', 'daily', flag];

  const first = (await ask(missed[0], missed[9])).body.backfill;
  const [cancelled] = await rondo.json(...command('--cancel'));
  expect(cancelled).toMatchObject({ id: first.id, state: 'cancelling', removed: null, started: 0 });
  const second = (await ask(missed[10], missed[39])).body.backfill;
  expect(await stopBackfill(broker, { ...daily, ...second })).toBe('stopped');
  await work();
  await produce();
  expect(await rondo.json(...command('--resume'))).toMatchObject({ id: second.id, count: 30, added: 30 });
  await eventually(() => ran.length === 30);
  expect([...ran].sort()).toEqual(missed.slice(10));
  const states = async () => (await rondo.json(...command('--status'))).map(({ state }: { state: string }) => state);
  await eventually(async () => (await states()).join() === 'cancelled,done', 30_000);
  const none = await rondo.attempt(...command('--cancel'));
  expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('[backfill-unknown]') });
  const again = await rondo.attempt(...command('--resume'));
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('none of daily is stopped') });

  const reader = await commands(throughApi(api, 'read')).attempt(...command('--cancel'));
  expect(reader).toMatchObject({ code: 1, stderr: expect.stringContaining('[forbidden]') });
});
