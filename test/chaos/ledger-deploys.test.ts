import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { readCursor, readTicks } from '../../src/broker/ledger.js';
import type { Broker } from '../../src/broker/queues.js';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import {
  auditTicks,
  dueByRules,
  dueTicks,
  firstTick,
  type Journal,
  openJournal,
  type Rule,
  spanOfReconcile,
} from '../support/ledger-audit.js';
import { type Line, type Program, startProgram } from '../support/processes.js';
import { together } from '../support/together.js';

const second = 1_000;
/** A release's producer that has gone counts as alive for a minute, since it may only be restarting. */
const rollbackMs = 90_000;

it('leaves no hole and no double over 20 changes in 60 s, and over a rollback beside them', async () => {
  await together({ 'a changed cron every 3 s': deployEveryThreeSeconds, 'a rollback': rollBack });
});

it('runs what is due of a removed schedule, and nothing after', async () => {
  const shop = await openShop();
  const clocks = [clock('leaving'), clock('staying')];
  const producer = await shop.deploy('producer', 1, clocks);
  const worker = await shop.deploy('worker', 1, clocks);
  await shop.hasRun('leaving', 3);
  await end(worker);
  const from = await firstTick(shop.broker, of('leaving'));
  await sleep(3 * second);
  await end(producer);
  const removing = await shop.deploy('producer', 2, [clock('staying')]);
  const line = await removing.line(({ event, removed }) => event === 'schedules.reconciled' && removed === 1);
  const [, latest] = spanOfReconcile(line);
  await shop.deploy('worker', 2, [clock('leaving', null), clock('staying')]);
  await shop.hasRun('staying', 3, latest);

  const to = (await readTicks(shop.broker, of('leaving'))).entries.at(-1);
  const rules = [{ timing: timingOf('* * * * * *'), from: [from, from] }] as const;
  const due = await dueByRules(shop.broker, of('leaving'), rules, spanOfReconcile(line)[0]);
  const { counts } = await auditTicks(shop.broker, of('leaving'), { due, journal: shop.journal });
  expect(counts.coalesced, 'the ticks before the one that was overdue').toBeGreaterThanOrEqual(1);
  expect(await readCursor(shop.broker, of('leaving')), 'it has ended').toBeNull();
  expect(shop.journal.notes('leaving').filter(({ tick }) => tick > latest)).toEqual([]);
  expect(to && 'to' in to ? to.to : to?.time).toBeLessThanOrEqual(latest);
  await shop.auditSeconds('staying');
});

it('hands over from one second to the next where a schedule is renamed', async () => {
  const shop = await openShop();
  const named = (schedule: string) => [clock('renamed', '* * * * * *', schedule, 'run-all')];
  const producer = await shop.deploy('producer', 1, named('old-name'));
  const worker = await shop.deploy('worker', 1, named('old-name'));
  await shop.hasRun('old-name', 3);
  await end(producer);
  const renaming = await shop.deploy('producer', 2, named('new-name'));
  const line = await renaming.line(({ event, added, removed }) => {
    return event === 'schedules.reconciled' && added === 1 && removed === 1;
  });
  await end(worker);
  await shop.deploy('worker', 2, named('new-name'));
  await shop.hasRun('new-name', 3);

  const [earliest, latest] = spanOfReconcile(line);
  const everySecond = { timing: timingOf('* * * * * *') };
  const [before, after] = ['old-name', 'new-name'].map((schedule) => ({ job: 'renamed', schedule })) as [Of, Of];
  const from = await firstTick(shop.broker, before);
  const dueBefore = await dueByRules(shop.broker, before, [{ ...everySecond, from: [from, from] }], earliest);
  const dueAfter = await dueByRules(shop.broker, after, [{ ...everySecond, from: [earliest, latest] }], lastSecond());
  await auditTicks(shop.broker, before, { due: dueBefore, journal: shop.journal });
  await auditTicks(shop.broker, after, { due: dueAfter, journal: shop.journal });
  const ran = shop.journal.notes().map(({ tick }) => tick);
  const seconds = dueTicks({ from, to: dueAfter.at(-1) ?? 0, everyMs: second });
  const unsure = (tick: number) => tick >= earliest && tick <= latest;
  expect(seconds.filter((tick) => !unsure(tick) && ran.filter((it) => it === tick).length !== 1)).toEqual([]);
});

it('loses no tick of an app where another, or one that claims to be it, is pointed at its Redis by mistake', async () => {
  const shop = await openShop();
  const names = ['one', 'two', 'three', 'four', 'five', 'six'];
  await shop.deploy(
    'producer',
    1,
    names.map((name) => clock(name)),
  );
  await shop.deploy(
    'worker',
    1,
    names.map((name) => clock(name)),
  );
  await shop.hasRun('six', 3);

  const other = await shop.deploy('producer', 9, [clock('elsewhere')], 'another-app');
  const added = await other.line(({ event }) => event === 'schedules.reconciled');
  const laptop = await shop.deploy('producer', 2, [clock('one')]);
  const refused = await laptop.line(({ event }) => event === 'schedules.removal-refused');
  await shop.hasRun('six', 3, Date.now());
  await end(laptop);
  await shop.hasRun('six', 3, Date.now());

  expect(added).toMatchObject({ added: 1, changed: 0, removed: 0 });
  expect(refused).toMatchObject({ schedules: ['five', 'four', 'six', 'three', 'two'], owned: 6 });
  for (const name of names) await shop.auditSeconds(name);
});

