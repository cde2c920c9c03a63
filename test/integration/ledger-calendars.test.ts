import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AccountInput, account } from '../../src/broker/account.js';
import { begin, readCursor, readTicks } from '../../src/broker/ledger.js';
import { type Cursor, ledgerKeys } from '../../src/broker/ledger-format.js';
import type { Broker } from '../../src/broker/queues.js';
import { iterationId } from '../../src/broker/repeat.js';
import { isRange, type TickEntry } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { defaultPolicy } from '../../src/jobs/misfire.js';
import { nextNominal, nextTick, type Timing } from '../../src/jobs/schedule.js';
import { eventually, fixture } from '../support/harness.js';

const of = { job: 'work', schedule: 'report' };
const weekends = { name: 'weekends', weekly: [{ days: ['sat', 'sun'] }] } as const;
const at = (text: string) => Date.parse(`2026-${text}:00+01:00`);
const iso = (time: number) => new Date(time).toISOString();
const hour = 3_600_000;

function hourly(more: object = {}): Timing {
  const exclude = { timezone: 'Europe/Paris', calendars: [weekends] };
  return { kind: 'cron', cron: '0 * * * *', timezone: 'Europe/Paris', exclude, ...more };
}

describe('the ledger of a schedule with calendars', () => {
  it('has the excluded times before a tick as one range, with the name of the calendar', async () => {
    const { broker } = await fixture([]);
    await begin(broker, of, at('11-20T23:00'), at('11-23T00:00'));
    const found = await claim(broker, hourly(), at('11-23T00:00'));

    expect(found).toMatchObject({ type: 'accounted', own: at('11-23T00:00') });
    const excluded = { outcome: 'excluded', reason: 'weekends' };
    expect(await entriesOf(broker)).toEqual([
      { time: at('11-21T00:00'), to: at('11-22T23:00'), count: 48, ...excluded },
      expect.objectContaining({ time: at('11-23T00:00'), outcome: 'running' }),
    ]);
    await claim(broker, hourly(), at('11-23T01:00'));
    expect(await entriesOf(broker)).toHaveLength(3);
  });

  it('counts a weekend of seconds, and gives the event loop its turn meanwhile', async () => {
    const { broker } = await fixture([]);
    const timing = hourly({ cron: '* * * * * *' });
    await begin(broker, of, at('11-20T23:00') + hour - 1_000, at('11-23T00:00'));
    await claim(broker, timing, at('11-23T00:00'));
    expect((await entriesOf(broker))[0]).toMatchObject({ count: 2 * 86_400, to: at('11-23T00:00') - 1_000 });
  });

  it('divides what nobody was there for at the weekends', async () => {
    const { broker } = await fixture([]);
    await begin(broker, of, at('11-19T22:30'), at('11-19T23:00'));
    await claim(broker, hourly(), at('11-19T23:00'), at('12-01T10:30'));

    const entries = await entriesOf(broker);
    expect(entries.map(({ outcome }) => outcome)).toEqual([
      'coalesced',
      'excluded',
      'coalesced',
      'excluded',
      'coalesced',
      'running',
    ]);
    expect(entries.map((entry) => (isRange(entry) ? entry.count : 1))).toEqual([25, 48, 5 * 24, 48, 24 + 10, 1]);
    expectWhole(entries, hourly(), at('11-19T22:30'));
  });

  it('has no time in a paused range that is excluded, and each in one entry however often somebody looks', async () => {
    const { broker } = await fixture([]);
    await begin(broker, of, at('11-20T21:30'), at('11-20T22:00'));
    await broker.client.hset(ledgerKeys(broker, of).cursor, 'pause', `${at('11-20T21:40')} `);
    for (const now of ['11-20T22:30', '11-20T23:10', '11-21T12:00', '11-23T01:10', '11-23T02:10']) {
      await look(broker, hourly(), at(now));
    }
    const entries = await entriesOf(broker);
    expect(entries).toMatchObject([
      { outcome: 'paused', count: 2 },
      { outcome: 'excluded', count: 48 },
      { outcome: 'paused', count: 3, to: at('11-23T02:00') },
    ]);
    expectWhole(entries, hourly(), at('11-20T21:30'));
  });

  it('is one range still where the schedule was healed or changed in the middle of it', async () => {
    const { broker } = await fixture([]);
    await begin(broker, of, at('11-20T23:00'), at('11-23T00:00'));
    const timingFromNow = { timing: hourly(), rule: undefined };
    await look(broker, hourly(), at('11-21T12:30'), { timingFromNow });
    await look(broker, hourly(), at('11-22T12:30'), { timingFromNow });
    expect(await entriesOf(broker)).toMatchObject([{ outcome: 'excluded', count: 37 }]);
    await claim(broker, hourly(), at('11-23T00:00'));
    expect(await entriesOf(broker)).toMatchObject([{ outcome: 'excluded', count: 48 }, { outcome: 'running' }]);
  });

  it('is not counted twice by two that look at once', async () => {
    const { broker } = await fixture([]);
    await begin(broker, of, at('11-20T23:00'), at('11-23T00:00'));
    const stale = (await readCursor(broker, of)) as Cursor;
    const timingFromNow = { timing: hourly(), rule: undefined };
    await look(broker, hourly(), at('11-21T12:30'), { timingFromNow });
    const input = { ...of, timing: hourly(), policy: defaultPolicy, rule: undefined, timingFromNow };
    const second = await account(broker, { ...input, now: at('11-21T12:31'), cursor: stale });
    expect(second.type).toBe('moved');
    expect(await entriesOf(broker)).toMatchObject([{ outcome: 'excluded', count: 13 }]);
  });

  it('counts what new times exclude from the change on, not before', async () => {
    const { broker } = await fixture([]);
    const daily: Timing = { kind: 'cron', cron: '0 9 * * *', timezone: 'Europe/Paris' };
    await begin(broker, of, at('11-21T09:00'), at('11-22T09:00'));
    await look(broker, daily, at('11-21T20:30'), { timingFromNow: { timing: hourly(), rule: undefined } });
    await claim(broker, hourly(), at('11-23T00:00'));
    expect(await entriesOf(broker)).toMatchObject([
      { outcome: 'excluded', time: at('11-21T21:00'), count: 27 },
      { outcome: 'running' },
    ]);
  });

  it('says of an excluded time where it has moved to, and has the tick that runs there apart', async () => {
    const { broker } = await fixture([]);
    const exclude = { timezone: 'Europe/Paris', calendars: [weekends], onExcluded: 'next-working-day' as const };
    const timing: Timing = { kind: 'cron', cron: '0 9 * * sat', timezone: 'Europe/Paris', exclude };
    await begin(broker, of, at('11-20T12:00'), at('11-23T09:00'));
    await claim(broker, timing, at('11-23T09:00'));
    const reason = 'weekends: moved to 2026-11-23T08:00:00Z';
    expect(await entriesOf(broker)).toMatchObject([
      { outcome: 'excluded', time: at('11-21T09:00'), count: 1, reason },
      { outcome: 'running', time: at('11-23T09:00') },
    ]);
  });

  it('covers each nominal time with one entry, whenever workers come, pauses begin and changes happen', async () => {
    const { broker } = await fixture([]);
    const step = fc.record({
      hours: fc.integer({ min: 1, max: 90 }),
      what: fc.constantFrom('claim', 'look', 'heal', 'pause', 'resume'),
    });
    const timings = fc.constantFrom(
      hourly(),
      hourly({ cron: '0 9,17 * * *' }),
      hourly({ cron: '30 */5 * * *' }),
      {
        kind: 'every',
        every: 7 * hour,
        exclude: { timezone: 'Europe/Paris', calendars: [nights, weekends] },
      } as Timing,
      hourly({
        cron: '0 9,17 * * *',
        exclude: { timezone: 'Europe/Paris', calendars: [weekends], onExcluded: 'next-working-day' },
      }),
    );
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        timings,
        fc.constantFrom('run-once' as const, 'run-all' as const, 'skip' as const),
        fc.array(step, { minLength: 3, maxLength: 12 }),
        async (timing, misfire, steps) => {
          const schedule = { ...of, schedule: `report-${round++}` };
          const policy = { ...defaultPolicy, misfire };
          let now = at('11-18T12:07');
          const first = now;
          await begin(broker, schedule, now, nextTick(timing, now));
          for (const { hours, what } of steps) {
            now += hours * hour;
            await happen[what]({ broker, timing, now, policy, schedule });
          }
          expectWhole(await entriesOf(broker, schedule), timing, first);
        },
      ),
      { seed: 20_261_121, numRuns: 60 },
    );
  }, 60_000);

  it('is kept so by a worker that knows nothing but its run', async () => {
    const now = Math.floor(Date.now() / 60_000) * 60_000;
    const clock = (time: number) => iso(time).slice(11, 16);
    const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
    const lunch = { name: 'lunch', weekly: [{ days, from: clock(now - 2 * hour), to: clock(now - hour) }] };
    const schedules = [{ id: 'report', every: '1s' as const, exclude: [lunch] }];
    const { broker, produce, work } = await fixture([defineJob({ name: 'work', schedules, run: () => null })]);
    await produce();
    await broker.client.hset(ledgerKeys(broker, of).cursor, 'at', String(now - 3 * hour));
    await work();
    const entries = await eventually(async () => {
      const found = await entriesOf(broker);
      return found.some(({ outcome }) => outcome === 'succeeded') && found;
    });
    expect(entries[0]).toEqual({
      time: now - 2 * hour,
      to: now - hour - 1_000,
      count: 3_600,
      outcome: 'excluded',
      reason: 'lunch',
    });
  });
});

