import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readCursor, readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange } from '../../src/broker/tick-entry.js';
import type { ScheduleOptions } from '../../src/jobs/define-job.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { wantedOf } from '../../src/producers/plan.js';
import { reconcile } from '../../src/producers/schedules.js';
import { eventually, fixture } from '../support/harness.js';

const day = 86_400_000;
const of = { job: 'work', schedule: 'it' };
const versioned = z.object({ version: z.number() });

// Clocks stand where the test puts them; BullMQ's own chain goes by the real one, so that ticks lie around now.
describe('a schedule that is changed', () => {
  it('keeps the run that waits, with its old payload, and goes on by its new times', async () => {
    const { broker, seen, apply, work } = await setting();
    await apply({ every: '1s', payload: { version: 1 } });
    const first = Number((await readCursor(broker, of))?.next);
    await eventually(() => Date.now() > first + 50);

    await apply({ every: '300d', payload: { version: 2 } });
    await work();
    await eventually(() => seen.length >= 1);

    expect(seen).toEqual([{ version: 1, tick: expect.any(Number) }]);
    expect(seen[0]?.tick).toBeGreaterThanOrEqual(first);
    const { entries } = await readTicks(broker, of);
    expect(entries.reduce((sum, entry) => sum + (isRange(entry) ? entry.count : 1), 0)).toBe(
      ((seen[0]?.tick ?? 0) - first) / 1_000 + 1,
    );
    expect((await readCursor(broker, of))?.next).toBe(Math.ceil(Date.now() / (300 * day)) * 300 * day);
  });

  it('runs no tick that its old times have run, however the spread moves', async () => {
    const { broker, seen, apply, work } = await setting();
    await work();
    await apply({ every: '2s', payload: { version: 1 } });
    await eventually(() => seen.length >= 1);
    await apply({ every: '2s', spread: '1s', payload: { version: 2 } });
    await eventually(() => seen.some(({ version }) => version === 2));
    expect(new Set(seen.map(({ tick }) => tick)).size).toBe(seen.length);
    const { entries } = await readTicks(broker, of);
    expect(entries.every((entry) => !isRange(entry))).toBe(true);
  });

  it('that is removed lets what is overdue run once, and its ledger can be read', async () => {
    const { broker, seen, apply, work } = await setting();
    await apply({ every: '1s', payload: { version: 1 } });
    const first = Number((await readCursor(broker, of))?.next);
    await eventually(() => Date.now() > first + 50);
    await apply(null);
    await work();
    await eventually(() => seen.length === 1);
    const settled = await eventually(async () => {
      const { entries } = await readTicks(broker, of);
      return entries.at(-1)?.outcome === 'succeeded' && entries;
    });
    expect(settled.at(-1)).toMatchObject({ time: seen[0]?.tick });
    const left = await broker.queue('work').getJobCounts('wait', 'delayed', 'active');
    expect(Object.values(left).reduce((sum, count) => sum + count, 0)).toBe(0);
  });

  it('that is removed and declared again begins anew, and has nothing missed in between', async () => {
    const { broker, apply } = await setting();
    await apply({ every: '1s', payload: { version: 1 } });
    await apply(null);
    const removedAt = Date.now();
    await eventually(() => Date.now() > removedAt + 1_500);
    await apply({ every: '1s', payload: { version: 1 } });
    expect(Number((await readCursor(broker, of))?.next)).toBeGreaterThan(removedAt + 1_000);
    const { entries } = await readTicks(broker, of);
    expect(entries.filter(({ outcome }) => outcome !== 'waiting')).toEqual([]);
  });
});

