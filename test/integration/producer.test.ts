import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readTicks } from '../../src/broker/ledger.js';
import { defineJob, type JobDefinition, type ScheduleOptions } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { createLease } from '../../src/producers/lease.js';
import { wantedOf } from '../../src/producers/plan.js';
import { listRuns } from '../../src/producers/runs.js';
import { type ReconcileInput, readState, reconcile } from '../../src/producers/schedules.js';
import { listSchedules } from '../../src/producers/views.js';
import { eventually, type Fixture, fixture } from '../support/harness.js';
import { prompt } from '../support/prompt.js';

const second = 1_000;
const hour = 3_600_000;

describe('reconcile', () => {
  it('adds what is declared, each at its next tick, and then has nothing left to do', async () => {
    const { keep, chain, keptIteration } = await setUp();
    const jobs = [
      jobOf([
        { id: 'hourly', every: '1h', payload: { size: 2 } },
        { id: 'yearly', cron: '@yearly' },
      ]),
    ];
    const before = Date.now();

    const first = await keep(jobs);
    const again = await keep(jobs);

    expect(first.changes.map(({ kind }) => kind)).toEqual(['add', 'add']);
    expect(first.failed).toEqual([]);
    expect(await chain('hourly')).toMatchObject({ next: Math.ceil((before + 1) / hour) * hour, iteration: 'delayed' });
    expect((await chain('yearly'))?.next).toBe(Date.UTC(new Date(before).getUTCFullYear() + 1, 0));
    expect((await keptIteration('hourly'))?.data).toEqual({ size: 2 });
    expect(again).toMatchObject({ changes: [], unchanged: 2, conflicts: [], refused: null });
  });

  it('moves a changed timing to its new next tick, and leaves no run of the old one', async () => {
    const { keep, chain, broker } = await setUp();
    await keep([jobOf([{ id: 'it', cron: '0 0 1 1 *' }])]);
    const { changes } = await keep([jobOf([{ id: 'it', cron: '30 6 2 2 *' }])]);

    expect(changes).toMatchObject([{ kind: 'change', fields: ['timing'] }]);
    const { next, iteration } = await chain('it');
    expect(new Date(next ?? 0).toISOString()).toMatch(/-02-02T06:30:00.000Z$/);
    expect(iteration).toBe('delayed');
    expect(await broker.queue('work').getDelayedCount()).toBe(1);
  });

  it('carries a changed payload and changed retries into the run that waits', async () => {
    const { keep, chain, keptIteration } = await setUp();
    const schedule = { id: 'it', every: '1h' } as const;
    await keep([jobOf([{ ...schedule, payload: { size: 1 } }], { retry: { attempts: 3 } })]);
    const before = await chain('it');

    const { changes } = await keep([jobOf([{ ...schedule, payload: { size: 9 } }], { retry: { attempts: 7 } })]);

    expect(changes).toMatchObject([{ kind: 'change', fields: ['payload', 'options'] }]);
    expect(await chain('it')).toMatchObject(before);
    const iteration = await keptIteration('it');
    expect(iteration?.data).toEqual({ size: 9 });
    expect(iteration?.opts.attempts).toBe(7);
  });

  it('stores a changed description without touching the run that waits', async () => {
    const { keep, keptIteration, store } = await setUp();
    await keep([jobOf([{ id: 'it', every: '1h' }])]);
    await (await keptIteration('it'))?.updateProgress(77); // an upsert would put a new run in its place

    const { changes } = await keep([jobOf([{ id: 'it', every: '1h', description: 'Each hour' }])]);

    expect(changes).toMatchObject([{ kind: 'change', fields: ['description'] }]);
    expect((await keptIteration('it'))?.progress).toBe(77);
    expect((await store('it')).specification.description).toBe('Each hour');
    expect((await keep([jobOf([{ id: 'it', every: '1h', description: 'Each hour' }])])).changes).toEqual([]);
  });

  it('removes a schedule that is no longer declared, and adds it again when it is back', async () => {
    const { keep, chain, store, broker } = await setUp();
    await keep([jobOf([{ id: 'it', every: '1h' }])]);

    expect((await keep([jobOf([])])).changes).toMatchObject([{ kind: 'remove' }]);
    expect(await chain('it')).toMatchObject({ next: null, iteration: 'gone' });
    expect(await store('it')).toBeNull();
    expect(await broker.queue('work').getDelayedCount()).toBe(0);

    expect((await keep([jobOf([{ id: 'it', every: '1h' }])])).changes).toMatchObject([{ kind: 'add' }]);
    expect((await chain('it')).iteration).toBe('delayed');
  });

  it('removes the schedules of a job that is gone altogether', async () => {
    const { keep, chain } = await setUp();
    await keep([jobOf([{ id: 'it', every: '1h' }]), jobOf([{ id: 'other', every: '1h' }], { name: 'other' })]);

    const { changes } = await keep([jobOf([{ id: 'it', every: '1h' }])]);

    expect(changes).toMatchObject([{ kind: 'remove', stored: { id: 'other' } }]);
    expect((await chain('other', 'other')).next).toBeNull();
  });

  it.each<[string, { enabled?: false }, object]>([
    ['itself', { enabled: false }, {}],
    ['with its job', {}, { enabled: false }],
  ])(
    'lists a schedule that is disabled %s, with no ticks due and none missed until it is enabled',
    async (_, of, job) => {
      const { keep, chain, store, broker } = await setUp();
      const schedule = { id: 'it', every: '250ms' } as const;
      const off = [jobOf([{ ...schedule, ...of }], job)];
      await keep([jobOf([schedule])]);

      expect((await keep(off)).changes).toMatchObject([{ kind: 'change', fields: ['enabled'], after: null }]);
      const offAt = Date.now();
      expect(await chain('it')).toMatchObject({ next: null, iteration: 'gone' });
      expect(await store('it')).toMatchObject({ specification: { enabled: false, timing: { every: 250 } } });
      const { schedules } = await listSchedules(broker, Date.now());
      expect(schedules).toMatchObject([{ id: 'it', enabled: false, health: 'disabled', next: null }]);

      await eventually(() => Date.now() > offAt + 1_000);
      expect((await keep(off)).changes).toEqual([]);
      expect((await keep([jobOf([schedule])])).changes).toMatchObject([{ kind: 'change', fields: ['enabled'] }]);
      const onAt = Date.now();
      expect((await chain('it')).iteration).toBe('delayed');
      const { entries } = await readTicks(broker, { job: 'work', schedule: 'it' });
      expect(entries.filter(({ time }) => offAt < time && time < onAt - 250)).toEqual([]);
    },
  );

  it('leaves one alone that is disabled from the start', async () => {
    const { keep, chain, events, broker } = await setUp();
    const off = [jobOf([{ id: 'it', every: '1h', enabled: false }])];

    expect((await keep(off)).changes).toMatchObject([{ kind: 'add', after: null }]);
    expect((await keep(off)).changes).toEqual([]);
    expect((await keep(off, { isStart: true })).changes).toEqual([]);
    expect(await broker.queue('work').getDelayedCount()).toBe(0);
    expect(await chain('it')).toMatchObject({ next: null, iteration: 'gone' });
    expect(events.of('schedule.healed')).toEqual([]);
  });

  it('ends the old chain of a schedule that is left without a tick, and does not begin it anew', async () => {
    const { keep, chain, broker } = await setUp();
    await keep([jobOf([{ id: 'it', every: '1h' }])]);
    const ended = [jobOf([{ id: 'it', every: '1h', endsAt: '2020-01-01T00:00:00Z' }])];

    expect((await keep(ended)).changes).toMatchObject([{ kind: 'change', after: null }]);
    expect(await chain('it')).toMatchObject({ next: null, iteration: 'gone' });
    expect(await broker.queue('work').getDelayedCount()).toBe(0);
    expect((await keep(ended)).changes).toEqual([]);
  });
});

