import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { describe, expect, it, onTestFinished } from 'vitest';
import { readTicks } from '../../src/broker/ledger.js';
import type { LedgerOf } from '../../src/broker/ledger-format.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange } from '../../src/broker/tick-entry.js';
import { eventually, fixture } from '../support/harness.js';
import { freshFolder, writeJobs } from '../support/jobs-module.js';
import { auditTicks, firstTick, type Journal, openJournal } from '../support/ledger-audit.js';
import { type DeathPoint, diesAt } from '../support/preloads.js';
import { type Line, runProgram, startProgram } from '../support/processes.js';
import { hasRedisServer, startRedis } from '../support/servers.js';
import { together } from '../support/together.js';

const second = 1_000;

it('loses no tick of a schedule whose data in Redis is deleted, promoted, removed or edited by hand', async () => {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  const names = ['entry-deleted', 'hash-deleted', 'removed', 'edited', 'edited-every'];
  const env = { RONDO_PREFIX: prefix, RONDO_JOBS: everySecond(journal, names, 'await sleep(300);') };
  const producer = startProgram(['producer'], { env });
  startProgram(['worker'], { env });

  const healed = (schedule: string, reason: RegExp, after: number) =>
    producer.line(
      (line) =>
        line.event === 'schedule.healed' &&
        line.schedule === schedule &&
        reason.test(String(line.reason)) &&
        Date.parse(String(line.time)) > after,
      40_000,
    );
  const play = (name: string, reason: RegExp, act: (of: LedgerOf) => Promise<unknown>) => async () => {
    const of = { job: name, schedule: name };
    const from = await firstTick(broker, of);
    await eventually(() => ticksBegun(journal, name, from) >= 3);
    for (let round = 1; round <= 2; round++) {
      const at = Date.now();
      await act(of);
      await healed(name, reason, at);
      const goesOnAt = Date.now();
      await eventually(() => ticksBegun(journal, name, goesOnAt) >= 2);
    }
    const { counts, due } = await auditTicks(broker, of, { journal, from, to: lastSecond(), everyMs: second });
    expect.soft(counts, name).toEqual({ succeeded: due.length });
  };

  await together({
    'the delayed entry deleted': play('entry-deleted', /its next run is gone/, (of) =>
      onNext(broker, of, (run, key) => broker.client.zrem(key('delayed'), run)),
    ),
    'the hash of its job deleted': play('hash-deleted', /its next run is gone/, (of) =>
      onNext(broker, of, (run, key) => broker.client.del(key(run))),
    ),
    'the scheduler removed': play('removed', /its scheduler is gone/, ({ job, schedule }) =>
      broker.queue(job).removeJobScheduler(schedule),
    ),
    "the scheduler edited, with a pattern of BullMQ's own": play('edited', /./, async ({ job, schedule }) => {
      await plainQueue(broker, job).upsertJobScheduler(schedule, { pattern: '*/2 * * * * *' }, { name: 'by-hand' });
    }),
    'the scheduler edited, with an interval': play('edited-every', /edited by hand/, async ({ job, schedule }) => {
      await plainQueue(broker, job).upsertJobScheduler(schedule, { every: 700 }, { name: 'by-hand' });
    }),
  });
});

it('runs a tick that was promoted early once, and goes on after it, with a reconcile while it runs', async () => {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  const of = { job: 'promoted', schedule: 'promoted' };
  const env = { RONDO_PREFIX: prefix, RONDO_JOBS: everySecond(journal, ['promoted'], 'await sleep(2_500);') };
  startProgram(['producer'], { env });
  startProgram(['worker'], { env });
  const from = await firstTick(broker, of);
  for (let round = 1; round <= 4; round++) {
    const promoted = await onNext(broker, of, async (run) => {
      const job = await broker.queue(of.job).getJob(run);
      const refused = await job?.promote().catch((error: unknown) => error);
      return job && !refused ? 1 : 0;
    });
    await eventually(() => journal.notes().some(({ run, word }) => run === promoted && word === 'begin'));
    expect(await runProgram(['schedules', 'apply'], { env })).toMatchObject({ code: 0 });
  }
  const last = Date.now();
  await eventually(
    () => journal.notes().some(({ tick, word }) => tick > last + 2 * second && word === 'begin'),
    30_000,
  );
  const { counts, due } = await auditTicks(broker, of, { journal, from, to: lastSecond(), everyMs: second });
  const early = journal.notes().filter(({ word, tick, at }) => word === 'begin' && at < tick);
  expect(early).toHaveLength(4);
  expect(counts).toEqual({ succeeded: due.length });
});

