import { describe, expect, it } from 'vitest';
import { createBackfillClaims } from '../../src/broker/backfill-claim.js';
import { type BackfillRecord, readBackfills } from '../../src/broker/backfills.js';
import { readClaims, readTicks } from '../../src/broker/ledger.js';
import { ledgerKeys } from '../../src/broker/ledger-format.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange, type TickEntry } from '../../src/broker/tick-entry.js';
import { beginBackfill, previewBackfill } from '../../src/producers/backfill.js';
import {
  cancelBackfills,
  createBackfillKeeper,
  type Feeding,
  feedBackfill,
  removeWaiting,
  resumeBackfill,
  stopBackfill,
} from '../../src/producers/feed.js';
import { pauseSchedule, removeSchedule, resumeSchedule } from '../../src/producers/operations.js';
import { findRun, listRuns } from '../../src/producers/runs.js';
import { updateEntry } from '../../src/producers/store.js';
import { createGate } from '../support/gate.js';
import { eventually } from '../support/harness.js';
import { expectProblem } from '../support/http.js';
import { day, everyDay, lastTick, missedTicks, now, daily as of } from '../support/missed-ticks.js';
import { prompt } from '../support/prompt.js';

describe('a backfill', () => {
  it('runs each missed tick once, oldest first, and gives it an entry in the place of the range', async () => {
    const { broker, work, ran, missed } = await missedTicks(120);
    const before = await readTicks(broker, of);
    expect(before.entries).toMatchObject([{ outcome: 'missed', count: 120 }]);
    await work();
    expect(await backfill(broker, missed)).toMatchObject({ state: 'fed', count: 120 });

    const entries = await allSettled(broker, 120);
    expect(entries.map(({ time, outcome }) => [time, outcome])).toEqual(missed.map((time) => [time, 'succeeded']));
    expect(entries.every((entry) => !isRange(entry) && entry.run === `tick:daily:${entry.time}`)).toBe(true);
    expect(sorted(ran)).toEqual(missed);
    expect(ran).toHaveLength(120);
    expect(Math.max(...ran.map((tick, index) => Math.abs(index - missed.indexOf(tick))))).toBeLessThan(10);
    expect(await recordOf(broker)).toMatchObject({ state: 'done', started: 120 });
    expect(await readClaims(broker, of)).toEqual(new Map());
    expect(await broker.client.exists(ledgerKeys(broker, of).backfilled)).toBe(0);
  });

  it('splits the range where it begins within it, and counts what stays on both sides', async () => {
    const { broker, work, missed } = await missedTicks(50);
    await work();
    await backfill(broker, missed.slice(20, 30));
    const entries = await allSettled(broker, 12);
    expect(entries[0]).toMatchObject({ outcome: 'missed', time: missed[0], to: missed[19], count: 20 });
    expect(entries.at(-1)).toMatchObject({ outcome: 'missed', time: missed[30], to: missed[49], count: 20 });
    expect(entries.slice(1, -1).map(({ time }) => time)).toEqual(missed.slice(20, 30));
  });

  it('runs ticks that are older than the ledger too, unless only the missed ones are wanted', async () => {
    const { broker, work, ran, missed } = await missedTicks(5);
    const before = Array.from({ length: 7 }, (_, index) => (missed[0] as number) - (7 - index) * day);
    const range = { from: before[0] as number, to: missed.at(-1) as number, now };
    const missedOnly = await previewBackfill(broker, 'daily', { ...range, onlyMissed: true });
    expect(missedOnly).toMatchObject({ count: 5, first: missed[0], leftOut: { beforeKnown: 7 } });
    await work();
    await backfill(broker, [...before, ...missed], { onlyMissed: false });
    await eventually(() => ran.length === 12);
    expect(sorted(ran)).toEqual([...before, ...missed]);
    const entries = await allSettled(broker, 5);
    expect(entries.map(({ time }) => time)).toEqual(missed);
  });

  it('runs ticks whose schedule starts none that is late', async () => {
    const { broker, work, ran, missed, specification } = await missedTicks(3, {
      schedules: [{ ...everyDay, lateAfter: '10m' }],
    });
    expect(specification.options).toHaveProperty('lateAfter');
    await work();
    await backfill(broker, missed, { template: specification as never });

    await eventually(() => ran.length === 3);
    expect((await allSettled(broker, 3)).map(({ outcome }) => outcome)).toEqual(Array(3).fill('succeeded'));
  });

  it('shows what it would do, and writes nothing, when asked so', async () => {
    const { broker, prefix, missed } = await missedTicks(30);
    const keys = async () => (await broker.client.keys(`{${prefix}*`)).sort();
    const before = await keys();
    const plan = await previewBackfill(broker, 'daily', { ...asked(missed.slice(0, 10)), now });
    expect(plan).toMatchObject({ count: 10, first: missed[0], last: missed[9] });
    expect(await keys()).toEqual(before);
    expect(await readBackfills(broker, of)).toEqual({ records: [], made: '' });
  });

  it('shows its runs as backfilled, in the list and one by one', async () => {
    const { broker, missed, registry } = await missedTicks(3);
    await backfill(broker, missed);
    const runs = await listRuns(broker, registry, { job: 'work' });
    const backfilled = runs.filter(({ origin }) => origin === 'backfilled');
    expect(backfilled.map(({ tick }) => Date.parse(tick ?? '')).sort()).toEqual(missed);
    const run = await findRun(broker, registry.get('work'), `tick:daily:${missed[0]}`);
    expect(run).toMatchObject({ origin: 'backfilled', schedule: 'daily' });
    expect(Date.parse(run.dueAt)).toBeLessThan(Date.now() + 1_000);
  });

  it.each([
    ['reversed', { from: now - day, to: now - 2 * day }, /to: expected a time at or after from/],
    ['in the future', { from: now + day, to: now + 2 * day }, /from: expected a time in the past/],
    ['reaching into the future', { from: now - 2 * day, to: now + day }, /to: expected a time that is not to come/],
    ['without a tick', { from: lastTick + 1, to: lastTick + 2 }, /to: expected a range with a tick of the schedule/],
  ])('refuses a range that is %s', async (_, range, message) => {
    const { broker } = await missedTicks(3);
    const refused = beginBackfill(broker, 'daily', { ...asked([0]), ...range, confirmed: true });
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toMatchObject({ code: 'backfill-invalid' });
    expect((await readBackfills(broker, of)).records).toEqual([]);
  });

  it('wants more than 100,000 ticks to be confirmed, and refuses more than a million', async () => {
    const { broker } = await missedTicks(3, { schedules: [{ id: 'daily', every: '1s' }] });
    const wanted = (seconds: number, confirmed: boolean) =>
      beginBackfill(broker, 'daily', {
        ...asked([0]),
        from: now - seconds * 1_000,
        to: now,
        onlyMissed: false,
        confirmed,
      });
    await expect(wanted(150_000, false)).rejects.toMatchObject({ code: 'backfill-unconfirmed' });
    await expect(wanted(1_100_000, true)).rejects.toThrow(/to: expected a range of at most 1000000 ticks/);
    expect(await wanted(150_000, true)).toMatchObject({ resumed: false, backfill: { state: 'feeding' } });
  });
});

