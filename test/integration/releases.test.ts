import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { startEmbedded } from '../../src/broker/embedded.js';
import type { Broker } from '../../src/broker/queues.js';
import { createPresence, findNewer } from '../../src/broker/releases.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createSupervisor } from '../../src/producers/supervisor.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { type Line, startProgram } from '../support/processes.js';

const minute = 60_000;
const day = 24 * 60 * minute;

describe.each([
  ["the tests' server", async () => fixture([])],
  ['the embedded server, which is 32-bit', onEmbedded],
])('the releases that are alive, in %s', (_, open) => {
  it("are marked with Redis's time, whatever the clock of the process says", async () => {
    const { broker } = await open();
    vi.useFakeTimers({ toFake: ['Date'], now: 0 });
    onTestFinished(() => void vi.useRealTimers());
    const before = await redisTime(broker);

    await start(broker, { app: 'shop', release: '1.0.0' });

    const { firstSeen, lastSeen } = await marksOf(broker, 'shop', '1.0.0');
    expect(Date.now()).toBe(0);
    expect(firstSeen).toBeGreaterThanOrEqual(before);
    expect(firstSeen).toBeLessThanOrEqual(await redisTime(broker));
    expect(lastSeen).toBe(firstSeen);
  });

  it('are marked again and again from start to stop, and keep when they were first seen', async () => {
    const { broker } = await open();
    const first = await start(broker, { app: 'shop', release: '1.0.0' }, 50);
    const begun = await marksOf(broker, 'shop', '1.0.0');
    await eventually(async () => (await marksOf(broker, 'shop', '1.0.0')).lastSeen > begun.lastSeen + 100);
    expect((await marksOf(broker, 'shop', '1.0.0')).firstSeen).toBe(begun.firstSeen);

    await first.stop(Date.now());
    const marking = vi.spyOn(broker.client, 'evalsha');
    await start(broker, { app: 'shop', release: '2.0.0' }, 50);
    await eventually(() => marking.mock.calls.length > 4);
    expect(marking.mock.calls.filter((call) => call.includes('["shop","1.0.0"]'))).toEqual([]);
  });

  it('are forgotten when they were not seen for a day; what nobody can read is left alone', async () => {
    const { broker } = await open();
    const now = await redisTime(broker);
    await broker.client.hset(broker.keys.releases, {
      '["shop","0.8.0"]': `${now - 9 * day} ${now - day - minute}`,
      '["shop","0.9.0"]': `${now - 9 * day} ${now - day + minute}`,
      '["shop","7.0.0"]': 'by hand',
      'by hand': `${now} ${now}`,
    });

    await start(broker, { app: 'shop', release: '1.0.0' });

    const fields = await broker.client.hkeys(broker.keys.releases);
    expect(fields.sort()).toEqual(['["shop","0.9.0"]', '["shop","1.0.0"]', '["shop","7.0.0"]', 'by hand']);
    expect(await findNewer(broker, { app: 'shop', release: '0.9.0' }, minute)).toBe('1.0.0');
  });

  it('tell an older one which is the newest, until that has been silent for long enough', async () => {
    const { broker } = await open();
    const now = await redisTime(broker);
    const newerThan = (release: string, app = 'shop') => findNewer(broker, { app, release }, minute);
    const mark = (release: string, ago: number, app = 'shop') =>
      broker.client.hset(broker.keys.releases, JSON.stringify([app, release]), `${now - day} ${now - ago}`);
    await mark('1.0.0', 0);
    await mark('1.10.0', 0);
    await mark('1.9.0', 0);
    await mark('3.0.0', 2 * minute);
    await mark('4.0.0', 0, 'another app');

    expect(await newerThan('1.0.0')).toBe('1.10.0');
    expect(await newerThan('1.9.0')).toBe('1.10.0');
    expect(await newerThan('1.10.0')).toBeNull();
    expect(await newerThan('2.0.0')).toBeNull();
    expect(await newerThan('1.0.0', 'another app')).toBe('4.0.0');
    expect(await newerThan('1.0.0', 'a third')).toBeNull();
    await mark('1.10.0', minute);
    expect(await newerThan('1.0.0')).toBe('1.9.0');
  });

  it('are ordered by when they were first seen where they are hashes, through a rollback and forward again', async () => {
    const { broker } = await open();
    const [first, second] = [
      { app: 'shop', release: 'f3c2a1b' },
      { app: 'shop', release: '0a1b2c3' },
    ];
    await start(broker, first);
    await eventually(async () => (await redisTime(broker)) > (await marksOf(broker, 'shop', 'f3c2a1b')).firstSeen);
    await start(broker, second);
    await start(broker, first);
    expect(await findNewer(broker, first, minute)).toBe('0a1b2c3');
    expect(await findNewer(broker, second, minute)).toBeNull();
  });
});