it('settles the tick of a worker that was killed, wherever on its way, whatever is kept of runs', async () => {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  const points: DeathPoint[] = ['before-claim', 'after-claim', 'before-finish', 'before-settle'];
  // Nothing is kept of a run that has ended: what its worker noted is all that there is.
  const kept = 'retention: { completed: { count: 0 } },';
  const env = { RONDO_PREFIX: prefix, RONDO_JOBS: everySecond(journal, points, '', kept) };
  const deaths = freshFolder();
  const victims = points.map((point) => {
    const file = join(deaths, point);
    return { file, program: startProgram(['worker', '--jobs', point], { env: { ...env, ...diesAt(point, file) } }) };
  });
  startProgram(['producer'], { env });
  for (const { program } of victims) expect(await within(program.exit, 40_000)).toMatchObject({ signal: 'SIGKILL' });
  const startedAt = Date.now();
  startProgram(['worker'], { env });

  // One that nobody had claimed is caught up, and its first run, when it is given back, finds a duplicate.
  const begunByVictim = { 'before-claim': 0, 'after-claim': 0, 'before-finish': 1, 'before-settle': 1 };
  const begunInAll = { 'before-claim': 1, 'after-claim': 1, 'before-finish': 2, 'before-settle': 1 };
  await together(
    Object.fromEntries(
      points.map((point, index) => [
        point,
        async () => {
          const of = { job: point, schedule: point };
          const { file, program } = victims[index] as (typeof victims)[number];
          expect(existsSync(file), 'it died where it should').toBe(true);
          const run = readFileSync(file, 'utf8').replace(/^.*(?=repeat:)/, '');
          const from = await firstTick(broker, of);
          await eventually(() => ticksBegun(journal, point, startedAt) >= 5, 30_000);
          const { entries, counts, due } = await auditTicks(broker, of, {
            ...{ journal, from, to: lastSecond(), everyMs: second },
            withinMs: 90_000,
          });
          const time = Number(run.split(':').at(-1));
          const tick = entries.find((entry) => entry.time === time);
          const begun = journal.notes(point).filter((note) => note.word === 'begin' && note.tick === time);
          expect.soft(counts, point).toEqual({ succeeded: due.length });
          expect.soft(tick, `${run} has its entry`).toMatchObject({ outcome: 'succeeded', attempts: 1 });
          expect.soft(begun.filter(({ pid }) => pid === program.child.pid)).toHaveLength(begunByVictim[point]);
          expect.soft(begun, point).toHaveLength(begunInAll[point]);
        },
      ]),
    ),
  );
});