describe('a fault in Redis', () => {
  const jobs = [jobOf([{ id: 'often', every: '1h' }])];
  const frequent = [jobOf([{ id: 'often', every: '1s' }])];

  it.each<[string, (at: Place) => Promise<unknown>, string]>([
    [
      "the next run's place among the delayed",
      ({ redis, base, run }) => redis.zrem(`${base}delayed`, run),
      'its next run is gone',
    ],
    ["the next run's hash", ({ redis, base, run }) => redis.del(base + run), 'its next run is gone'],
    ["the scheduler's hash", ({ redis, base }) => redis.del(`${base}repeat:often`), 'its next run is gone'],
    ["the scheduler's entry", ({ redis, base }) => redis.zrem(`${base}repeat`, 'often'), 'its scheduler is gone'],
    [
      'the scheduler, removed in order',
      ({ broker }) => broker.queue('work').removeJobScheduler('often'),
      'its scheduler is gone',
    ],
    [
      "all of the queue's keys",
      async ({ redis, base }) => redis.del(...(await redis.keys(`${base}*`))),
      'its scheduler is gone',
    ],
  ])('is healed and told: %s is lost', async (_, destroy, reason) => {
    const { keep, chain, events, broker } = await setUp(jobs);
    await keep(jobs);
    const before = await chain('often');
    await destroy(await placeOf(broker));

    const { changes, failed } = await keep(jobs);

    expect(failed).toEqual([]);
    expect(changes).toMatchObject([{ kind: 'heal', reason }]);
    expect(await chain('often')).toEqual(before);
    expect(await broker.queue('work').getDelayedCount()).toBe(1);
    expect(events.of('schedule.healed')).toEqual([
      { type: 'schedule.healed', schedule: 'often', job: 'work', reason, next: before.next },
    ]);
    expect((await keep(jobs)).changes).toEqual([]);
  });

  it('is healed: the whole store of what is wanted is lost', async () => {
    const { keep, chain, store, broker } = await setUp(jobs);
    await keep(jobs);
    await broker.client.del(broker.keys.schedules);

    await keep(jobs);

    expect(await store('often')).toMatchObject({ owner: 'code:test' });
    expect((await chain('often')).iteration).toBe('delayed');
    expect(await broker.queue('work').getDelayedCount()).toBe(1);
    expect((await keep(jobs)).changes).toEqual([]);
  });

  it('is healed by a running producer within 30 seconds', prompt, async () => {
    const { broker, events, produce, work } = await setUp(frequent);
    await produce();
    const { redis, base, run } = await placeOf(broker);
    await redis.zrem(`${base}delayed`, run);
    const since = Date.now();

    await events.next('schedule.healed', ({ schedule }) => schedule === 'often', 30_000);
    await work();
    await ticksOf(events, 'often', 1);

    expect(Date.now() - since).toBeLessThan(30_000);
  });

  it('does not hide a run that is under way, waits or is overdue', async () => {
    const { keep, chain, broker, events, work } = await setUp(frequent);
    await keep(frequent);
    await eventually(async () => ((await chain('often')).next ?? Infinity) < Date.now());
    expect((await chain('often')).iteration).toBe('delayed');
    expect((await keep(frequent)).changes).toEqual([]);

    await broker.queue('work').pause();
    await work();
    await eventually(async () => (await chain('often')).iteration === 'queued');
    expect((await keep(frequent)).changes).toEqual([]);

    await broker.queue('work').resume();
    await ticksOf(events, 'often', 1);
    expect((await keep(frequent)).changes).toEqual([]);
  });

  interface Place {
    readonly broker: Fixture['broker'];
    readonly redis: Fixture['broker']['client'];
    /** Begins the keys of the queue. */
    readonly base: string;
    /** The id of the next run. */
    readonly run: string;
  }

  async function placeOf(broker: Fixture['broker']): Promise<Place> {
    const base = `${broker.keys.queuePrefix('work')}:work:`;
    const next = await broker.client.zscore(`${base}repeat`, 'often');
    return { broker, redis: broker.client, base, run: `repeat:often:${next}` };
  }
});