describe('no tick is run twice', () => {
  it.each(['added', 'noted'] as const)('when the feeder dies after each batch is %s', async (dies) => {
    const { broker, work, ran, missed } = await missedTicks(60);
    await work();
    let steps = 0;
    const feeding: Feeding = {
      batchSize: 10,
      onStep: (step) => {
        if (step === dies && ++steps <= 6) throw new Error('the feeder dies');
      },
    };
    await expect(backfill(broker, missed, { feeding })).rejects.toThrow('the feeder dies');
    let record = await recordOf(broker);
    while (record.state === 'feeding') {
      await eventually(() => ran.length >= record.fed);
      record = await feedBackfill(broker, record, template, feeding).catch(() => recordOf(broker));
    }
    await allSettled(broker, 60);
    expect(ran).toHaveLength(60);
    expect(sorted(ran)).toEqual(missed);
  });

  it('when nothing is kept of the runs that the feeder adds once more', async () => {
    const retention = { completed: { age: '1s', count: 0 }, failed: { age: '1s', count: 0 } };
    const { broker, work, ran, missed, specification } = await missedTicks(20, { retention });
    await work();
    const stopping = () => {
      throw new Error('the feeder dies');
    };
    await expect(
      backfill(broker, missed, { template: specification, feeding: { onStep: stopping } }),
    ).rejects.toThrow();
    await eventually(() => ran.length === 20);
    await eventually(async () => (await broker.queue('work').getJobCounts()).active === 0);
    expect(await broker.queue('work').getCompletedCount()).toBe(0);
    const record = await recordOf(broker);
    expect(record).toMatchObject({ state: 'feeding', fed: 0, started: 20 });
    expect(await feedBackfill(broker, record, specification)).toMatchObject({ state: 'done' });
    await allSettled(broker, 20);
    expect(ran).toHaveLength(20);
  });

  it.each([
    ['in the ledger', 0],
    ['older than the ledger', 5],
  ])('when a run is added once more behind the back of those that know, of ticks %s', async (_, days) => {
    const gate = createGate();
    const begun: number[] = [];
    const { broker, work, missed, specification } = await missedTicks(5, {
      retention: { completed: { age: '1s', count: 0 } },
      concurrency: 2,
      run: async ({ tick }: { tick: { time: Date } }) => {
        if (begun.push(tick.time.getTime()) === 4) await gate.opened;
      },
    });
    const ticks = missed.map((tick) => tick - days * day);
    const record = await backfill(broker, ticks, { template: specification, onlyMissed: false });
    await work();
    await eventually(() => begun.length === 4);
    await eventually(async () => (await readClaims(broker, of)).size === 1);
    const claim = createBackfillClaims(broker);
    const again = { ...of, tick: ticks[1] as number, backfill: { id: record.id, index: 1 }, now };
    const answer = await claim({ ...again, run: `tick:daily:${ticks[1]}` });
    expect(answer).toEqual({ type: 'nothing', reason: 'a duplicate: its tick was run by this backfill' });
    gate.open();
    await eventually(async () => begun.length === 5 && (await recordOf(broker)).state === 'done');
    expect(await claim({ ...again, run: `tick:daily:${ticks[1]}` })).toEqual(answer);
    expect(sorted(begun)).toEqual(ticks);
  });

  it('when two processes feed it at once, since one was taken for dead', async () => {
    const { broker, work, ran, missed } = await missedTicks(60);
    await work();
    let other: Promise<unknown> | null = null;
    const onStep = async (_: string, record: BackfillRecord) => {
      if (other) return;
      other = broker.client
        .del(`${ledgerKeys(broker, of).backfills}:${record.id}`)
        .then(() => feedBackfill(broker, record, template, { batchSize: 7 }));
    };
    await backfill(broker, missed, { feeding: { batchSize: 10, onStep } });
    await other;
    await allSettled(broker, 60);
    expect(ran).toHaveLength(60);
    expect(await recordOf(broker)).toMatchObject({ state: 'done', started: 60 });
  });

  it('when several ask for ranges that overlap, all at once', async () => {
    const { broker, work, ran, missed } = await missedTicks(60);
    await work();
    const ranges = [missed, missed, missed.slice(0, 40), missed.slice(20), missed.slice(10, 30)];
    const found = await Promise.all(
      ranges.map((range) => beginBackfill(broker, 'daily', { ...asked(range), confirmed: false })),
    );
    const { records } = await readBackfills(broker, of);
    expect(records.reduce((sum, { count }) => sum + count, 0)).toBe(60);
    const kept = found.flatMap(({ backfill: record }) => record ?? []);
    await Promise.all(kept.map((record) => feedBackfill(broker, record, template)));
    await allSettled(broker, 60);
    expect(sorted(ran)).toEqual(missed);
    expect(ran).toHaveLength(60);
  });

  it('when a run is tried again: it is the same run that goes on', async () => {
    const attempts: string[] = [];
    const { broker, work, missed } = await missedTicks(2, {
      retry: { attempts: 2, backoff: 'fixed', delay: 10, jitter: 0 },
      run: async ({ tick, run }: { tick: { time: Date }; run: { id: string; attempt: number } }) => {
        attempts.push(`${run.id}/${run.attempt}`);
        if (run.attempt === 1) throw new Error('not yet');
        expect(run.id).toBe(`tick:daily:${tick.time.getTime()}`);
      },
    });
    await work();
    await backfill(broker, missed, { template: { payload: {}, options: { attempts: 2, backoff: { type: 'rondo' } } } });
    const entries = await allSettled(broker, 2);
    expect(entries).toMatchObject([
      { attempts: 2, outcome: 'succeeded' },
      { attempts: 2, outcome: 'succeeded' },
    ]);
    expect(new Set(attempts).size).toBe(4);
    expect(attempts).toHaveLength(4);
  });
});