describe('a tick whose run is gone', () => {
  it('is caught up where a monthly schedule would have waited a month', async () => {
    const { broker, seen, apply, work, events } = await setting();
    const soon = new Date(Date.now() + 3_000);
    const cron = `${soon.getUTCSeconds()} ${soon.getUTCMinutes()} ${soon.getUTCHours()} ${soon.getUTCDate()} * *`;
    await apply({ cron, payload: { version: 1 } });
    const tick = Number((await readCursor(broker, of))?.next);
    expect(tick).toBe(Math.floor(soon.getTime() / 1_000) * 1_000);
    const base = `${broker.keys.queuePrefix('work')}:work`;
    await broker.client.zrem(`${base}:delayed`, `repeat:it:${tick}`);
    await broker.client.del(`${base}:repeat:it:${tick}`);
    await eventually(() => Date.now() > tick + 100);
    await apply({ cron, payload: { version: 1 } });
    await work();
    await eventually(() => seen.length === 1);
    expect(seen).toEqual([{ version: 1, tick }]);
    expect(events.of('schedule.healed')).toHaveLength(1);
    expect(events.of('ticks.caught-up')).toMatchObject([{ ticks: [tick] }]);
  });

  it('runs early where somebody promotes it, which is said, and the next one is the one after it', async () => {
    const { broker, seen, apply, work, events } = await setting();
    await apply({ every: '10d', payload: { version: 1 } });
    const tick = Number((await readCursor(broker, of))?.next);
    await work();
    await (await broker.queue('work').getJob(`repeat:it:${tick}`))?.promote();
    await eventually(() => seen.length === 1);
    expect(seen).toEqual([{ version: 1, tick }]);
    expect(events.of('tick.early')).toMatchObject([{ schedule: 'it', tick }]);
    expect((await readCursor(broker, of))?.next).toBe(tick + 10 * day);
    await apply({ every: '10d', payload: { version: 1 } });
    expect(events.of('schedule.healed')).toEqual([]);
  });

  it('has its claim closed by the producer where the run has ended without a word', async () => {
    const { broker, seen, apply, work } = await setting();
    const pool = await work();
    await apply({ every: '1s', payload: { version: 1 } });
    await eventually(() => seen.length >= 1);
    await pool.stop(Date.now() + 1_000);
    const { ticks, claims } = keysOf(broker);
    const [first = ''] = await broker.client.zrange(ticks, '0', '0');
    const time = Number((await broker.client.zrange(ticks, '0', '0', 'WITHSCORES'))[1]);
    await broker.client.zrem(ticks, first);
    await broker.client.zadd(ticks, String(time), first.replace('1s', '1r'));
    const long = Date.now() - 60_000;
    await broker.client.hset(claims, `repeat:it:${time}`, `${time} ${time} ${long} running`);

    await apply({ every: '1s', payload: { version: 1 } });

    expect(await broker.client.hlen(claims)).toBe(0);
    const { entries } = await readTicks(broker, of);
    expect(entries[0]).toMatchObject({ time, outcome: 'succeeded', attempts: 1, run: `repeat:it:${time}` });
  });
});

const keysOf = ({ keys }: Broker) => ({
  ticks: `${keys.queuePrefix('work')}:ticks:it`,
  claims: `${keys.queuePrefix('work')}:claims:it`,
});

type Declared = Omit<ScheduleOptions<{ version: number }>, 'id'> & { payload: { version: number } };

async function setting() {
  const seen: { version: number; tick: number }[] = [];
  const jobWith = (schedule: Declared | null) =>
    defineJob({
      name: 'work',
      payload: versioned,
      schedules: schedule ? [{ id: 'it', ...schedule } as never] : [],
      run: ({ payload, tick }) => void seen.push({ ...payload, tick: tick?.time.getTime() ?? 0 }),
    });
  const { broker, events, work } = await fixture([jobWith(null)]);
  return {
    broker,
    events,
    seen,
    work,
    async apply(schedule: Declared | null): Promise<void> {
      const wanted = wantedOf(createRegistry([jobWith(schedule)]));
      const input = { app: 'test', release: '1', wanted, now: Date.now };
      const { failed } = await reconcile(broker, input, events.emit);
      expect(failed).toEqual([]);
    },
  };
}