describe('a schedule that has ended', () => {
  it.each([
    ['at', () => ({ at: new Date(Date.now() + 600) }), 1],
    ['endsAt', () => ({ every: 500, endsAt: new Date(Math.ceil(Date.now() / 500) * 500 + 500) }), 2],
  ] as const)('by its "%s" is neither healed nor begun anew', async (_, timing, count) => {
    const jobs = [jobOf([{ id: 'it', ...timing() } as ScheduleOptions<{ size?: number }>])];
    const { keep, chain, events, work, produce, broker } = await setUp(jobs);
    await keep(jobs);
    await work();
    await ticksOf(events, 'it', count);
    await eventually(async () => ['finished', 'gone'].includes((await chain('it')).iteration));

    expect((await keep(jobs)).changes).toEqual([]);
    await produce();
    await broker.queue('work').clean(0, 100, 'completed'); // as retention does, sooner or later
    expect((await keep(jobs)).changes).toEqual([]);
    expect(events.of('schedule.healed')).toEqual([]);
    expect(events.of('run.started')).toHaveLength(count);
    expect(await broker.queue('work').getDelayedCount()).toBe(0);
  });
});

describe('a schedule whose times are computed by code', () => {
  const rule = (after: Date) => new Date(Math.floor(after.getTime() / 500) * 500 + 500);

  it('ends, with a word, at a worker that does not know it, and is healed by the producer that does', async () => {
    const jobs = [jobOf([{ id: 'it', next: rule }])];
    const { keep, chain, events, work } = await setUp(jobs);
    await keep(jobs);
    const ignorant = await work({ jobs: [jobOf([])] });
    const uncomputable = await events.next('schedule.uncomputable');
    await ticksOf(events, 'it', 1);
    await ignorant.stop(Date.now() + 1_000);

    expect(uncomputable).toMatchObject({ schedule: 'it', reason: expect.stringContaining('does not know its next()') });
    expect((await keep(jobs)).changes).toMatchObject([{ kind: 'heal', reason: 'its chain ended' }]);
    expect((await chain('it')).iteration).toBe('delayed');
    await work();
    await ticksOf(events, 'it', 3);
  });

  it.each<[string, (after: Date) => never, RegExp]>([
    ['throws', () => raise(new Error('no calendar')), /no calendar/],
    ['answers what is no later time', () => new Date('2020-06-15T12:00:00Z') as never, /Jun 1[456] 2020|2020-06-15/],
  ])('is told, and holds up no other, when its next() %s', async (_, next, reason) => {
    const jobs = [
      jobOf([
        { id: 'broken', next },
        { id: 'sound', every: '1h' },
      ]),
    ];
    const { keep, chain, events } = await setUp(jobs);

    const { conflicts } = await keep(jobs);

    expect((await chain('sound')).iteration).toBe('delayed');
    expect(conflicts).toEqual([{ id: 'broken', reason: expect.stringMatching(reason) }]);
    expect(events.of('schedule.conflict')).toMatchObject([
      { schedule: 'broken', reason: expect.stringMatching(reason) },
    ]);
  });

  it('ends its chain at a worker where it throws, which runs the tick all the same', async () => {
    let broken = false;
    const jobs = [jobOf([{ id: 'it', next: (after) => (broken ? raise(new Error('no calendar')) : rule(after)) }])];
    const { keep, chain, events, work } = await setUp(jobs);
    await keep(jobs);
    broken = true;
    await work();

    expect((await events.next('schedule.uncomputable')).reason).toContain('no calendar');
    await ticksOf(events, 'it', 1);
    broken = false;
    await eventually(async () => (await chain('it')).iteration === 'finished');
    expect((await keep(jobs)).changes).toMatchObject([{ kind: 'heal' }]);
  });
});

