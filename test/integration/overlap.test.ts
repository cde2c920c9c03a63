import { describe, expect, it } from 'vitest';
import { parkedUntil } from '../../src/broker/lane.js';
import { readCursor } from '../../src/broker/ledger.js';
import { isRange, type TickEntry } from '../../src/broker/tick-entry.js';
import { endTurn, takeTurn } from '../../src/broker/turns.js';
import { defineJob } from '../../src/jobs/define-job.js';
import type { Overlap } from '../../src/jobs/overlap.js';
import { triggerSchedule } from '../../src/producers/operations.js';
import { createGate } from '../support/gate.js';
import { eventually, fixture } from '../support/harness.js';
import { entriesWith } from '../support/ledger-audit.js';
import { prompt } from '../support/prompt.js';

const of = { job: 'work', schedule: 'often' };

describe('a tick that is due while the last run of its schedule executes', () => {
  it('runs beside it with overlap allow', async () => {
    const { most, work, produce } = await slow('allow');
    await work();
    await produce();
    await eventually(() => most() >= 2);
  });

  it('is skipped with overlap skip, over two workers: never two at once, adjacent ones one range', async () => {
    const { broker, runs, most, work, produce } = await slow('skip', { takesMs: 2_300 });
    await Promise.all([work(), work()]);
    await produce();
    await eventually(() => runs.length >= 3 && runs.filter(({ end }) => end).length >= 2);

    const entries = await entriesWith(broker, of, 'succeeded');
    expect(most()).toBe(1);
    const skipped = entries.filter(({ outcome }) => outcome === 'skipped');
    expect(skipped).not.toEqual([]);
    const [first] = skipped;
    expect(first && isRange(first) ? first.count : 0).toBeGreaterThanOrEqual(2);
    for (const { reason } of skipped) expect(reason).toBe('overlap');
    expect(entries.filter(({ outcome }, at) => outcome === 'skipped' && entries[at + 1]?.outcome === outcome)).toEqual(
      [],
    );
    expectWhole(entries);
  });

  it('runs after it with overlap wait: one waits without a slot, later ones coalesce into it', prompt, async () => {
    const { broker, events, runs, most, work, produce } = await slow('wait', { takesMs: 2_300, concurrency: 1 });
    await Promise.all([work(), work()]);
    await produce();
    await eventually(() => runs.filter(({ end }) => end).length >= 3);

    const entries = await entriesWith(broker, of, 'succeeded');
    expect(most()).toBe(1);
    expectWhole(entries);
    const coalesced = entries.filter(({ outcome }) => outcome === 'coalesced');
    expect(coalesced).not.toEqual([]);
    // The one that waited takes its place at once, not at a next tick or look.
    const [first, second] = runs;
    expect((second?.start ?? 0) - (first?.end ?? 0)).toBeLessThan(500);
    expect(events.of('run.parked').length).toBeLessThan(runs.length + 2);
    for (const { reason = '' } of coalesced) {
      const into = Date.parse(reason.replace('into ', ''));
      expect(entries.find((entry) => !isRange(entry) && entry.time === into)).toBeDefined();
    }
  });

  it('takes its place with overlap replace: the one that runs is cancelled, and says by which tick', async () => {
    const { broker, runs, most, work, produce } = await slow('replace', { takesMs: 60_000 });
    await work();
    await produce();
    await eventually(() => runs.filter(({ end }) => end).length >= 2);

    const entries = await entriesWith(broker, of, 'cancelled');
    expect(most()).toBe(1);
    expect(entries.find(({ outcome }) => outcome === 'cancelled')?.reason).toMatch(/^by the tick of \d{4}-/);
    expectWhole(entries);
  });

  it('respects retries and backoff: a run that waits for its next attempt still holds the turn', async () => {
    const attempts: string[] = [];
    const job = defineJob({
      name: 'work',
      overlap: 'skip',
      retry: { attempts: 2, backoff: 'fixed', delay: 2_500, jitter: 0 },
      schedules: [{ id: 'often', every: '1s' }],
      run: ({ tick, run }) => {
        attempts.push(`${tick?.time.getTime()}/${run.attempt}`);
        if (attempts.length === 1) throw new Error('not yet');
      },
    });
    const { work, produce } = await fixture([job]);
    await work();
    await produce();
    await eventually(() => attempts.length >= 3);
    const tick = attempts[0]?.split('/')[0];
    expect(attempts.slice(0, 2)).toEqual([`${tick}/1`, `${tick}/2`]);
    expect(Number(attempts[2]?.split('/')[0]) - Number(tick)).toBeGreaterThanOrEqual(3_000);
  });

  it('gives each start a higher fence', async () => {
    const fences: (number | null)[] = [];
    const job = defineJob({
      name: 'work',
      overlap: 'wait',
      schedules: [{ id: 'often', every: '200ms' }],
      run: ({ run }) => void fences.push(run.fence),
    });
    const { work, produce } = await fixture([job]);
    await work();
    await produce();
    await eventually(() => fences.length >= 4);
    expect(fences).toEqual([...fences].sort((a, b) => Number(a) - Number(b)));
    expect(new Set(fences).size).toBe(fences.length);
  });
});