describe('a backfill under way', () => {
  it('is stopped, and goes on when the same range is asked for again', async () => {
    const { broker, work, ran, missed } = await missedTicks(40);
    let batches = 0;
    const feeding = {
      batchSize: 10,
      mayGoOn: () => batches < 2,
      onStep: (step: string) => void (step === 'noted' && batches++),
    };
    const first = await backfill(broker, missed, { feeding });
    expect(first).toMatchObject({ state: 'feeding', fed: 20 });
    expect(await stopBackfill(broker, first)).toBe('stopped');
    await work();
    await eventually(() => ran.length === 20);

    const again = await beginBackfill(broker, 'daily', { ...asked(missed), confirmed: false });
    expect(again).toMatchObject({ resumed: true, backfill: { id: first.id, state: 'stopped' } });
    await resumeBackfill(broker, first);
    expect(await feedBackfill(broker, first, template)).toMatchObject({ fed: 40 });
    await allSettled(broker, 40);
    expect(ran).toHaveLength(40);
  });

  it('is cancelled: what waits goes, and stays missed; what ran is not run by the next', async () => {
    const gate = createGate();
    const begun: number[] = [];
    const { broker, work, missed } = await missedTicks(40, {
      concurrency: 6,
      run: async ({ tick }: { tick: { time: Date } }) => {
        begun.push(tick.time.getTime());
        if (begun.length <= 3) await gate.opened;
      },
    });
    const record = await backfill(broker, missed);
    await work();
    await eventually(() => begun.length === 3);
    const [cancelled] = await cancelBackfills(broker, 'daily');
    expect(cancelled).toMatchObject({ id: record.id, state: 'cancelling', started: 3 });
    expect(await removeWaiting(broker, record)).toBe(37);
    gate.open();
    const entries = await eventually(() => settledTo(broker, 4));
    expect(entries.at(-1)).toMatchObject({ outcome: 'missed', time: missed[3], count: 37 });
    expect(await recordOf(broker)).toMatchObject({ state: 'cancelled', started: 3 });
    await expect(cancelBackfills(broker, 'daily')).rejects.toMatchObject({ code: 'backfill-unknown' });

    const next = await backfill(broker, missed);
    expect(next).toMatchObject({ count: 37 });
    await allSettled(broker, 40);
    expect(begun).toHaveLength(40);
  });

  it('waits while its schedule is paused, and a producer goes on with it afterwards', async () => {
    const { broker, events, work, ran, missed } = await missedTicks(30);
    const note = { by: 'test', note: '', until: null, now };
    const record = await backfill(broker, missed);
    await pauseSchedule(broker, 'daily', note);
    const again = beginBackfill(broker, 'daily', { ...asked(missed), confirmed: false });
    await expect(again).rejects.toMatchObject({ code: 'schedule-paused' });
    await work();
    await events.next('run.skipped', ({ reason }) => /paused/.test(reason));
    await eventually(async () => (await recordOf(broker)).fed === 0);
    expect(ran).toEqual([]);
    await resumeSchedule(broker, 'daily', Date.now(), () => {});
    const keeper = createBackfillKeeper(broker, () => true, events.emit);
    // As a producer does: a run that the pause still held may set it back once more.
    await eventually(async () => {
      keeper.look();
      return events.of('backfill.fed').some(({ backfill: id }) => id === record.id) && ran.length === 30;
    });
    await keeper.stop();
    await allSettled(broker, 30);
    expect(ran).toHaveLength(30);
  });

  it('goes with its schedule', async () => {
    const { broker, missed } = await missedTicks(30);
    await backfill(broker, missed);
    await updateEntry(broker, 'daily', (entry) => entry && { ...entry, owner: 'api' });
    await removeSchedule(broker, 'daily', now, () => {});
    expect(await recordOf(broker)).toMatchObject({ state: 'cancelled', started: 0 });
    expect(await broker.queue('work').getDelayedCount()).toBe(0);
    expect(await broker.client.exists(broker.keys.backfills)).toBe(0);
    const { backfills } = ledgerKeys(broker, of);
    expect(await broker.client.pttl(backfills)).toBeGreaterThan(20 * day);
  });

  it('is gone on with by the producer when its feeder has died', async () => {
    const { broker, events, work, produce, ran, missed } = await missedTicks(30);
    const dies = () => {
      throw new Error('the feeder dies');
    };
    await expect(backfill(broker, missed, { feeding: { batchSize: 10, onStep: dies } })).rejects.toThrow();
    await work();
    await produce();
    expect(await events.next('backfill.fed')).toMatchObject({ schedule: 'daily', count: 30 });
    await allSettled(broker, 30);
    expect(ran).toHaveLength(30);
    await eventually(async () => (await broker.client.exists(broker.keys.backfills)) === 0);
  });

  it('leaves a slot for live ticks, which begin on time while its runs are long', prompt, async () => {
    const gate = createGate();
    let [inside, most] = [0, 0];
    const lates: number[] = [];
    const schedules = [everyDay, { id: 'often', every: '1s' }] as const;
    const { broker, work, produce, missed } = await missedTicks(50, {
      concurrency: 5,
      schedules,
      run: async ({ tick }: { tick: { schedule: string; time: Date } }) => {
        if (tick.schedule === 'often') return void lates.push(Date.now() - tick.time.getTime());
        most = Math.max(most, ++inside);
        await gate.opened;
        inside--;
      },
    });
    await backfill(broker, missed);
    await work();
    await produce();
    await eventually(() => inside === 2 && lates.length >= 4);
    expect(most).toBe(2);
    expect(Math.max(...lates.slice(1))).toBeLessThan(900);
    gate.open();
    await eventually(async () => (await recordOf(broker)).state === 'done');
    expect(most).toBe(2);
  });

  it('is asked for, looked at and cancelled over HTTP', async () => {
    const { broker, serve, missed } = await missedTicks(20);
    const { call } = await serve();
    const path = '/v1/schedules/daily/backfill';
    const json = {
      from: new Date(missed[0] as number).toISOString(),
      to: new Date(lastTick).toISOString(),
      onlyMissed: true,
    };
    const dry = await call('POST', path, { key: 'operate', json: { ...json, dryRun: true } });
    expect(dry).toMatchObject({ status: 200, body: { dryRun: true, count: 20, leftOut: {} } });
    const { status, body } = await call('POST', path, { key: 'operate', json });
    expect({ status, body }).toMatchObject({
      status: 202,
      body: { backfill: { state: 'feeding', count: 20, by: 'operate' } },
    });
    expect(await call('GET', path, { key: 'read' })).toMatchObject({
      body: { backfills: [{ id: body.backfill.id, added: 0 }] },
    });
    expect(await call('DELETE', path, { key: 'operate' })).toMatchObject({
      status: 202,
      body: { backfills: [{ state: 'cancelling' }] },
    });
    const keeper = createBackfillKeeper(
      broker,
      () => true,
      () => {},
    );
    keeper.look();
    await eventually(async () => (await recordOf(broker)).state === 'cancelled');
    await keeper.stop();

    expectProblem(await call('POST', path, { key: 'read', json }), 403, 'forbidden');
    expectProblem(await call('POST', path.replace('daily', 'daly'), { json }), 404, 'schedule-unknown');
    const wrong = await call('POST', path, { json: { from: 'yesterday', to: json.to, onlyMised: true } });
    expectProblem(wrong, 422, 'request-invalid', {
      problems: [
        { where: 'from', expected: expect.stringMatching(/ISO time with a zone/), got: '"yesterday"' },
        { where: 'onlyMised', expected: 'no such option (did you mean "onlyMissed"?)' },
      ],
    });
    expectProblem(
      await call('POST', path, { json: { ...json, from: json.to, to: json.from } }),
      422,
      'backfill-invalid',
    );
    expectProblem(await call('DELETE', path), 404, 'backfill-unknown');
  });
});