describe('a conflict', () => {
  it('leaves what is there as it is, is told, and lets the others go on', async () => {
    const { keep, store, chain, events, broker } = await setUp();
    await keep([jobOf([{ id: 'theirs', every: '1h' }], { name: 'theirs' })], { app: 'another' });
    await keep([jobOf([{ id: 'moved', every: '1h' }], { name: 'before' })]);
    await broker.client.hset(broker.keys.schedules, 'unreadable', '{"a": "newer kind of entry"');

    const result = await keep([
      jobOf([{ id: 'theirs', every: '2h' }], { name: 'theirs' }),
      jobOf([{ id: 'moved', every: '1h' }], { name: 'after' }),
      jobOf([
        { id: 'unreadable', every: '1h' },
        { id: 'sound', every: '1h' },
      ]),
    ]);

    expect(result.conflicts).toEqual([
      { id: 'theirs', reason: 'it belongs to code:another' },
      { id: 'moved', reason: 'it is a schedule of the job before, and a schedule never changes its job' },
      { id: 'unreadable', reason: 'its entry in the store cannot be read' },
    ]);
    expect(events.of('schedule.conflict').map(({ schedule }) => schedule)).toEqual(['theirs', 'moved', 'unreadable']);
    expect((await chain('sound')).iteration).toBe('delayed');
    expect((await chain('moved', 'after')).iteration).toBe('gone');
    expect((await chain('moved', 'before')).iteration).toBe('delayed');
    expect((await store('theirs')).specification.timing).toEqual({ kind: 'every', every: hour });
    expect(await broker.client.hget(broker.keys.schedules, 'unreadable')).toBe('{"a": "newer kind of entry"');
  });

  it('of an entry that a hand, a fault or a newer release has written keeps nobody from what is theirs', async () => {
    const { keep, chain, events, broker } = await setUp();
    const sound = jobOf([{ id: 'sound', every: '1h' }]);
    await keep([sound]);
    const entry = JSON.parse((await broker.client.hget(broker.keys.schedules, 'sound')) ?? '');
    const written = { ...entry, owner: 'api' };
    const asIf = (specification: object) => ({
      ...written,
      specification: { ...entry.specification, ...specification },
    });
    const strange = {
      'cut-off': JSON.stringify(written).slice(0, 80),
      nothing: 'null',
      list: '[]',
      'no-options': JSON.stringify(asIf({ options: undefined })),
      'no-job': JSON.stringify(asIf({ job: 'we{ird:' })),
      'no-owner': JSON.stringify({ ...written, owner: 7 }),
      'newer-times': JSON.stringify(asIf({ timing: { kind: 'lunar', phase: 'full' } })),
      'newer-policy': JSON.stringify(asIf({ policy: { ...entry.specification.policy, misfire: 'some' } })),
      'newer-overlap': JSON.stringify(asIf({ options: { overlap: 'share' } })),
      'no-zone': JSON.stringify(asIf({ timing: { kind: 'cron', cron: '@daily', timezone: 'Mars' } })),
      'no-interval': JSON.stringify(asIf({ timing: { kind: 'every', every: 0 } })),
      'no-time': JSON.stringify(asIf({ timing: { kind: 'at', at: 'soon' } })),
      'no-calendar': JSON.stringify(asIf({ timing: { kind: 'every', every: hour, exclude: {} } })),
      'no-pause': JSON.stringify({ ...written, pause: { since: 'soon', until: null } }),
      'no-change': JSON.stringify({ ...written, unsettled: true }),
    };
    await broker.client.hset(broker.keys.schedules, strange);
    await broker.queue('work').removeJobScheduler('sound');

    const result = await keep([sound]);

    expect(result).toMatchObject({ failed: [], changes: [{ kind: 'heal' }], finished: true });
    expect((await chain('sound')).iteration).toBe('delayed');
    const told = events.of('schedule.conflict');
    expect(told.map(({ schedule }) => schedule).sort()).toEqual(Object.keys(strange).sort());
    expect(new Set(told.map(({ reason }) => reason))).toEqual(new Set(['its entry in the store cannot be read']));
    expect(await broker.client.hgetall(broker.keys.schedules)).toMatchObject(strange);
  });

  it('with more than half of what the app has, and five at least, stops a removal until somebody says yes', async () => {
    const { keep, chain, events } = await setUp();
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const declare = (some: string[]) => [jobOf(some.map((id) => ({ id, every: '1h' }) as const))];
    await keep(declare(ids));

    const refused = await keep(declare(['a', 'new']));
    expect(refused.refused?.owned).toBe(8);
    expect([...(refused.refused?.ids ?? [])].sort()).toEqual(ids.slice(1));
    expect(refused.changes.map(({ kind }) => kind)).toEqual(['add']);
    expect(events.of('schedules.removal-refused')).toMatchObject([{ schedules: refused.refused?.ids, owned: 8 }]);
    for (const id of ids) expect((await chain(id)).iteration).toBe('delayed');

    const allowed = await keep(declare(['a', 'new']), { removeMany: true });
    expect(allowed.changes.map(({ kind }) => kind)).toEqual(Array(7).fill('remove'));
    for (const id of ids.slice(1)) expect((await chain(id)).iteration).toBe('gone');
  });

  it('is not seen in the removal of four, or of half', async () => {
    const { keep } = await setUp();
    const declare = (count: number) => [
      jobOf(Array.from({ length: count }, (_, index) => ({ id: `s${index}`, every: '1h' }) as const)),
    ];
    await keep(declare(10));

    expect((await keep(declare(5))).refused).toBeNull();
    expect((await keep(declare(1))).refused).toBeNull();
    expect((await keep(declare(0))).refused).toBeNull();
  });
});

