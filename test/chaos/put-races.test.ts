import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { carrierOf, iterationId } from '../../src/broker/repeat.js';
import { RondoError } from '../../src/errors.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { readChains } from '../../src/producers/chains.js';
import { pauseSchedule, removeSchedule, resumeSchedule } from '../../src/producers/operations.js';
import { wantedOf } from '../../src/producers/plan.js';
import { putSchedule } from '../../src/producers/put.js';
import { reconcile } from '../../src/producers/schedules.js';
import { readStored } from '../../src/producers/store.js';
import { fixture } from '../support/harness.js';
import { auditTicks, dueByRules, type Journal, openJournal, type Rule } from '../support/ledger-audit.js';
import { seededRandom } from '../support/seeded-random.js';
import { together } from '../support/together.js';

type Operation = (id: string) => Promise<unknown>;

describe('operators at the same schedule at once', () => {
  it('leave store, chain and ledger in agreement, whatever they do, with producers at it too', async () => {
    const { broker, put, pause, resume, remove, look } = await setting();
    // So far away that none is due while the test runs.
    const operations: Record<string, Operation> = {
      'put A': (id) => put(id, { every: '300d', payload: { version: 'a' } }),
      'put B': (id) => put(id, { cron: '0 0 1 1 *', spread: '1h', payload: { version: 'b' } }),
      disable: (id) => put(id, { every: '300d', enabled: false }),
      pause,
      resume,
      remove,
      // By a clock that is ahead, it takes what is under way for left undone.
      look: () => look(Date.now() + 6_000),
    };
    const random = seededRandom();
    const names = Object.keys(operations);
    for (let round = 0; round < 25; round++) {
      const played = await Promise.all(
        Array.from({ length: 15 }, async (_, index) => {
          const id = `s-${round % 3}-${index}`;
          const chosen = Array.from(
            { length: 2 + Math.floor(random() * 4) },
            () => names[Math.floor(random() * 7)] ?? '',
          );
          await Promise.all(chosen.map((name) => soon(random).then(() => operations[name]?.(id))));
          return [id, chosen.join(', ')] as const;
        }),
      );
      for (const [id, chosen] of played) await expectAgreement(broker, id, `${id} after ${chosen}`);
    }
  });

  it('lose no tick and run none twice', async () => {
    const { broker, put, pause, resume, remove, work, journal } = await setting();
    const random = seededRandom();
    await work();
    const rule = async (id: string, step: () => Promise<unknown>[]): Promise<Rule | null> => {
      const earliest = Date.now();
      await Promise.all(step());
      const stored = await readStored(broker, id);
      return stored && { timing: stored.specification.timing, from: [earliest, Date.now()] };
    };
    const scenarios: Record<string, (id: string) => (() => Promise<unknown>[])[]> = {
      'put and put': (id) => [
        () => [put(id, { every: '300ms' }), put(id, { every: '500ms', payload: { version: 'b' } })],
        () => [put(id, { every: '200ms', payload: { version: 'c' } }), put(id, { every: '700ms' })],
      ],
      'pause and put': (id) => [
        () => [put(id, { every: '300ms' })],
        () => [pause(id), put(id, { every: '200ms', payload: { version: 'b' } })],
        () => [put(id, { every: '500ms', payload: { version: 'c' } }), resume(id)],
      ],
      'resume and put': (id) => [
        () => [put(id, { every: '1d' })],
        () => [pause(id)],
        () => [resume(id), put(id, { every: '200ms' })],
      ],
      'put and remove': (id) => [
        () => [put(id, { every: '300ms' })],
        () => [remove(id), soon(random).then(() => put(id, { every: '200ms', payload: { version: 'b' } }))],
      ],
    };
    const play = async (id: string, steps: (() => Promise<unknown>[])[]) => {
      const rules: (Rule | null)[] = [];
      for (const step of steps) {
        rules.push(await rule(id, step));
        await sleep(900);
      }
      await pause(id);
      if (rules.at(-1))
        await expectWhole(
          broker,
          id,
          rules.filter((it) => it !== null),
          journal,
        );
    };
    await together(
      Object.fromEntries(
        Object.entries(scenarios).flatMap(([name, stepsOf]) =>
          Array.from({ length: 5 }, (_, index) => {
            const id = `${name.replaceAll(' ', '-')}-${index}`;
            return [id, () => play(id, stepsOf(id))];
          }),
        ),
      ),
    );
  });
});