const nights = { name: 'nights', weekly: [{ days: ['mon', 'thu'], from: '22:00', to: '06:00' }] } as const;

interface Happening {
  readonly broker: Broker;
  readonly timing: Timing;
  readonly now: number;
  readonly policy: AccountInput['policy'];
  readonly schedule: typeof of;
}

const happen = {
  async claim({ broker, timing, now, policy, schedule }: Happening) {
    const next = (await readCursor(broker, schedule))?.next;
    if (typeof next === 'number' && next <= now) await claim(broker, timing, next, now, { policy }, schedule);
  },
  async look({ broker, timing, now, policy, schedule }: Happening) {
    await look(broker, timing, now, { policy }, schedule);
  },
  async heal({ broker, timing, now, policy, schedule }: Happening) {
    await look(broker, timing, now, { policy, timingFromNow: { timing, rule: undefined } }, schedule);
  },
  async pause({ broker, now, schedule }: Happening) {
    await broker.client.hset(ledgerKeys(broker, schedule).cursor, 'pause', `${now} `);
  },
  async resume({ broker, timing, now, policy, schedule }: Happening) {
    await look(broker, timing, now, { policy }, schedule);
    await broker.client.hdel(ledgerKeys(broker, schedule).cursor, 'pause');
  },
};

/** What a worker does with the run that BullMQ hands it. */
async function claim(
  broker: Broker,
  timing: Timing,
  time: number,
  now = time + 5,
  more: Partial<AccountInput> = {},
  schedule = of,
) {
  const run = { id: iterationId(schedule.schedule, time), time };
  let cursor: AccountInput['cursor'] = { next: time, pause: null };
  for (;;) {
    const found = await account(broker, {
      ...schedule,
      timing,
      policy: defaultPolicy,
      rule: undefined,
      now,
      cursor,
      run,
      ...more,
    });
    if (found.type !== 'moved') return found;
    cursor = found.cursor;
  }
}