describe('the producer', () => {
  it('leaves an overdue run that waits alone, however often it is started again', async () => {
    const jobs = [jobOf([{ id: 'it', cron: '* * * * * *' }])];
    const { chain, events, produce, keptIteration } = await setUp(jobs);
    await (await produce()).stop(Date.now() + 1_000);
    const { next } = await chain('it');
    await (await keptIteration('it'))?.updateProgress(77);
    await eventually(() => Date.now() > (next ?? 0) + 500);

    for (let start = 0; start < 3; start++) await (await produce()).stop(Date.now() + 1_000);

    expect(await chain('it')).toMatchObject({ next, iteration: 'delayed' });
    expect((await keptIteration('it'))?.progress).toBe(77);
    expect(events.of('schedules.reconciled').map(({ added, unchanged }) => [added, unchanged])).toEqual([
      [1, 0],
      [0, 1],
      [0, 1],
      [0, 1],
    ]);
  });

  it('leads alone among those of its app; another takes over when it stops, and upserts nothing', async () => {
    const jobs = [jobOf([{ id: 'it', every: '1h' }])];
    const { events, produce } = await setUp(jobs);
    const first = await produce();
    await produce();
    expect(events.of('producer.leading')).toHaveLength(1);
    expect(events.of('producer.standby')).toHaveLength(1);

    await first.stop(Date.now() + 1_000);
    await eventually(() => events.of('producer.leading').length === 2);

    const touched = events.of('schedules.reconciled').map((it) => it.added + it.changed + it.healed + it.removed);
    expect(touched).toEqual([1, 0]);
    expect(events.of('producer.standby')).toHaveLength(1);
  });

  it('takes over within 15 seconds from one that died, and at once where its lease was deleted', prompt, async () => {
    const { broker, events, produce } = await setUp([jobOf([{ id: 'it', every: '1h' }])]);
    const lease = broker.keys.producerLease('test');
    await broker.client.set(lease, 'one that died', 'PX', 3_000);
    const supervisor = await produce();
    expect(events.of('producer.standby')).toHaveLength(1);
    await events.next('producer.leading', undefined, 15_000);
    await supervisor.stop(Date.now() + 1_000);

    await broker.client.set(lease, 'one that hangs', 'PX', 600_000);
    await produce();
    expect(events.of('producer.standby')).toHaveLength(2);
    await broker.client.del(lease);
    await eventually(() => events.of('producer.leading').length === 2);
  });

  it('stands by when it finds that it lost the lead, and leads again when it can', async () => {
    const { broker, events, produce } = await setUp([jobOf([{ id: 'it', every: '1h' }])]);
    await produce();

    // For longer than two of its turns, so that it is found out and not only survived.
    await broker.client.set(broker.keys.producerLease('test'), 'another', 'PX', 6_000);
    await events.next('producer.standby');
    await eventually(() => events.of('producer.leading').length === 2);
  });

  it('that stood by while Redis lost its data marks as unknown what was due since it looked', async () => {
    const jobs = [jobOf([{ id: 'it', every: '1s' }])];
    const { broker, prefix, keep, events, produce } = await setUp(jobs);
    await keep(jobs);
    await broker.client.set(broker.keys.producerLease('test'), 'another', 'PX', 60_000);
    const lookedAt = Date.now();
    await produce();
    expect(events.of('producer.standby')).toHaveLength(1);
    await eventually(() => Date.now() > lookedAt + 1_500);

    await broker.client.del(await broker.client.keys(`{${prefix}*`));
    await events.next('producer.leading');

    const { entries, knownFrom } = await readTicks(broker, { job: 'work', schedule: 'it' });
    expect(entries[0]).toMatchObject({ outcome: 'unknown', reason: 'Redis lost its data' });
    expect(entries[0]?.time).toBeGreaterThan(lookedAt);
    expect(entries[0]?.time, 'the first tick after its look').toBeLessThanOrEqual(Number(knownFrom) + second);
  });

  it('that stood by calls nothing lost that another has removed', async () => {
    const jobs = [jobOf([{ id: 'it', every: '1s' }])];
    const { broker, keep, events, produce } = await setUp(jobs);
    await keep(jobs);
    const lease = broker.keys.producerLease('test');
    await broker.client.set(lease, 'another', 'PX', 60_000);
    await produce();
    await keep([]);
    const removedAt = Date.now();
    await eventually(() => Date.now() > removedAt + 1_500);

    await broker.client.del(lease);
    await events.next('producer.leading');

    const { entries } = await readTicks(broker, { job: 'work', schedule: 'it' });
    expect(entries.filter(({ outcome }) => outcome === 'unknown')).toEqual([]);
  });

  it('shares the store with those of other apps: each has a leader, and keeps to its own', async () => {
    const ours = [jobOf([{ id: 'ours', every: '1h' }], { name: 'ours' })];
    const theirs = [jobOf([{ id: 'theirs', every: '1h' }], { name: 'theirs' })];
    const { chain, store, events, produce } = await setUp();
    await produce({ app: 'one', jobs: ours });
    await produce({ app: 'two', jobs: theirs });

    expect(events.of('producer.leading').map(({ app }) => app)).toEqual(['one', 'two']);
    expect(await store('ours')).toMatchObject({ owner: 'code:one' });
    expect(await store('theirs')).toMatchObject({ owner: 'code:two' });

    await produce({ app: 'three', jobs: [] });
    expect((await chain('ours', 'ours')).iteration).toBe('delayed');
    expect((await chain('theirs', 'theirs')).iteration).toBe('delayed');
    expect(events.of('schedules.reconciled').map(({ removed }) => removed)).toEqual([0, 0, 0]);
  });

  it('starts a run, which is no tick, of each schedule that asks for one at the start', async () => {
    const jobs = [
      jobOf([
        { id: 'asks', every: '1h', payload: { size: 4 }, triggerOnStart: true },
        { id: 'asks-not', every: '1h' },
        { id: 'disabled', every: '1h', triggerOnStart: true, enabled: false },
      ]),
      jobOf([{ id: 'off', every: '1h', triggerOnStart: true }], { name: 'off', enabled: false }),
    ];
    const { broker, produce } = await setUp(jobs);
    const supervisor = await produce();
    const waiting = () => listRuns(broker, createRegistry(jobs), { state: 'waiting' });

    expect(await waiting()).toMatchObject([{ job: 'work', schedule: null, tick: null, payload: { size: 4 } }]);
    await produce(); // stands by
    expect(await waiting()).toHaveLength(1);
    await supervisor.stop(Date.now() + 1_000);
    await eventually(async () => (await waiting()).length === 2);
  });

  it('refuses a store that a newer release has marked', async () => {
    const { broker, produce, work } = await setUp([jobOf([])]);
    await broker.client.set(broker.keys.storeVersion, 99);

    await expect(produce()).rejects.toMatchObject({ code: 'store-newer', message: expect.stringContaining('99') });
    await expect(work()).rejects.toMatchObject({ code: 'store-newer' });
  });
});