const soon = (random: () => number) => sleep(random() * 6);

async function setting() {
  const journal = openJournal();
  const file = join(journal.folder, 'journal');
  const job = defineJob({
    name: 'work',
    payload: z.object({ version: z.string().optional() }),
    misfire: 'run-all',
    concurrency: 50,
    run: ({ tick, run }) => {
      if (!tick) return;
      const note = ['begin', tick.schedule, tick.time.getTime(), run.id, run.attempt, process.pid, Date.now()];
      appendFileSync(file, `${note.join(' ')}\n`);
    },
  });
  const parts = await fixture([job]);
  const registry = createRegistry([job]);
  const { broker, events } = parts;
  const unlessGone = (error: unknown) => {
    if (!(error instanceof RondoError) || error.code !== 'schedule-unknown') throw error;
  };
  return {
    ...parts,
    journal,
    put: (id: string, fields: object) =>
      putSchedule(broker, registry, id, { job: 'work', ...fields }, { by: 'one', now: Date.now() }, events.emit),
    pause: (id: string) =>
      pauseSchedule(broker, id, { by: 'two', note: '', until: null, now: Date.now() }).catch(unlessGone),
    resume: (id: string) => resumeSchedule(broker, id, Date.now(), events.emit).catch(unlessGone),
    remove: (id: string) => removeSchedule(broker, id, Date.now(), events.emit).catch(unlessGone),
    look: (now: number) =>
      reconcile(broker, { app: 'test', release: '1', wanted: wantedOf(registry), now: () => now }, events.emit),
  };
}

async function expectWhole(broker: Broker, id: string, rules: readonly Rule[], journal: Journal): Promise<void> {
  const of = { job: 'work', schedule: id };
  // Removed and made anew it has two lives, and ticks in the moment between them have none.
  const isReborn = id.startsWith('put-and-remove');
  const born = ({ timing, from: [, latest] }: Rule): Rule => ({ timing, from: [latest, latest] });
  const lasting = await dueByRules(broker, of, isReborn ? rules.slice(-1).map(born) : rules, Date.now() - 50);
  // For a moment the times of the one who lost were in force too, and a tick of theirs may have been due.
  const { entries } = await readTicks(broker, of);
  const momentary = entries
    .map(({ time }) => time)
    .filter((time) => rules.some(({ from: [earliest, latest] }) => time >= earliest && time <= latest));
  const due = [...new Set([...lasting, ...(isReborn ? [] : momentary)])].sort((a, b) => a - b);
  const audit = await auditTicks(broker, of, { journal, due, withinMs: 20_000 });
  expect(audit.due.length).toBeGreaterThan(1);
  expect(audit.counts.succeeded).toBeGreaterThan(0);
}

/** What BullMQ and the ledger hold of a schedule is what the store says of it. */
async function expectAgreement(broker: Broker, id: string, what: string): Promise<void> {
  const stored = await readStored(broker, id);
  const queue = broker.queue('work');
  const scheduler = await queue.getJobScheduler(id);
  const chain = (await readChains(broker, new Map([['work', [id]]]))).get(id);
  if (!stored) {
    expect({ scheduler, cursor: chain?.cursor, iteration: chain?.iteration }, what).toEqual({
      scheduler: undefined,
      cursor: null,
      iteration: 'gone',
    });
    return;
  }
  const { unsettled, specification, pause = null } = stored;
  const { timing, payload, enabled } = specification;
  expect(unsettled, what).toBeUndefined();
  expect(chain?.cursor?.pause ?? null, what).toEqual(pause && { since: pause.since, until: pause.until });
  if (enabled === false) {
    expect({ scheduler, next: chain?.cursor?.next }, what).toEqual({ scheduler: undefined, next: null });
    return;
  }
  const run = await queue.getJob(iterationId(id, chain?.next ?? 0));
  expect(
    { payload: run?.data, timing: run && carrierOf(run)?.timing, template: scheduler?.template?.data },
    what,
  ).toEqual({
    payload,
    timing,
    template: payload,
  });
  expect(chain, what).toMatchObject({ iteration: 'delayed', edited: false });
  expect(Number(chain?.cursor?.next) + (timing.offset ?? 0), what).toBe(chain?.next);
}
