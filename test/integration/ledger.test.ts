import { describe, expect, it } from 'vitest';
import { account } from '../../src/broker/account.js';
import { begin, readClaims, readCursor, readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange, type TickEntry } from '../../src/broker/tick-entry.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { defaultPolicy } from '../../src/jobs/misfire.js';
import { eventually, fixture } from '../support/harness.js';

const second = 1_000;

describe('the ledger of a schedule', () => {
  it('has one entry for each second that a worker ran, with when and as what', async () => {
    const ticks: number[] = [];
    const { broker, work, produce } = await fixture([everySecond((time) => void ticks.push(time))]);
    await work();
    await produce();
    await eventually(() => ticks.length >= 3);
    const entries = await eventually(async () => {
      const found = await entriesOf(broker);
      return found.filter(({ outcome }) => outcome === 'succeeded').length >= 3 && found;
    });

    expect(covered(entries).slice(0, 3)).toEqual(ticks.slice(0, 3));
    const [first] = entries;
    expect(first).toMatchObject({ outcome: 'succeeded', time: ticks[0], due: ticks[0], attempts: 1 });
    expect(first).toMatchObject({ run: `repeat:often:${ticks[0]}` });
    expect(await eventually(async () => (await readClaims(broker, often)).size === 0)).toBe(true);
  });

  it('gives each attempt of a run the same tick, and says how many there were', async () => {
    const ticks: string[] = [];
    const job = defineJob({
      name: 'work',
      retry: { attempts: 2, backoff: 'fixed', delay: 1_200, jitter: 0 },
      schedules: [{ id: 'often', every: '1s', endsAt: new Date(Date.now() + 2 * second) }],
      run: ({ tick, run }) => {
        ticks.push(`${tick?.time.getTime()}/${run.attempt}`);
        if (run.attempt === 1) throw new Error('not yet');
      },
    });
    const { broker, work, produce } = await fixture([job]);
    await work();
    await produce();
    const entries = await eventually(async () => {
      const found = await entriesOf(broker);
      return found.length > 0 && found.every(({ outcome }) => outcome === 'succeeded') && found;
    });
    for (const { time } of entries) expect(ticks).toEqual(expect.arrayContaining([`${time}/1`, `${time}/2`]));
    expect(entries[0]).toMatchObject({ attempts: 2 });
  });

  it.each([
    ['run-once', 1],
    ['run-all', 4],
    ['skip', 1],
  ] as const)('accounts for every tick that no worker was there for, with misfire %s', async (misfire, runs) => {
    const ticks: number[] = [];
    const job = everySecond((time) => void ticks.push(time), { misfire });
    const { broker, work, produce } = await fixture([job]);
    await produce();
    const cursor = await readCursor(broker, often);
    const missed = Number(cursor?.next) + 3 * second;
    await eventually(() => Date.now() > missed + 100);
    await work();
    const entries = await eventually(async () => {
      const found = await entriesOf(broker);
      const last = found.at(-1);
      return last && last.time > missed && found.every(({ outcome }) => outcome !== 'waiting') && found;
    });
    expectWhole(entries);
    // Where the worker was slow to start, one more was due than those four, and is the latest.
    const latest = Math.max(missed, ticks[0] ?? 0);
    const late = entries.filter(({ time }) => time <= latest);
    expect(late.reduce((sum, entry) => sum + (isRange(entry) ? entry.count : 1), 0)).toBe(
      4 + (latest - missed) / second,
    );
    expect(late.filter((entry) => !isRange(entry))).toHaveLength(runs);
    expect(new Set(ticks).size).toBe(ticks.length);
  });

  it('does not run a tick twice where another run for it comes along', async () => {
    const ticks: number[] = [];
    const { broker, events, work, produce } = await fixture([everySecond((time) => void ticks.push(time))]);
    const pool = await work();
    const producer = await produce();
    const { tick } = await events.next('run.succeeded');
    await producer.stop(Date.now() + second);
    await pool.stop(Date.now() + second);
    await broker.queue('work').remove(`repeat:often:${tick}`);
    const carrier = { schedule: 'often', timing: { kind: 'every', every: second }, policy };
    await broker.queue('work').add('work', {}, { jobId: `repeat:often:${tick}`, repeat: carrier } as never);
    await work();
    const skipped = await events.next('run.skipped', (event) => event.tick === tick);
    expect(skipped.reason).toMatch(/duplicate/);
    expect(ticks.filter((time) => time === tick)).toHaveLength(1);
  });
});

const policy = { misfire: 'run-once', grace: 60_000, maxCatchUp: 100 } as const;
const often = { job: 'work', schedule: 'often' };

function everySecond(run: (time: number) => void, options: { misfire?: 'run-once' | 'run-all' | 'skip' } = {}) {
  return defineJob({
    name: 'work',
    schedules: [{ id: 'often', every: '1s', ...options }],
    run: ({ tick }) => run(tick?.time.getTime() ?? 0),
  });
}

it('of a rule that this process does not know has not ended, however often it is looked at', async () => {
  const { broker } = await fixture([]);
  const of = { job: 'work', schedule: 'ruled' };
  const tick = Date.now() - 5_000;
  await begin(broker, of, tick - 1, tick);
  const input = { ...of, timing: { kind: 'next' }, policy: defaultPolicy, rule: undefined } as const;
  for (let looks = 0; looks < 3; looks++) {
    const cursor = await readCursor(broker, of);
    if (!cursor) throw new Error('it has no ledger');
    await account(broker, { ...input, now: Date.now(), cursor });
  }

  expect((await readCursor(broker, of))?.next).toEqual({ after: tick });
});

async function entriesOf(broker: Broker): Promise<TickEntry[]> {
  const { entries, unreadable } = await readTicks(broker, often);
  expect(unreadable).toEqual([]);
  return entries;
}

/** Every second from the first to the last is in exactly one entry. */
function expectWhole(entries: readonly TickEntry[]): void {
  const times = covered(entries);
  expect(new Set(times).size).toBe(times.length);
  const first = times[0] ?? 0;
  expect(times).toEqual(times.map((_, index) => first + index * second));
}

function covered(entries: readonly TickEntry[]): number[] {
  return entries.flatMap((entry) =>
    isRange(entry) ? Array.from({ length: entry.count }, (_, index) => entry.time + index * second) : [entry.time],
  );
}