describe('a producer of an older release', () => {
  it('neither leads nor changes anything while a worker of a newer one is alive, and says so once', async () => {
    const { broker, events, supervise } = await setUp();
    await start(broker, { app: 'test', release: '1.10.0' });
    const turns = vi.spyOn(broker.client, 'evalsha');

    await supervise('1.9.0');
    await eventually(() => turns.mock.calls.length >= 4);

    expect(events.all).toEqual([{ type: 'producer.outdated', app: 'test', release: '1.9.0', newer: '1.10.0' }]);
    expect(await broker.client.exists(broker.keys.producerLease('test'), broker.keys.schedules)).toBe(0);
    expect(await broker.client.keys(`${broker.keys.queuePrefix('work')}*`)).toEqual([]);
  });

  it('applies when the newer one has been silent for long enough: that is a rollback', async () => {
    const { broker, events, supervise } = await setUp();
    const newer = await start(broker, { app: 'test', release: '2.0.0' }, 200);
    await supervise('1.0.0', { silentMs: 3_000 });
    expect(events.of('producer.outdated')).toHaveLength(1);

    await newer.stop(Date.now());
    const { lastSeen } = await marksOf(broker, 'test', '2.0.0');
    await events.next('producer.leading');

    expect(await redisTime(broker)).toBeGreaterThanOrEqual(lastSeen + 3_000);
    expect(events.of('schedules.reconciled')).toMatchObject([{ added: 1 }]);
    expect(events.of('producer.outdated')).toHaveLength(1);
  });

  it('gives its lead to that of a newer one, stays out of its way, and leads again after it', async () => {
    const { broker, events, supervise } = await setUp();
    const oldPresence = await start(broker, { app: 'test', release: '1.0.0' }, 200);
    await supervise('1.0.0', { silentMs: 3_000, schedule: 'of-old' });
    expect(events.of('producer.leading')).toMatchObject([{ release: '1.0.0' }]);

    const presence = await start(broker, { app: 'test', release: '2.0.0' }, 200);
    const newer = await supervise('2.0.0', { schedule: 'of-new' });
    await eventually(() => events.of('producer.leading').length === 2);
    expect(events.of('producer.leading').at(-1)).toMatchObject({ release: '2.0.0' });
    expect(await broker.client.hkeys(broker.keys.schedules)).toEqual(['of-new']);

    await newer.stop(Date.now() + 1_000);
    await presence.stop(Date.now());
    expect(await broker.client.hkeys(broker.keys.schedules)).toEqual(['of-new']);
    await eventually(() => events.of('producer.leading').length === 3);
    expect(await broker.client.hkeys(broker.keys.schedules)).toEqual(['of-old']);
    expect(events.of('producer.outdated')).toHaveLength(1);
    await oldPresence.stop(Date.now());
  });

  it('is no such thing for another app, nor among equals: there one leads and the other stands by', async () => {
    const { broker, events, supervise } = await setUp();
    await start(broker, { app: 'another', release: '9.0.0' });
    await start(broker, { app: 'test', release: '1.0.0' });
    await start(broker, { app: 'test', release: '1.0.0' });

    await supervise('1.0.0');
    await supervise('1.0.0');

    const told = events.all.map(({ type }) => type).filter((type) => type.startsWith('producer.'));
    expect(told).toEqual(['producer.leading', 'producer.standby']);
  });
});

it('processes of two releases side by side: the newer applies, whatever the older tries', {
  timeout: 120_000,
}, async () => {
  const { broker, prefix } = await fixture([]);
  const jobsOf = (release: string) =>
    writeJobs(`export default [defineJob({
      name: 'work',
      schedules: [{ id: 'of-${release.replaceAll('.', '-')}', every: '1h' }],
      run: () => null,
    })];`);
  const [oldJobs, newJobs] = [jobsOf('1.0.0'), jobsOf('2.0.0')];
  const startRole = (role: string, release: string, RONDO_JOBS: string) =>
    startProgram([role], { env: { RONDO_PREFIX: prefix, RONDO_APP: 'shop', RONDO_RELEASE: release, RONDO_JOBS } });
  const isEvent = (event: string) => (line: Line) => line.event === event;
  const old = startRole('producer', '1.0.0', oldJobs);
  await old.line(isEvent('producer.leading'));
  expect(await broker.client.hkeys(broker.keys.schedules)).toEqual(['of-1-0-0']);

  startRole('worker', '2.0.0', newJobs);
  expect(await old.line(isEvent('producer.outdated'))).toMatchObject({
    level: 40,
    app: 'shop',
    release: '1.0.0',
    newer: '2.0.0',
  });
  await startRole('producer', '2.0.0', newJobs).line(isEvent('producer.leading'));
  await startRole('producer', '1.0.0', oldJobs).line(isEvent('producer.outdated'));

  expect(await broker.client.hkeys(broker.keys.schedules)).toEqual(['of-2-0-0']);
  expect(old.lines.filter(isEvent('producer.outdated'))).toHaveLength(1);
});

async function onEmbedded(): Promise<Fixture> {
  const server = await startEmbedded();
  onTestFinished(() => server.stop());
  return fixture([], { url: server.url });
}

async function start(broker: Broker, deployment: { app: string; release: string }, everyMs?: number) {
  const presence = createPresence(broker, deployment, everyMs);
  await presence.start();
  onTestFinished(() => presence.stop(Date.now()));
  return presence;
}

async function marksOf({ client, keys }: Broker, app: string, release: string) {
  const [firstSeen = 0, lastSeen = 0] = ((await client.hget(keys.releases, JSON.stringify([app, release]))) ?? '')
    .split(' ')
    .map(Number);
  return { firstSeen, lastSeen };
}

async function redisTime({ client }: Broker): Promise<number> {
  const [seconds = 0, micros = 0] = await client.time();
  return seconds * 1_000 + Math.floor(micros / 1_000);
}

/** A fixture, and producers of one schedule each. */
async function setUp() {
  const parts = await fixture([]);
  return {
    ...parts,
    async supervise(release: string, { schedule = 'it', ...options }: { schedule?: string; silentMs?: number } = {}) {
      const job = defineJob({ name: 'work', schedules: [{ id: schedule, every: '1h' }], run: () => {} });
      const { broker, events } = parts;
      const registry = createRegistry([job]);
      const input = { broker, registry, app: 'test', release, emit: events.emit, now: Date.now, ...options };
      const supervisor = createSupervisor(input);
      await supervisor.start();
      onTestFinished(() => supervisor.stop(Date.now() + 1_000));
      return supervisor;
    },
  };
}