const template = { payload: {} as unknown, options: {} };

async function backfill(
  broker: Broker,
  ticks: readonly number[],
  options: { feeding?: Feeding; onlyMissed?: boolean; template?: typeof template } = {},
): Promise<BackfillRecord> {
  const { feeding, onlyMissed = true } = options;
  const found = await beginBackfill(broker, 'daily', { ...asked(ticks), onlyMissed, confirmed: false });
  if (!found.backfill) throw new Error(`nothing to backfill: ${JSON.stringify(found.plan)}`);
  return feedBackfill(broker, found.backfill, options.template ?? template, feeding);
}

function asked(ticks: readonly number[]) {
  return { from: ticks[0] as number, to: ticks.at(-1) as number, onlyMissed: true, by: 'test', now };
}

function allSettled(broker: Broker, count: number): Promise<TickEntry[]> {
  return eventually(async () => {
    const entries = await settledTo(broker, count);
    // Between two others that have run, one that is still to run is a range of its own.
    return entries && !entries.some((entry) => isRange(entry) && entry.count === 1) && entries;
  });
}

/** The entries of the ledger, once they are so many and none is open. */
async function settledTo(broker: Broker, count: number): Promise<TickEntry[] | false> {
  const { entries } = await readTicks(broker, of);
  return entries.length === count && entries.every(({ outcome }) => outcome !== 'running') && entries;
}

async function recordOf(broker: Broker): Promise<BackfillRecord> {
  return (await readBackfills(broker, of)).records.at(-1) as BackfillRecord;
}

const sorted = (ticks: readonly number[]) => [...new Set(ticks)].sort((a, b) => a - b);