describe('the lease', () => {
  it('renews itself for as long as it is held, after a loss too', prompt, async () => {
    const { broker } = await setUp();
    const key = broker.keys.producerLease('renewal');
    const lease = createLease(broker.client, key, 1_000);
    const rises = async () => {
      let last = await broker.client.pttl(key);
      return eventually(async () => {
        const now = await broker.client.pttl(key);
        const rose = now > last;
        last = now;
        return rose;
      });
    };

    expect(await lease.acquire()).toBe(true);
    await rises();
    await broker.client.set(key, 'another', 'PX', 300);
    await eventually(() => !lease.held());
    await eventually(() => lease.acquire());
    await rises();
    await rises();

    await lease.release();
    expect(lease.held()).toBe(false);
    expect(await broker.client.exists(key)).toBe(0);
  });

  it('is not taken from its holder, nor released by another', async () => {
    const { broker } = await setUp();
    const key = broker.keys.producerLease('holder');
    const [holder, other] = [createLease(broker.client, key, 5_000), createLease(broker.client, key, 5_000)];
    await holder.acquire();

    expect(await other.acquire()).toBe(false);
    await other.release();
    expect(await broker.client.exists(key)).toBe(1);
    await holder.release();
    expect(await other.acquire()).toBe(false); // released once, it stays so
  });
});