/** What a producer does. */
async function look(
  broker: Broker,
  timing: Timing,
  now: number,
  more: Partial<AccountInput> = {},
  schedule = of,
): Promise<void> {
  const cursor = (await readCursor(broker, schedule)) as Cursor;
  const input = { ...schedule, timing, policy: defaultPolicy, rule: undefined, now, cursor, ...more };
  expect((await account(broker, input)).type).toBe('accounted');
}

async function entriesOf(broker: Broker, schedule = of): Promise<TickEntry[]> {
  const { entries, unreadable } = await readTicks(broker, schedule);
  expect(unreadable).toEqual([]);
  return entries;
}

/** Every nominal time and every tick up to the last entry is in exactly one, and as often as the entries say. */
function expectWhole(entries: readonly TickEntry[], timing: Timing, after: number): void {
  const last = entries.at(-1);
  const end = last ? (isRange(last) ? last.to : last.time) : after;
  const times = new Set<number>();
  for (let time = nextNominal(timing, after); time !== null && time <= end; time = nextNominal(timing, time))
    times.add(time);
  for (let time = nextTick(timing, after); time !== null && time <= end; time = nextTick(timing, time)) times.add(time);
  for (const time of times) {
    const covering = entries.filter((entry) => entry.time <= time && time <= (isRange(entry) ? entry.to : entry.time));
    expect(covering, iso(time)).toHaveLength(1);
    expect(covering[0]?.outcome === 'excluded', iso(time)).toBe(nextTick(timing, time - 1) !== time);
  }
  const counts = entries.map((entry) => (isRange(entry) ? entry.count : 1));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(times.size);
}