describe.skipIf(!hasRedisServer())('a Redis that loses its data', () => {
  it('is filled again: what nobody can know is one range of unknown ticks, and nothing is invented', async () => {
    await together({ 'while a producer lives': flushUnderLiving, 'while nobody lives': flushUnderNobody });
  });

  async function flushUnderLiving() {
    const { broker, journal, env, of } = await aloneOnItsServer('flushed-alive');
    const producer = startProgram(['producer'], { env });
    startProgram(['worker'], { env });
    await eventually(() => ticksBegun(journal, of.schedule, 0) >= 5, 40_000);
    const flushedAt = Date.now();
    await broker.client.flushall();
    const isAdded = (line: Line) => line.event === 'schedules.reconciled' && line.added === 1;
    const found = await eventually(() => producer.lines.filter(isAdded)[1], 40_000);
    const rebuiltAt = Date.parse(String(found.time));
    await eventually(() => ticksBegun(journal, of.schedule, rebuiltAt) >= 5, 30_000);

    const { knownFrom } = await readTicks(broker, of);
    expect(knownFrom).toBeLessThan(flushedAt);
    const from = Math.ceil(Number(knownFrom) / second) * second;
    const audit = await auditTicks(broker, of, {
      ...{ journal, from, to: lastSecond(), everyMs: second },
      dataLost: true,
    });
    const [unknown, ...others] = audit.entries.filter(({ outcome }) => outcome === 'unknown');
    expect(unknown).toMatchObject({ reason: 'Redis lost its data' });
    expect(unknown).toBe(audit.entries[0]);
    expect(unknown && isRange(unknown) ? unknown.to : null).toBeLessThanOrEqual(rebuiltAt);
    expect(others).toEqual([]);
    expect(Object.keys(audit.counts).sort()).toEqual(['succeeded', 'unknown']);
    console.log(`flushed-alive: known from ${flushedAt - Number(knownFrom)} ms before the loss on`);
  }

  async function flushUnderNobody() {
    const { broker, journal, env, of } = await aloneOnItsServer('flushed-dead');
    const before = [startProgram(['producer'], { env }), startProgram(['worker'], { env })];
    await eventually(() => ticksBegun(journal, of.schedule, 0) >= 3, 40_000);
    for (const program of before) {
      program.kill('SIGTERM');
      await program.exit;
    }
    await broker.client.flushall();
    await sleep(3 * second);
    const startedAt = Date.now();
    startProgram(['producer'], { env });
    startProgram(['worker'], { env });
    await eventually(() => ticksBegun(journal, of.schedule, startedAt) >= 5, 40_000);

    const from = await firstTick(broker, of);
    const { knownFrom } = await readTicks(broker, of);
    expect(Math.min(from, Number(knownFrom))).toBeGreaterThan(startedAt);
    const { counts, due } = await auditTicks(broker, of, { journal, from, to: lastSecond(), everyMs: second });
    expect(counts).toEqual({ succeeded: due.length });
  }

  async function aloneOnItsServer(name: string) {
    const { url, stop } = await startRedis();
    onTestFinished(stop);
    const { broker, prefix } = await fixture([], { url });
    const journal = openJournal();
    const env = { REDIS_URL: url, RONDO_PREFIX: prefix, RONDO_JOBS: everySecond(journal, [name]) };
    return { broker, journal, env, of: { job: name, schedule: name } };
  }
});

/** A module of jobs with a tick each second, every one of which is to run. */
function everySecond({ folder, code }: Journal, names: readonly string[], work = '', options = ''): string {
  const source = `
import { setTimeout as sleep } from 'node:timers/promises';
${code}
export default ${JSON.stringify(names)}.map((name) => defineJob({
  name,
  schedules: [{ id: name, cron: '* * * * * *', misfire: 'run-all' }],
  ${options}
  async run(context) {
    note(context, 'begin');
    ${work}
    note(context, 'end');
  },
}));`;
  return writeJobs(source, { folder });
}

/** Does something to the next run of a schedule while it is delayed, until that meets it; answers which it was. */
async function onNext(
  broker: Broker,
  of: LedgerOf,
  act: (run: string, key: (name: string) => string) => Promise<number>,
): Promise<string> {
  const base = `${broker.keys.queuePrefix(of.job)}:${of.job}:`;
  return eventually(async () => {
    const next = await broker.client.zscore(`${base}repeat`, of.schedule);
    const run = `repeat:${of.schedule}:${next}`;
    const delayed = (await broker.client.zscore(`${base}delayed`, run)) !== null;
    return delayed && (await act(run, (name) => base + name)) === 1 && run;
  });
}

/** How many ticks of a schedule after a time have begun. */
function ticksBegun(journal: Journal, schedule: string, after: number): number {
  const begun = journal.notes(schedule).filter(({ word, tick }) => word === 'begin' && tick > after);
  return new Set(begun.map(({ tick }) => tick)).size;
}

/** As another program would open it, that knows nothing of our times. */
function plainQueue(broker: Broker, job: string): Queue {
  const queue = new Queue(job, { connection: broker.client, prefix: broker.keys.queuePrefix(job) });
  onTestFinished(() => queue.close());
  return queue;
}

/** The last second that a program in good order has accounted for. */
function lastSecond(): number {
  return Math.floor(Date.now() / second) * second - second;
}

function within<Answer>(promise: Promise<Answer>, ms: number): Promise<Answer | null> {
  return Promise.race([promise, sleep(ms, null, { ref: false })]);
}