describe('the ticks of a schedule', () => {
  const phase = 300;
  const kinds: [string, ScheduleOptions<{ size?: number }>, (time: number) => boolean, number][] = [
    ['cron', { id: 'cron', cron: '* * * * * *', timezone: 'Asia/Kathmandu' }, (time) => time % second === 0, second],
    ['every', { id: 'every', every: '1s' }, (time) => time % second === 0, second],
    [
      'every with a phase',
      { id: 'phase', every: '1s', startsAt: new Date(Date.UTC(2026, 0) + phase) },
      (time) => time % second === phase,
      second,
    ],
    [
      'next',
      { id: 'next', next: (after) => new Date((Math.floor(after.getTime() / 700) + 1) * 700) },
      (time) => time % 700 === 0,
      700,
    ],
  ];

  it('are run, each once and none left out, soon after their time and never before', prompt, async () => {
    const once = new Date(Math.ceil(Date.now() / second) * second + 1_500);
    const jobs = [jobOf([...kinds.map(([, schedule]) => schedule), { id: 'once', at: once }], { concurrency: 50 })];
    const startedAt = new Map<string, number>();
    const { events, produce, work } = await setUp([
      {
        ...(jobs[0] as JobDefinition),
        run: ({ tick }) => void startedAt.set(`${tick?.schedule} ${tick?.time.getTime()}`, Date.now()),
      },
    ]);
    await work();
    await produce();
    await Promise.all([...kinds.map(([, { id }]) => ticksOf(events, id, 4)), ticksOf(events, 'once', 1)]);

    for (const [kind, { id }, isAligned, step] of kinds) {
      const ticks = await ticksOf(events, id, 4);
      expect(
        ticks.filter((time) => !isAligned(time)),
        kind,
      ).toEqual([]);
      expect(ticks, kind).toEqual(ticks.map((_, index) => (ticks[0] ?? 0) + index * step));
    }
    expect(await ticksOf(events, 'once', 1)).toEqual([once.getTime()]);
    for (const [key, at] of startedAt) {
      const late = at - Number(key.split(' ')[1]);
      expect(late, key).toBeGreaterThanOrEqual(0);
      expect(late, key).toBeLessThan(1_000);
    }
  });
});

