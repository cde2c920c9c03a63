import { describe, expect, it } from 'vitest';
import { account } from '../../src/broker/account.js';
import { addCaughtUp } from '../../src/broker/caught-up.js';
import { begin, readClaims, readClaimTexts, readTicks, settle, settleLeft } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { caughtUpId } from '../../src/broker/repeat.js';
import type { TickEntry } from '../../src/broker/tick-entry.js';
import { defineJob, type ScheduleOptions } from '../../src/jobs/define-job.js';
import { defaultPolicy } from '../../src/jobs/misfire.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { wantedOf } from '../../src/producers/plan.js';
import { retryRun } from '../../src/producers/redrive.js';
import { reconcile } from '../../src/producers/schedules.js';
import { fixture } from '../support/harness.js';
import { entriesWith } from '../support/ledger-audit.js';

const of = { job: 'work', schedule: 'it' };
const hour = 3_600_000;
const timing = { kind: 'every', every: hour } as const;

describe('the last tick of a schedule, whose run waits for its next attempt', () => {
  it.each<[string, (at: Date) => Declared | null]>([
    ['that changes, and has no tick left', (at) => ({ at, lateAfter: '1h' })],
    ['that gets another tick', () => ({ at: new Date(Date.now() + 300 * 24 * hour) })],
    ['that is removed', () => null],
  ])('runs on under one %s', async (_, after) => {
    const at = new Date(Date.now() + 1_000);
    const attempts: number[] = [];
    const run = async ({ run: { attempt } }: { run: { attempt: number } }) => {
      attempts.push(attempt);
      if (attempt === 1) throw new Error('not yet');
    };
    const { broker, events, work, apply } = await setting(run);
    await work();
    await apply({ at });
    await events.next('run.failed');
    await apply(after(at));

    await events.next('run.succeeded');
    expect(attempts).toEqual([1, 2]);
    const [entry] = await entriesWith(broker, of, 'succeeded');
    expect(entry).toMatchObject({ time: at.getTime(), attempts: 2 });
  });
});

describe('a run that was caught up and has failed for good', () => {
  it('executes once more where somebody retries it, as the tick that it is', async () => {
    let isMended = false;
    const run = async () => {
      if (!isMended) throw new Error('not yet');
    };
    const { broker, events, job, work } = await setting(run, { attempts: 1 });
    const [first] = await caughtUp(broker);
    await work();
    await events.next('run.failed');
    await entriesWith(broker, of, 'failed');
    isMended = true;

    await retryRun(broker, job, caughtUpId('it', first));
    await events.next('run.succeeded', (it) => it.run === caughtUpId('it', first));
    const [entry] = await entriesWith(broker, of, 'succeeded');
    expect(entry).toMatchObject({ time: first, due: first + minute, run: caughtUpId('it', first) });
    expect((await readClaims(broker, of)).size).toBe(0);
  });
});

describe('a schedule that is removed and made again', () => {
  it('still learns how a run ended that was under way', async () => {
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const { broker, events, work, apply } = await setting(() => ended);
    await work();
    await apply({ at: new Date(Date.now() + 1_000) });
    const { tick } = await events.next('run.started');
    await apply(null);
    await apply({ every: '300d' });
    end();
    await events.next('run.succeeded');
    expect(await entriesWith(broker, of, 'succeeded')).toMatchObject([{ time: tick, outcome: 'succeeded' }]);
  });
});

describe('a word about a tick that comes late', () => {
  it('from outside leaves alone what its worker has said meanwhile', async () => {
    const { broker } = await setting(async () => {});
    const [time] = await caughtUp(broker);
    const run = caughtUpId('it', time);
    const entry = { time, due: time, claimed: time, run, attempts: 1 } as const;
    const { [run]: read } = await readClaimTexts(broker, of);
    await settle(broker, of, { ...entry, outcome: 'timed-out' });
    await settle(broker, of, { ...entry, outcome: 'unknown' }, read);
    expect((await ticksOf(broker)).find((it) => it.time === time)).toMatchObject({ outcome: 'timed-out' });
  });

  it('twice, since the answer to the first was lost, is said once', async () => {
    const { broker } = await setting(async () => {});
    const [first, second] = await caughtUp(broker);
    for (const time of [first, second, second]) {
      await settleLeft(broker, of, caughtUpId('it', time), { time, outcome: 'skipped', reason: 'busy' });
    }
    expect(await ticksOf(broker)).toEqual([{ time: first, to: second, count: 2, outcome: 'skipped', reason: 'busy' }]);
  });
});

type Declared = Omit<ScheduleOptions<unknown>, 'id' | 'payload'>;

const minute = 60_000;

async function setting(
  run: (context: { run: { attempt: number } }) => Promise<void>,
  { attempts = 3 }: { attempts?: number } = {},
) {
  const jobWith = (schedule: Declared | null) =>
    defineJob({
      name: 'work',
      retry: { attempts, backoff: 'fixed', delay: '2s', jitter: 0 },
      schedules: schedule ? [{ id: 'it', ...schedule } as never] : [],
      run,
    });
  const job = jobWith(null);
  const { broker, events, work } = await fixture([job]);
  const apply = async (schedule: Declared | null) => {
    const wanted = wantedOf(createRegistry([jobWith(schedule)]));
    const { failed } = await reconcile(broker, { app: 'test', release: '1', wanted, now: Date.now }, events.emit);
    expect(failed).toEqual([]);
  };
  return { broker, events, job, work, apply };
}

/** Two ticks that were missed, with a spread of a minute, and whose runs wait. */
async function caughtUp(broker: Broker): Promise<[number, number]> {
  const last = Math.floor(Date.now() / hour) * hour - hour;
  const first = last - hour;
  await begin(broker, of, first - 1, first);
  const found = await account(broker, {
    ...of,
    timing: { ...timing, spread: hour, offset: minute },
    policy: { ...defaultPolicy, misfire: 'run-all' },
    rule: undefined,
    now: last + 2 * minute,
    cursor: { at: first - 1, next: first, pause: null },
  });
  if (found.type !== 'accounted') throw new Error(`it is ${found.type}`);
  await addCaughtUp(broker, of, { payload: {}, options: { attempts: 1 } }, found.toAdd);
  expect(found.toAdd).toEqual([first, last]);
  return [first, last];
}

const ticksOf = async (broker: Broker): Promise<TickEntry[]> => (await readTicks(broker, of)).entries;
