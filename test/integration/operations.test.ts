import { describe, expect, it } from 'vitest';
import { readCursor, readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange, type TickEntry } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { pauseSchedule, removeSchedule, resumeSchedule, triggerSchedule } from '../../src/producers/operations.js';
import { findRun, listRuns } from '../../src/producers/runs.js';
import { readStored, updateEntry } from '../../src/producers/store.js';
import { findLedger, listSchedules, listTicks, showSchedule } from '../../src/producers/views.js';
import { createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';

const second = 1_000;
const often = { job: 'work', schedule: 'often' };

describe('a paused schedule', () => {
  it.each([1, 3])('leaves its ticks out as one range, however often %i workers look', async (workers) => {
    const { broker, work, produce, ran } = await working();
    for (let started = 0; started < workers; started++) await work();
    await produce();
    await eventually(() => ran.length >= 2);

    await pause(broker);
    await eventually(async () => pausedCount(await entriesOf(broker)) >= 4);
    await resume(broker);
    const resumedAt = Date.now();
    await eventually(() => (ran.at(-1) ?? 0) > resumedAt);

    const entries = await entriesOf(broker);
    const [paused, ...others] = pausedOf(entries);
    expect(others).toEqual([]);
    expect(ran.filter((time) => time >= (paused?.time ?? 0) && time <= (paused?.to ?? 0))).toEqual([]);
    expectWhole(entries);
    expectOnce(ran);
  });

  it('leaves its ticks out as one range where no worker was alive', async () => {
    const { broker, work, produce, ran } = await working();
    await produce();
    await pause(broker);
    const pausedAt = Date.now();
    await eventually(() => Date.now() > pausedAt + 3 * second);
    await resume(broker);
    const resumedAt = Date.now();
    await work();
    await eventually(() => ran.length >= 2);

    const entries = await entriesOf(broker);
    expect(pausedOf(entries)).toHaveLength(1);
    expect(pausedCount(entries)).toBeGreaterThanOrEqual(3);
    expect(Math.min(...ran)).toBeGreaterThan(resumedAt - second);
    expectWhole(entries);
    expectOnce(ran);
  });

  it('leaves its ticks out as one range where workers came and went', async () => {
    const { broker, work, produce, ran } = await working();
    await produce();
    await pause(broker);
    for (let round = 1; round <= 2; round++) {
      const pool = await work();
      await eventually(async () => pausedCount(await entriesOf(broker)) >= 2 * round);
      await pool.stop(Date.now() + second);
      const gone = Date.now();
      await eventually(() => Date.now() > gone + 1_500);
    }
    await resume(broker);
    await work();
    await eventually(() => ran.length >= 1);

    const entries = await entriesOf(broker);
    expect(pausedOf(entries)).toHaveLength(1);
    expectWhole(entries);
  });

  it('does not run what waited for a worker when it was paused, and runs it not later either', async () => {
    const gate = createGate();
    const ran: number[] = [];
    const job = defineJob({
      name: 'work',
      concurrency: 1,
      schedules: [{ id: 'often', every: '1s' }],
      run: async ({ tick }) => {
        if (ran.push(tick?.time.getTime() ?? 0) === 1) await gate.opened;
      },
    });
    const { broker, work, produce } = await fixture([job]);
    await work();
    await produce();
    await eventually(() => ran.length === 1);
    // The worker is taken, so the next tick is due and waits.
    const cursor = await readCursor(broker, often);
    await eventually(() => Date.now() > Number(cursor?.next) + 50);

    await pause(broker);
    gate.open();
    const pausedAt = Date.now();
    await eventually(async () => pausedCount(await entriesOf(broker)) >= 3);

    expect(ran).toHaveLength(1);
    await resume(broker);
    await eventually(() => ran.length >= 2);
    expect(ran[1]).toBeGreaterThan(pausedAt);
    expect(pausedOf(await entriesOf(broker))).toHaveLength(1);
  });

  it('goes on by itself when its time has come, and forgets that it was paused', async () => {
    const { broker, work, produce, ran } = await working();
    await work();
    await produce();
    await eventually(() => ran.length >= 1);
    const until = Date.now() + 3 * second;
    await pauseSchedule(broker, 'often', { by: 'ops', note: 'import', until, now: Date.now() });
    const shown = await showSchedule(broker, 'often', Date.now());
    expect(shown).toMatchObject({ health: 'paused', pause: { by: 'ops', note: 'import' } });
    expect(Date.parse(shown.next ?? '')).toBeGreaterThan(until);

    await eventually(() => (ran.at(-1) ?? 0) > until);
    // The producer looks every ten seconds.
    await eventually(async () => (await readStored(broker, 'often'))?.pause === undefined);
    await eventually(async () => (await readCursor(broker, often))?.pause === null);

    const entries = await entriesOf(broker);
    const [paused, ...others] = pausedOf(entries);
    expect(others).toEqual([]);
    expect(paused?.to).toBeLessThanOrEqual(until);
    expect(ran.filter((time) => time >= (paused?.time ?? 0) && time <= until)).toEqual([]);
    expectWhole(entries);
  });

  it('stays so through a deploy that changes it, and through every reconcile', async () => {
    const { broker, work, produce, ran } = await working();
    const pool = await produce({ release: '1' });
    await work();
    await eventually(() => ran.length >= 1);
    await pauseSchedule(broker, 'often', { by: 'ops', note: 'broken', until: null, now: Date.now() });
    await settledRuns(broker);
    const before = ran.length;
    await pool.stop(Date.now() + second);

    const changed = defineJob({
      name: 'work',
      schedules: [{ id: 'often', every: '2s', misfire: 'run-all' }],
      run: ({ tick }) => void ran.push(tick?.time.getTime() ?? 0),
    });
    const next = await produce({ release: '2', jobs: [changed] });
    expect((await readStored(broker, 'often'))?.release).toBe('2');
    expect(await showSchedule(broker, 'often', Date.now())).toMatchObject({
      health: 'paused',
      pause: { by: 'ops', note: 'broken' },
      timing: { every: 2 * second },
    });
    // A second look, and a worker that meets the new ticks.
    await next.stop(Date.now() + second);
    await produce({ release: '3', jobs: [changed] });
    const deployedAt = Date.now();
    await eventually(async () => (pausedOf(await entriesOf(broker)).at(-1)?.to ?? 0) > deployedAt + 2 * second);
    expect((await readCursor(broker, often))?.pause).not.toBeNull();
    expect(ran).toHaveLength(before);
    expect(pausedOf(await entriesOf(broker))).toHaveLength(1);

    await resume(broker);
    const resumedAt = Date.now();
    await eventually(() => (ran.at(-1) ?? 0) > resumedAt);
    expectOnce(ran);
    expect(ran.filter((time) => time > deployedAt && time <= resumedAt - second)).toEqual([]);
  });

  it('takes the note and the end of a second pause, and keeps its beginning', async () => {
    const { broker, produce } = await working();
    await produce();
    const now = Date.now();
    const until = now + 3_600_000;
    await pauseSchedule(broker, 'often', { by: 'first', note: '', until: null, now });
    await pauseSchedule(broker, 'often', { by: 'second', note: 'for an hour', until, now: now + 50 });

    expect((await readStored(broker, 'often'))?.pause).toEqual({
      since: now,
      until,
      by: 'second',
      note: 'for an hour',
    });
    expect((await readCursor(broker, often))?.pause).toEqual({ since: now, until });
    expect(await resumeSchedule(broker, 'often', Date.now(), () => {})).toBe(true);
    expect(await resumeSchedule(broker, 'often', Date.now(), () => {})).toBe(false);
  });

  it('ends in one state where two operators pause and resume it at once, twenty times', async () => {
    const { broker, work, produce, ran } = await working();
    await work();
    await produce();
    await eventually(() => ran.length >= 1);
    for (let round = 1; round <= 20; round++) {
      const both = [() => pause(broker), () => resume(broker)];
      if (round % 2 === 0) both.reverse();
      await Promise.all(both.map((operate) => operate()));
      const [stored, cursor] = await Promise.all([readStored(broker, 'often'), readCursor(broker, often)]);
      const { since, until } = stored?.pause ?? {};
      expect(cursor?.pause, `round ${round}`).toEqual(stored?.pause ? { since, until } : null);
    }
    await resume(broker);
    const resumedAt = Date.now();
    await eventually(() => (ran.at(-1) ?? 0) > resumedAt);

    const { schedules } = await listSchedules(broker, Date.now());
    expect(schedules).toMatchObject([{ id: 'often', health: 'sound', pause: null }]);
    expectWhole(await entriesOf(broker));
    expectOnce(ran);
  });
});

describe('a triggered run', () => {
  it('is no tick: it moves no cursor, has no entry, and its handler is told of none', async () => {
    const ticks: unknown[] = [];
    const job = defineJob({
      name: 'work',
      schedules: [{ id: 'often', cron: '@yearly' }],
      run: ({ tick }) => void ticks.push(tick),
    });
    const { broker, events, work, produce } = await fixture([job]);
    await work();
    await produce();
    const before = await readCursor(broker, often);

    const { run } = await triggerSchedule(broker, 'often');
    await events.next('run.succeeded', (event) => event.run === run);

    expect(ticks).toEqual([null]);
    expect(await readCursor(broker, often)).toEqual(before);
    expect(await entriesOf(broker)).toEqual([]);
    expect(await findRun(broker, job, run)).toMatchObject({ origin: 'triggered', schedule: 'often', tick: null });
    expect((await showSchedule(broker, 'often', Date.now())).runs).toBe(0);
  });

  it('runs also while its schedule is paused: somebody asked for it', async () => {
    const { broker, events, work, produce } = await working('@yearly');
    await work();
    await produce();
    await pause(broker);

    const { run } = await triggerSchedule(broker, 'often');

    await events.next('run.succeeded', (event) => event.run === run);
    expect((await readStored(broker, 'often'))?.pause).toBeDefined();
  });
});

describe('a removed schedule', () => {
  it('lets the run that waited run once, and its ledger can still be read', async () => {
    const { broker, work, produce, ran } = await working();
    const producer = await produce();
    const cursor = await readCursor(broker, often);
    const overdue = Number(cursor?.next);
    await eventually(() => Date.now() > overdue + 50);
    await producer.stop(Date.now() + second);
    await ownedByApi(broker);

    await removeSchedule(broker, 'often', Date.now(), () => {});

    expect(await readStored(broker, 'often')).toBeNull();
    await work();
    await eventually(() => ran.length > 0);
    const found = await findLedger(broker, 'often', ['other', 'work']);
    expect(found).toMatchObject({ ...often, removed: expect.stringMatching(/Z$/) });
    const { ticks, knownFrom } = await eventually(async () => {
      const listed = await listTicks(broker, found);
      return listed.ticks.every(({ outcome }) => outcome === 'succeeded' || outcome === 'coalesced') && listed;
    });
    expect(ticks.filter(({ outcome }) => outcome === 'succeeded')).toHaveLength(1);
    expect(Date.parse(knownFrom ?? '')).toBeLessThanOrEqual(overdue);
    // Its chain is over: no second run comes, though two ticks would be due.
    const firstRun = Date.now();
    await eventually(() => Date.now() > firstRun + 2 * second);
    expect(ran).toHaveLength(1);
    expect(await broker.queue('work').getJobCounts('delayed', 'wait', 'active')).toEqual({
      delayed: 0,
      wait: 0,
      active: 0,
    });
    // The last write of the ledger must not make it stay for ever.
    const slot = broker.keys.queuePrefix('work');
    for (const kind of ['cursor', 'ticks']) {
      expect(await broker.client.pttl(`${slot}:${kind}:often`), kind).toBeGreaterThan(29 * 86_400_000);
    }
  });

  it('keeps its ledger for good when it is declared again within the month', async () => {
    const { broker, work, produce, ran } = await working();
    const producer = await produce();
    const pool = await work();
    await eventually(() => ran.length >= 1);
    await settledRuns(broker);
    await pool.stop(Date.now() + second);
    await producer.stop(Date.now() + second);
    await ownedByApi(broker);
    await removeSchedule(broker, 'often', Date.now(), () => {});
    // While it did not exist it had no ticks.
    const removedAt = Date.now();
    await eventually(() => Date.now() > removedAt + 2 * second);

    await produce();

    const slot = broker.keys.queuePrefix('work');
    for (const kind of ['cursor', 'ticks']) expect(await broker.client.pttl(`${slot}:${kind}:often`), kind).toBe(-1);
    expect((await findLedger(broker, 'often', [])).removed).toBeNull();
    const { ticks } = await listTicks(broker, often);
    expect(ticks.map(({ outcome }) => outcome)).not.toContain('unknown');
  });

  it('is not removed where code declares it', async () => {
    const { broker, produce } = await working();
    await produce();

    await expect(removeSchedule(broker, 'often', Date.now(), () => {})).rejects.toMatchObject({
      code: 'schedule-declared',
    });
    expect(await readStored(broker, 'often')).not.toBeNull();
  });
});

it('a schedule that is removed while somebody pauses it is unknown, and not called paused', async () => {
  const job = defineJob({ name: 'work', schedules: [{ id: 'often', every: '1h' }], run: () => null });
  const { broker, produce } = await fixture([job]);
  await produce();
  const { client, keys } = broker;
  let removed = 0;
  const hget = async (key: string, field: string) => {
    const found = await client.hget(key, field);
    removed += await client.hdel(keys.schedules, 'often');
    return found;
  };
  const meanwhile = new Proxy(client, { get: (it, name) => (name === 'hget' ? hget : Reflect.get(it, name, it)) });

  await expect(pause({ ...broker, client: meanwhile })).rejects.toMatchObject({ code: 'schedule-unknown' });
  expect(removed).toBe(1);
});

describe('what people see of a ledger', () => {
  it('leaves an entry that a hand has edited as it is, and says how many there are', async () => {
    const { broker, work, produce, ran } = await working();
    await work();
    await produce();
    const entries = await eventually(async () => {
      const found = (await entriesOf(broker)).filter(({ outcome }) => outcome === 'succeeded');
      return found.length >= 2 && found;
    });
    const key = `${broker.keys.queuePrefix('work')}:ticks:often`;
    const at = entries[0]?.time ?? 0;
    const [packed = ''] = await broker.client.zrangebyscore(key, at, at);
    const foreign = ['by hand', '{"time":1}', '3s|newer|layout', packed.slice(0, 6)];
    await broker.client.zadd(key, ...foreign.flatMap((text, index) => [at - 1 - index, text]));

    const { ticks, unreadable } = await listTicks(broker, often);

    expect(unreadable).toBe(foreign.length);
    expect(ticks.map(({ time }) => Date.parse(time))).toEqual(expect.arrayContaining(entries.map(({ time }) => time)));
    const ranBefore = ran.length;
    await eventually(() => ran.length >= ranBefore + 2);
    for (const text of foreign) expect(await broker.client.zscore(key, text), text).not.toBeNull();
    expect((await showSchedule(broker, 'often', Date.now())).unreadable).toBe(foreign.length);
  });

  it('says of each run how it came, and which tick it was given in the end', async () => {
    const given = new Map<string, string>();
    const job = defineJob({
      name: 'work',
      schedules: [
        { id: 'all', every: '1s', misfire: 'run-all' },
        { id: 'latest', every: '1s', misfire: 'run-once' },
      ],
      run: ({ run, tick }) => void given.set(run.id, tick?.time.toISOString() ?? ''),
    });
    const { broker, work, produce } = await fixture([job]);
    await produce();
    const begunAt = Date.now();
    await eventually(() => Date.now() > begunAt + 3_500);
    const pool = await work();
    await eventually(() => given.size >= 6);
    await pool.stop(Date.now() + second);

    const runs = await listRuns(broker, createRegistry([job]), { state: 'completed', limit: 100 });

    expect(runs.map(({ id, tick }) => [id, tick]).sort()).toEqual([...given].sort());
    const runsOf = (schedule: string) =>
      runs.filter((run) => run.schedule === schedule).sort((a, b) => ((a.tick ?? '') < (b.tick ?? '') ? -1 : 1));
    expect(runsOf('all').map(({ origin }) => origin)).toContain('caught-up');
    const [latest] = runsOf('latest');
    expect(latest).toMatchObject({ origin: 'scheduled' });
    expect(latest?.id, 'it is named after the first tick that was missed').not.toContain(
      String(Date.parse(latest?.tick ?? '')),
    );
  });

  it('leaves out a schedule whose entry in the store makes no sense, says so, and shows the others', async () => {
    const job = defineJob({
      name: 'work',
      schedules: ['edited', 'emptied', 'sound'].map((id) => ({ id, cron: '@yearly' })),
      run: () => null,
    });
    const { broker, produce } = await fixture([job]);
    const producer = await produce();
    await producer.stop(Date.now() + second);
    const text = (await broker.client.hget(broker.keys.schedules, 'edited')) ?? '';
    const edited = JSON.stringify({ ...JSON.parse(text), pause: { since: 'soon', until: null } });
    await broker.client.hset(broker.keys.schedules, { edited, emptied: '{}' });

    const { schedules, unreadable } = await listSchedules(broker, Date.now());

    expect(schedules.map(({ id }) => id)).toEqual(['sound']);
    expect(unreadable).toEqual(['edited', 'emptied']);
    await expect(showSchedule(broker, 'emptied', Date.now())).rejects.toThrow(/"emptied": its entry .* cannot be read/);
    expect(await broker.client.hget(broker.keys.schedules, 'edited')).toBe(edited);
  });

  it('names a schedule whose ledger ends in what cannot be read, and shows the others all the same', async () => {
    const job = defineJob({
      name: 'work',
      schedules: ['often', 'other'].map((id) => ({ id, cron: '@yearly' })),
      run: () => null,
    });
    const { broker, produce } = await fixture([job]);
    await produce();
    await broker.client.zadd(`${broker.keys.queuePrefix('work')}:ticks:often`, Date.now(), 'by hand');

    const { schedules } = await listSchedules(broker, Date.now());

    expect(schedules).toMatchObject([
      { id: 'often', health: 'ledger unreadable', last: null },
      { id: 'other', health: 'sound', last: null },
    ]);
  });

  it('tells a schedule that no worker looks after from one that is broken, held or over', async () => {
    const job = defineJob({
      name: 'work',
      schedules: [
        ...['late', 'broken', 'held', 'sound'].map((id) => ({ id, every: '1h' as const })),
        { id: 'ended', at: new Date(Date.now() + 2_000) },
      ],
      run: () => null,
    });
    const { broker, events, work, produce } = await fixture([job]);
    const producer = await produce();
    const pool = await work();
    await events.next('run.succeeded', ({ schedule }) => schedule === 'ended');
    await pool.stop(Date.now() + second);
    await producer.stop(Date.now() + second);
    await broker.queue('work').removeJobScheduler('broken');
    await updateEntry(broker, 'held', (entry) => entry && { ...entry, held: true });

    const hourOn = await listSchedules(broker, Date.now() + 3_700_000);
    expect(healthOf(hourOn.schedules, 'late')).toMatchObject({
      health: 'late',
      why: expect.stringMatching(/no worker/),
    });
    const { schedules } = await listSchedules(broker, Date.now());
    expect(Object.fromEntries(schedules.map(({ id, health }) => [id, health]))).toEqual({
      ...{ late: 'sound', broken: 'broken', held: 'held', sound: 'sound', ended: 'ended' },
    });
    expect(healthOf(schedules, 'ended')).toMatchObject({ next: null, runs: 1, last: { outcome: 'succeeded' } });
  });
});

function healthOf<View extends { id: string }>(views: readonly View[], id: string): View | undefined {
  return views.find((view) => view.id === id);
}

/** A schedule of every second, or of a cron, and the times of the ticks that its handler was given. */
async function working(cron?: string) {
  const ran: number[] = [];
  const job = defineJob({
    name: 'work',
    schedules: [cron ? { id: 'often', cron } : { id: 'often', every: '1s' }],
    run: ({ tick }) => void ran.push(tick?.time.getTime() ?? 0),
  });
  return { ...(await fixture([job])), ran };
}

function pause(broker: Broker): Promise<void> {
  return pauseSchedule(broker, 'often', { by: 'ops', note: '', until: null, now: Date.now() });
}

function resume(broker: Broker): Promise<boolean> {
  return resumeSchedule(broker, 'often', Date.now(), () => {});
}

/** As an operator would have made it over the API, so that no producer brings it back. */
function ownedByApi(broker: Broker): Promise<void> {
  return updateEntry(broker, 'often', (entry) => entry && { ...entry, owner: 'api' });
}

async function entriesOf(broker: Broker): Promise<TickEntry[]> {
  const { entries } = await readTicks(broker, often);
  return entries;
}

/** What has ended, once nothing runs. */
async function settledRuns(broker: Broker): Promise<TickEntry[]> {
  return eventually(async () => {
    const entries = await entriesOf(broker);
    return entries.every(({ outcome }) => outcome !== 'running' && outcome !== 'waiting') && entries;
  });
}

const pausedOf = (entries: readonly TickEntry[]) =>
  entries.filter(isRange).filter(({ outcome }) => outcome === 'paused');
const pausedCount = (entries: readonly TickEntry[]) => pausedOf(entries).reduce((sum, { count }) => sum + count, 0);

function expectOnce(times: readonly number[]): void {
  expect(times.length).toBe(new Set(times).size);
}

/** Every second from the first to the last is in exactly one entry. */
function expectWhole(entries: readonly TickEntry[]): void {
  const times = entries.flatMap((entry) =>
    isRange(entry) ? Array.from({ length: entry.count }, (_, index) => entry.time + index * second) : [entry.time],
  );
  const first = times[0] ?? 0;
  expect(times).toEqual(times.map((_, index) => first + index * second));
}