type Overrides = Partial<Pick<ReconcileInput, 'app' | 'release' | 'removeMany' | 'isStart'>>;

/** A fixture, and the means to bring it in line with jobs without a producer's timers. */
async function setUp(jobs: readonly JobDefinition[] = []) {
  const parts = await fixture(jobs);
  const { broker, events } = parts;
  const store = async (id: string) => JSON.parse((await broker.client.hget(broker.keys.schedules, id)) ?? 'null');
  const chain = async (id: string, job = 'work') => {
    const wanted = [{ id, specification: { job } } as never];
    // The store may name the schedule under another job: asked with an empty one, it is looked for where we say.
    const { chains } = await readState(
      { ...broker, keys: { ...broker.keys, schedules: `{${parts.prefix}}:none` } },
      wanted,
    );
    return chains.get(id) ?? { next: null, iteration: 'gone' as const };
  };
  return {
    ...parts,
    chain,
    store,
    keep: (declared: readonly JobDefinition[], overrides: Overrides = {}) =>
      reconcile(
        broker,
        { app: 'test', release: '1', now: Date.now, ...overrides, wanted: wantedOf(createRegistry(declared)) },
        events.emit,
      ),
    keptIteration: async (id: string) => broker.queue('work').getJob(`repeat:${id}:${(await chain(id)).next}`),
  };
}

function jobOf(schedules: readonly ScheduleOptions<{ size?: number }>[], options: object = {}) {
  const payload = z.object({ size: z.number().optional() });
  return defineJob({ name: 'work', payload, schedules, run: () => {}, ...options });
}

/** The ticks of a schedule that have succeeded, in order, once there are so many. */
async function ticksOf(events: Fixture['events'], schedule: string, count: number): Promise<number[]> {
  const ticks = () => events.of('run.succeeded').filter((it) => it.schedule === schedule);
  await eventually(() => ticks().length >= count);
  return ticks()
    .map(({ tick }) => tick ?? 0)
    .sort((a, b) => a - b);
}

function raise(thrown: unknown): never {
  throw thrown;
}