describe('a turn', () => {
  it('is for a live tick before the backfilled ones that wait for it, whether one executes or not', async () => {
    const job = defineJob({ name: 'work', run: () => null });
    const { broker } = await fixture([job]);
    const past = (hours: number) => parkedUntil(Date.UTC(2026, 0, 1, hours));
    const ask = (run: string, promised: boolean, order: number, overlap: 'wait' | 'skip' = 'wait') =>
      takeTurn(broker, { ...of, run, overlap, promised, order });
    const runs = ['tick:often:1', 'tick:often:2', 'repeat:often:3', 'repeat:often:4'] as const;
    const [first, second, live, later] = runs;
    for (const jobId of runs) await broker.queue('work').add('work', {}, { jobId, delay: 3_600_000 });

    expect(await ask(first, true, past(1))).toMatchObject({ type: 'held' });
    expect(await ask(second, true, past(2))).toMatchObject({ type: 'parked' });
    expect(await ask(live, false, Date.now())).toMatchObject({ type: 'parked' });
    await endTurn(broker, of, first);
    expect(await broker.queue('work').getJobState(live)).toBe('waiting');
    expect(await ask(live, false, Date.now())).toMatchObject({ type: 'held' });

    await broker.queue('work').remove(live);
    expect(await ask(later, false, Date.now(), 'skip')).toMatchObject({ type: 'held' });
  });
});

describe('a trigger', () => {
  it('respects the overlap of its schedule, unless forced', async () => {
    const held = createGate();
    const started: string[] = [];
    const job = defineJob({
      name: 'work',
      overlap: 'skip',
      schedules: [{ id: 'often', every: '300d' }],
      run: async ({ run }) => {
        started.push(run.id);
        await held.opened;
      },
    });
    const { broker, events, work, produce } = await fixture([job]);
    await work();
    await produce();
    const first = await triggerSchedule(broker, 'often');
    await eventually(() => started.length === 1);
    const second = await triggerSchedule(broker, 'often');
    await events.next('run.skipped', ({ run, reason }) => run === second.run && reason === 'overlap');
    const forced = await triggerSchedule(broker, 'often', { force: true });
    await eventually(() => started.length === 2);
    expect(started).toEqual([first.run, forced.run]);
    held.open();
  });

  it('waits for its turn with overlap wait, and is woken', prompt, async () => {
    const held = createGate();
    const started: string[] = [];
    const job = defineJob({
      name: 'work',
      overlap: 'wait',
      concurrency: 1,
      schedules: [{ id: 'often', every: '300d' }],
      run: async ({ run }) => {
        if (started.push(run.id) === 1) await held.opened;
      },
    });
    const { broker, events, work, produce } = await fixture([job]);
    await work();
    await work();
    await produce();
    const first = await triggerSchedule(broker, 'often');
    await eventually(() => started.length === 1);
    const second = await triggerSchedule(broker, 'often');
    await events.next('run.parked', ({ run }) => run === second.run);
    expect(started).toEqual([first.run]);
    held.open();
    await eventually(() => started.length === 2, 3_000);
    expect(started).toEqual([first.run, second.run]);
  });
});

describe('a schedule with lateAfter', () => {
  it('does not start a run later than that after its tick was due', async () => {
    const ran: number[] = [];
    const job = defineJob({
      name: 'work',
      schedules: [{ id: 'often', every: '1s', lateAfter: '500ms' }],
      run: ({ tick }) => void ran.push(Number(tick?.time)),
    });
    const { broker, work, produce } = await fixture([job]);
    await produce();
    const first = Number((await readCursor(broker, of))?.next);
    await eventually(() => Date.now() % 1_000 > 600 && Date.now() > first + 1_600);
    await work();
    await eventually(() => ran.length >= 1);
    const entries = await entriesWith(broker, of, 'skipped');
    expect(entries.find(({ outcome }) => outcome === 'skipped')).toMatchObject({ reason: 'too late' });
    expectWhole(entries);
  });
});

interface SlowRun {
  readonly start: number;
  end?: number;
}

/** A one-second schedule whose runs take longer than that. */
async function slow(overlap: Overlap, { takesMs = 2_300, concurrency = 5 } = {}) {
  const runs: SlowRun[] = [];
  let now = 0;
  let most = 0;
  const job = defineJob({
    name: 'work',
    overlap,
    concurrency,
    timeout: '2m',
    schedules: [{ id: 'often', every: '1s' }],
    run: async ({ signal }) => {
      const run: SlowRun = { start: Date.now() };
      runs.push(run);
      most = Math.max(most, ++now);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, takesMs);
        signal.addEventListener('abort', () => {
          clearTimeout(timer);
          resolve();
        });
      });
      now--;
      run.end = Date.now();
    },
  });
  return { ...(await fixture([job])), runs, most: () => most };
}

function expectWhole(entries: readonly TickEntry[]): void {
  let next = entries[0]?.time ?? 0;
  for (const entry of entries) {
    expect(entry.time).toBe(next);
    const last = isRange(entry) ? entry.to : entry.time;
    if (isRange(entry)) expect(entry.count).toBe((entry.to - entry.time) / 1_000 + 1);
    next = last + 1_000;
  }
}
