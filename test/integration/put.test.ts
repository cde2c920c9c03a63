import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { markPause, readCursor, readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { findSchedules } from '../../src/producers/browse.js';
import { pauseSchedule, removeSchedule, triggerSchedule } from '../../src/producers/operations.js';
import { wantedOf } from '../../src/producers/plan.js';
import { previewStored } from '../../src/producers/preview.js';
import { putSchedule, putSchedules } from '../../src/producers/put.js';
import { reconcile } from '../../src/producers/schedules.js';
import { readStored, updateEntry } from '../../src/producers/store.js';
import { showSchedule } from '../../src/producers/views.js';
import { eventually, fixture } from '../support/harness.js';

const beat = 250;
const hour = 3_600_000;
const day = 24 * hour;
const of = { job: 'work', schedule: 'it' };

describe('a schedule that is put', () => {
  it('ticks, with its payload, and has its own place in store, ledger and chain', async () => {
    const { broker, put, work, ran } = await setting();
    expect(await put({ every: '250ms', payload: { tenant: 'a' }, description: 'Often' })).toBe('created');
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({
      owner: 'api',
      put: { by: 'ops', at: expect.any(String) },
      release: null,
      health: 'sound',
      enabled: true,
      description: 'Often',
      policy: { misfire: 'run-all', grace: 60_000 },
    });
    expect((await readStored(broker, 'it'))?.unsettled).toBeUndefined();

    await work();
    await eventually(() => ran.length >= 2);
    expect(ran[0]).toMatchObject({ tenant: 'a' });
  });

  it('touches nothing where it says what is so already', async () => {
    const { broker, put } = await setting();
    await put({ every: '1h', payload: { tenant: 'a' } });
    const before = await everything(broker);
    expect(await put({ payload: { tenant: 'a' }, every: 3_600_000, id: 'it', enabled: true })).toBe('unchanged');
    expect(await everything(broker)).toEqual(before);
  });

  it('leaves the run that waits alone where only its description changes', async () => {
    const { broker, put } = await setting();
    await put({ every: '1h' });
    const { [storeKey(broker)]: _, ...before } = await everything(broker);
    expect(await put({ every: '1h', description: 'new', triggerOnStart: true })).toBe('changed');
    const { [storeKey(broker)]: __, ...after } = await everything(broker);
    expect(after).toEqual(before);
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({ description: 'new', triggerOnStart: true });
  });

  it('keeps what waits when it is changed, with its old payload, and goes on by its new times', async () => {
    const { broker, put, work, ran } = await setting();
    await put({ every: '250ms', payload: { tenant: 'old' }, misfire: 'run-once' });
    const first = Number((await readCursor(broker, of))?.next);
    await eventually(() => Date.now() > first + 50);
    expect(await put({ every: '300d', payload: { tenant: 'new' } })).toBe('changed');
    await work();
    await eventually(() => ran.length === 1);
    expect(ran[0]).toMatchObject({ tenant: 'old' });
    expect((await readCursor(broker, of))?.next).toBe(Math.ceil(Date.now() / (300 * day)) * 300 * day);
    expect(await sound(broker)).toBe(true);
  });

  it('stays paused when it is changed', async () => {
    const { broker, put, work, ran } = await setting();
    await put({ every: '250ms' });
    await pauseSchedule(broker, 'it', { by: 'ops', note: 'import', until: null, now: Date.now() });
    await put({ every: '250ms', payload: { tenant: 'new' } });
    await work();
    const changedAt = Date.now();
    await eventually(async () => {
      const { entries } = await readTicks(broker, of);
      const last = entries.at(-1);
      return last && isRange(last) && last.to > changedAt + 2 * beat;
    });
    expect(ran).toEqual([]);
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({ health: 'paused', pause: { note: 'import' } });
  });

  it('begins anew after it was removed, with nothing missed in between, and its old ticks can be read', async () => {
    const { broker, put, work, ran } = await setting();
    await put({ every: '250ms', payload: { tenant: 'first' } });
    await work();
    await eventually(() => ran.length >= 1);
    await removeSchedule(broker, 'it', Date.now(), () => {});
    expect(await readStored(broker, 'it')).toBeNull();
    expect(await broker.queue('work').getJobScheduler('it')).toBeUndefined();
    const removedAt = Date.now();
    await eventually(() => Date.now() > removedAt + 4 * beat);

    expect(await put({ every: '250ms', payload: { tenant: 'second' } })).toBe('created');
    await eventually(() => ran.some(({ tenant }) => tenant === 'second'));
    const { entries } = await readTicks(broker, of);
    expect(entries.filter(({ outcome }) => outcome === 'coalesced' || outcome === 'missed')).toEqual([]);
    expect(entries.some(({ time }) => time <= removedAt)).toBe(true);
    expect(entries.filter(({ time }) => time > removedAt + 100 && time < removedAt + 4 * beat)).toEqual([]);
  });

  it('has ended where its time is past', async () => {
    const { broker, put } = await setting();
    await put({ at: '2020-01-01T00:00:00Z' });
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({ health: 'ended', next: null, upcoming: [] });
    await put({ at: new Date(Date.now() + hour).toISOString() });
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({ health: 'sound' });
    await put({ every: '1h', endsAt: '2020-01-01T00:00:00Z' });
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({ health: 'ended', next: null });
    expect(await broker.queue('work').getJobScheduler('it')).toBeUndefined();
  });

  it.each([
    ['is declared in code', 'declared', { job: 'work', every: '1h' }, 'schedule-declared'],
    ['is declared in code, whatever comes', 'declared', 7, 'schedule-declared'],
    ['would change its job', 'it', { job: 'other', every: '1h' }, 'schedule-conflict'],
    ['is of a job that nobody knows', 'new', { job: 'worc', every: '1h' }, 'job-unknown'],
    ['is of a job that is disabled', 'new', { job: 'resting', every: '1h' }, 'job-disabled'],
    ['names no job', 'new', { every: '1h' }, 'schedule-invalid'],
    ['names a number for a job', 'new', { job: 7, every: '1h' }, 'schedule-invalid'],
    ['has another id than the one it is put under', 'new', { job: 'work', every: '1h', id: 'it' }, 'schedule-invalid'],
    ['has an id that is a path', '../it', { job: 'work', every: '1h' }, 'schedule-invalid'],
    ['is a list', 'new', [], 'schedule-invalid'],
    ['is nothing', 'new', null, 'schedule-invalid'],
    [
      'has a field that pollutes',
      'new',
      JSON.parse('{"job":"work","every":"1h","__proto__":{"a":1}}'),
      'schedule-invalid',
    ],
  ])('is refused where it %s', async (_what, id, fields, code) => {
    const { broker, put, registry } = await setting();
    await put({ every: '1h' });
    const before = await everything(broker);
    const refused = putSchedule(broker, registry, id, fields, { by: 'ops', now: Date.now() }, () => {});
    await expect(refused).rejects.toMatchObject({ code });
    expect(await everything(broker)).toEqual(before);
  });

  it('is refused where the code of another process declares it, or its entry makes no sense', async () => {
    const { broker, put } = await setting();
    await put({ every: '1h' });
    await updateEntry(broker, 'it', (entry) => entry && { ...entry, owner: 'code:shop' });
    await expect(put({ every: '2h' })).rejects.toMatchObject({ code: 'schedule-declared', detail: 'it by code:shop' });
    await broker.client.hset(broker.keys.schedules, 'it', '{"newer":true}');
    await expect(put({ every: '2h' })).rejects.toMatchObject({ code: 'schedule-conflict' });
    expect(await broker.client.hget(broker.keys.schedules, 'it')).toBe('{"newer":true}');
  });

  it('keeps its id from code that declares it later, which is told of', async () => {
    const { broker, put, produce, events } = await setting();
    await put({ every: '1h', payload: { tenant: 'mine' } });
    const declaring = defineJob({ name: 'work', schedules: [{ id: 'it', every: '2h' }], run: () => null });
    await produce({ jobs: [declaring] });
    expect(events.of('schedule.conflict')).toEqual([
      { type: 'schedule.conflict', schedule: 'it', reason: 'it belongs to api' },
    ]);
    expect(await readStored(broker, 'it')).toMatchObject({
      owner: 'api',
      specification: { payload: { tenant: 'mine' } },
    });
    expect(await sound(broker)).toBe(true);
  });
});

describe('a schedule that is put as disabled', () => {
  it('is listed, with no ticks due and none missed, until it is enabled', async () => {
    const { broker, put, work, ran, events, look } = await setting();
    await put({ every: '250ms', enabled: false });
    await work();
    const putAt = Date.now();
    await eventually(() => Date.now() > putAt + 3 * beat);
    await look();
    const page = await findSchedules(broker, { limit: 10, health: 'disabled' }, Date.now());
    expect(page.schedules).toMatchObject([{ id: 'it', enabled: false, health: 'disabled', next: null }]);
    expect((await previewStored(broker, 'it', { from: Date.now(), count: 3 })).times).toHaveLength(3);
    expect(events.of('schedule.healed')).toEqual([]);
    expect(await readTicks(broker, of)).toMatchObject({ entries: [] });

    await put({ every: '250ms' });
    const enabledAt = Date.now();
    await eventually(() => ran.length >= 2);
    const { entries } = await readTicks(broker, of);
    expect(entries.filter(({ time }) => time < enabledAt - beat)).toEqual([]);
    expect(entries.every(({ outcome }) => ['succeeded', 'running', 'waiting'].includes(outcome))).toBe(true);
  });

  it('lets run what was due before, and can be triggered and paused', async () => {
    const { broker, put, work, ran } = await setting();
    await put({ every: '250ms', payload: { tenant: 'due' }, misfire: 'run-once' });
    const first = Number((await readCursor(broker, of))?.next);
    await eventually(() => Date.now() > first + 50);
    await put({ every: '250ms', payload: { tenant: 'due' }, misfire: 'run-once', enabled: false });
    await work();
    await eventually(() => ran.length === 1);
    expect(ran[0]?.tick).toBeGreaterThanOrEqual(first);

    await triggerSchedule(broker, 'it');
    await eventually(() => ran.length === 2);
    expect(ran[1]?.tick).toBeNull();
    const until = Date.now() + hour;
    await pauseSchedule(broker, 'it', { by: 'ops', note: '', until, now: Date.now() });
    expect(await showSchedule(broker, 'it', Date.now())).toMatchObject({
      health: 'disabled',
      next: null,
      upcoming: [],
    });
  });
});

describe('a producer', () => {
  it.each([
    ['its scheduler is gone', (broker: Broker) => broker.queue('work').removeJobScheduler('it')],
    ['BullMQ has lost its keys', (broker: Broker) => dropBullKeys(broker)],
  ])('heals the chain of one that was put where %s, as what it is', async (_what, hurt) => {
    const { broker, put, look, events, work, ran } = await setting();
    await put({ every: '250ms', payload: { tenant: 'a' } });
    const before = await readStored(broker, 'it');
    await hurt(broker);
    expect(await sound(broker)).toBe(false);
    await look();
    expect(events.of('schedule.healed')).toMatchObject([{ schedule: 'it' }]);
    expect(await sound(broker)).toBe(true);
    expect(await readStored(broker, 'it')).toEqual(before);
    await work();
    await eventually(() => ran.length >= 1);
    expect(ran[0]).toMatchObject({ tenant: 'a' });
  });

  it('finishes a change that was left half done, and keeps what was due', async () => {
    const { broker, put, look, work, ran } = await setting();
    await put({ every: '250ms', payload: { tenant: 'old' }, misfire: 'run-once' });
    const first = Number((await readCursor(broker, of))?.next);
    await eventually(() => Date.now() > first + 50);
    const wanted = await specificationOf({ every: '300d', payload: { tenant: 'new' } });
    await updateEntry(broker, 'it', (entry) => {
      if (!entry) return null;
      return { ...entry, ...wanted, unsettled: { since: Date.now() - 6_000, before: entry.specification } };
    });
    await look();
    expect(await readStored(broker, 'it')).toMatchObject({ hash: wanted.hash });
    expect((await readStored(broker, 'it'))?.unsettled).toBeUndefined();
    await work();
    await eventually(() => ran.length === 1);
    expect(ran[0]).toMatchObject({ tenant: 'old' });
    expect((await readCursor(broker, of))?.next).toBe(Math.ceil(Date.now() / (300 * day)) * 300 * day);
  });

  it('finishes a removal that was left half done', async () => {
    const { broker, put, look } = await setting();
    await put({ every: '1h' });
    await updateEntry(broker, 'it', (entry) => {
      const since = Date.now() - 6_000;
      return entry && { ...entry, unsettled: { since, before: entry.specification, removal: true as const } };
    });
    await expect(triggerSchedule(broker, 'it')).rejects.toMatchObject({ code: 'schedule-unknown' });
    await look();
    expect(await readStored(broker, 'it')).toBeNull();
    expect(await broker.queue('work').getJobScheduler('it')).toBeUndefined();
  });

  it('lets a ledger go on that is paused where the store is not, and the other way round', async () => {
    const { broker, put, look } = await setting();
    await put({ every: '1h' });
    await markPause(broker, of, { since: Date.now(), until: null });
    await look();
    expect((await readCursor(broker, of))?.pause).toBeNull();
    await pauseSchedule(broker, 'it', { by: 'ops', note: '', until: null, now: 5 });
    await markPause(broker, of, null);
    await look();
    expect((await readCursor(broker, of))?.pause).toEqual({ since: 5, until: null });
  });

  it('starts a run of one that wants it at its start, and only then', async () => {
    const { put, produce, work, ran } = await setting();
    await put({ every: '300d', payload: { tenant: 'a' }, triggerOnStart: true });
    await work();
    await produce();
    await eventually(() => ran.length === 1);
    expect(ran).toEqual([{ tenant: 'a', tick: null }]);
  });
});

describe('putSchedules', () => {
  it('puts what it can, and says of each other what is wrong', async () => {
    const { broker, registry } = await setting();
    const list = [
      { id: 'a', job: 'work', every: '1h' },
      { id: 'a', job: 'work', every: '2h' },
      { id: 'b', job: 'work' },
      { job: 'work', every: '1h' },
      'c',
      null,
      { id: 'd', job: 'work', cron: '@daily' },
    ];
    const progress: number[] = [];
    const done = await putSchedules(
      broker,
      registry,
      list,
      { by: 'ops', now: Date.now, onProgress: (it) => progress.push(it) },
      () => {},
    );
    expect(done.map(({ id, result }) => [id, result])).toEqual([
      ['a', 'created'],
      ['a', 'failed'],
      ['b', 'failed'],
      ['number 4', 'failed'],
      ['number 5', 'failed'],
      ['number 6', 'failed'],
      ['d', 'created'],
    ]);
    expect(progress).toEqual([7]);
    expect(await broker.client.hkeys(broker.keys.schedules)).toEqual(expect.arrayContaining(['a', 'd']));
  });
});

const workPayload = z.object({ tenant: z.string().default('none') });

async function setting() {
  const ran: { tenant: string; tick: number | null }[] = [];
  const job = defineJob({
    name: 'work',
    payload: workPayload,
    misfire: 'run-all',
    schedules: [{ id: 'declared', cron: '0 0 1 1 *' }],
    run: ({ payload, tick }) => void ran.push({ tenant: payload.tenant, tick: tick?.time.getTime() ?? null }),
  });
  const other = defineJob({ name: 'other', run: () => null });
  const resting = defineJob({ name: 'resting', enabled: false, run: () => null });
  const jobs = [job, other, resting];
  const parts = await fixture(jobs);
  const registry = createRegistry(jobs);
  const { broker, events } = parts;
  return {
    ...parts,
    ran,
    registry,
    async put(fields: object) {
      const input = { by: 'ops', now: Date.now() };
      return (await putSchedule(broker, registry, 'it', { job: 'work', ...fields }, input, events.emit)).result;
    },
    /** What a producer does every ten seconds. */
    look: () =>
      reconcile(broker, { app: 'test', release: '1', wanted: wantedOf(registry), now: Date.now }, events.emit),
  };
}

/** What a put would store. */
async function specificationOf(fields: object) {
  const { broker, put } = await setting();
  await put(fields);
  const { specification, hash } = (await readStored(broker, 'it')) ?? {};
  if (!specification || !hash) throw new Error('it was not stored');
  return { specification, hash };
}

async function sound(broker: Broker): Promise<boolean> {
  return (await showSchedule(broker, 'it', Date.now())).health === 'sound';
}

const storeKey = (broker: Broker) => broker.keys.schedules;

/** All that Redis holds under the test's prefix. */
async function everything(broker: Broker): Promise<Record<string, unknown>> {
  const { client, keys } = broker;
  const names = (await client.keys(keys.schedules.replace('}:schedules', '*'))).sort();
  const dumps = await Promise.all(names.map((name) => client.dumpBuffer(name)));
  return Object.fromEntries(names.map((name, index) => [name, dumps[index]?.toString('hex')]));
}

async function dropBullKeys({ client, keys }: Broker): Promise<void> {
  const names = await client.keys(`${keys.queuePrefix('work')}:work:*`);
  await client.del(...names);
}