/** It takes a while, so that a change finds a run at work. */
const run = `
const run = async (context) => {
  note(context, 'begin');
  await new Promise((resolve) => setTimeout(resolve, 400));
};
`;

const crons = ['* * * * * *', '*/2 * * * * *', '1-59/2 * * * * *', '*/3 * * * * *', '* * * * * *', '2-59/3 * * * * *'];

async function deployEveryThreeSeconds(): Promise<void> {
  const shop = await openShop();
  await shop.deploy('worker', 1, [clock('often')]);
  const rules: Rule[] = [];
  const beganAt = Date.now();
  let producer: Program | undefined;
  for (let release = 1; Date.now() < beganAt + 60 * second; release++) {
    const next = Date.now() + 3 * second;
    const cron = crons[release % crons.length] ?? '';
    if (producer) await end(producer);
    producer = await shop.deploy('producer', release, [clock('often', cron)]);
    const line = await producer.line(isApplied);
    rules.push({ timing: timingOf(cron), from: spanOfReconcile(line) });
    await sleep(Math.max(0, next - Date.now()));
  }
  console.log(`often: ${rules.length} releases`);
  const due = await dueByRules(shop.broker, of('often'), rules, lastSecond());
  const { counts } = await auditTicks(shop.broker, of('often'), { due, journal: shop.journal });
  expect(rules.length).toBeGreaterThanOrEqual(18);
  expect(counts.succeeded, 'a worker was there for all but what a change coalesced').toBeGreaterThan(due.length * 0.9);
}

/** Producers and workers of both releases live side by side; then those of the newer one are gone. */
async function rollBack(): Promise<void> {
  const shop = await openShop();
  const [first, next] = [[clock('rolled-back')], [clock('rolled-back', '*/2 * * * * *')]];
  const older = await shop.deploy('producer', 1, first);
  await shop.deploy('worker', 1, first);
  const rules: Rule[] = [];
  const note = (line: Line, cron: string) => rules.push({ timing: timingOf(cron), from: spanOfReconcile(line) });
  note(await older.line(isApplied), '* * * * * *');
  await shop.hasRun('rolled-back', 3);

  const newer = await shop.deploy('producer', 2, next);
  const newWorker = await shop.deploy('worker', 2, next);
  await older.line(({ event }) => event === 'producer.outdated');
  note(await newer.line(isApplied, 30_000), '*/2 * * * * *');
  await shop.hasRun('rolled-back', 3, Date.now());
  await end(newWorker);
  await end(newer);
  const goneAt = Date.now();
  const back = (line: Line) => isApplied(line) && Date.parse(String(line.time)) > goneAt;
  note(await older.line(back, rollbackMs), '* * * * * *');
  const backAt = Date.now();
  await shop.hasRun('rolled-back', 3, backAt);

  console.log(`the older release leads again after ${backAt - goneAt} ms`);
  const due = await dueByRules(shop.broker, of('rolled-back'), rules, lastSecond());
  const { counts } = await auditTicks(shop.broker, of('rolled-back'), { due, journal: shop.journal });
  expect(counts.succeeded).toBeGreaterThan(due.length * 0.9);
}

interface Of {
  readonly job: string;
  readonly schedule: string;
}

/** An app on a prefix of its own, deployed process by process. */
async function openShop() {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  return {
    broker,
    journal,
    async deploy(role: string, release: number, clocks: readonly string[], app = 'shop'): Promise<Program> {
      const env = {
        RONDO_JOBS: writeJobs(`${journal.code}${run}export default [${clocks}];`),
        RONDO_PREFIX: prefix,
        RONDO_APP: app,
        RONDO_RELEASE: `${release}`,
      };
      const program = startProgram([role], { env });
      await program.line(({ msg }) => /started, with Redis at/.test(msg ?? ''), 30_000);
      return program;
    },
    hasRun: (schedule: string, count: number, after = 0) => hasRun(journal, schedule, count, after),
    auditSeconds: (name: string) => auditSeconds(broker, journal, name),
  };
}

async function hasRun(journal: Journal, schedule: string, count: number, after: number): Promise<void> {
  await eventually(() => journal.notes(schedule).filter(({ tick }) => tick > after).length >= count, 30_000);
}

async function auditSeconds(broker: Broker, journal: Journal, name: string): Promise<void> {
  const from = await firstTick(broker, of(name));
  await auditTicks(broker, of(name), { from, to: lastSecond(), everyMs: second, journal });
}

function clock(name: string, cron: string | null = '* * * * * *', schedule = name, misfire = 'run-once'): string {
  const schedules = cron ? `[{ id: '${schedule}', cron: '${cron}', misfire: '${misfire}' }]` : '[]';
  return `defineJob({ name: '${name}', schedules: ${schedules}, run })`;
}

async function end(program: Program): Promise<void> {
  program.kill('SIGTERM');
  expect(await program.exit).toEqual({ code: 0, signal: null });
}

function isApplied({ event, added, changed }: Line): boolean {
  return event === 'schedules.reconciled' && Number(added) + Number(changed) === 1;
}

function timingOf(cron: string) {
  return { kind: 'cron', cron, timezone: 'UTC' } as const;
}

function of(name: string): Of {
  return { job: name, schedule: name };
}

function lastSecond(): number {
  return Math.floor(Date.now() / second) * second;
}
