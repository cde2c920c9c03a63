import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { auditTicks, dueByRules, firstTick, openJournal, spanOfReconcile } from '../support/ledger-audit.js';
import { type Program, startProgram } from '../support/processes.js';

const second = 1_000;
const everySecond = { kind: 'cron', cron: '* * * * * *', timezone: 'UTC' } as const;
const everyTwo = { kind: 'cron', cron: '*/2 * * * * *', timezone: 'UTC' } as const;

const job = (name: string, cron: string, misfire: string) => `defineJob({
  name: '${name}',
  schedules: [{ id: '${name}', cron: '${cron}', misfire: '${misfire}' }],
  retry: { attempts: 1 },
  run: (context) => note(context, 'begin'),
})`;

it('accounts for 20 ticks that no worker was there for, under each misfire policy', async () => {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  const policies = ['run-once', 'run-all', 'skip'];
  const jobs = policies.map((misfire) => job(misfire, '* * * * * *', misfire));
  const env = { RONDO_JOBS: writeJobs(`${journal.code}export default [${jobs}];`), RONDO_PREFIX: prefix };
  const hasRun = (count: number, after = 0) =>
    policies.every((name) => journal.notes(name).filter(({ tick }) => tick > after).length >= count);

  startProgram(['producer'], { env });
  const workers = [startProgram(['worker'], { env }), startProgram(['worker'], { env })];
  await eventually(() => hasRun(3), 30_000);
  workers[0]?.kill('SIGKILL');
  workers[1]?.kill('SIGTERM');
  await Promise.all(workers.map(({ exit }) => exit));
  const downAt = Date.now();
  await sleep(20 * second);
  const backAt = Date.now();
  startProgram(['worker'], { env });
  await eventually(() => hasRun(3, backAt), 30_000);

  const to = Math.floor(Date.now() / second) * second;
  const [once, all, skip] = await Promise.all(
    policies.map(async (name) => {
      const of = { job: name, schedule: name };
      const from = await firstTick(broker, of);
      return auditTicks(broker, of, { from, to, everyMs: second, journal, withinMs: 90_000 });
    }),
  );
  const ticksDown = Math.floor(backAt / second) - Math.floor(downAt / second);
  expect(ticksDown).toBeGreaterThanOrEqual(20);
  expect(once?.counts.coalesced, 'all but the latest').toBeGreaterThanOrEqual(ticksDown - 1);
  expect(all?.counts).toEqual({ succeeded: all?.due.length });
  expect(all?.ran).toEqual(all?.due);
  expect(skip?.counts.missed, 'all but the latest, which is within its grace').toBeGreaterThanOrEqual(ticksDown - 1);
});

it('accounts for the ticks of a paused queue over an unchanged and a changed redeploy', async () => {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  const release = (number: number, cron: string) => {
    const jobs = [job('kept', '* * * * * *', 'run-all'), job('changed', cron, 'run-once')];
    const path = writeJobs(`${journal.code}export default [${jobs}];`);
    return { RONDO_JOBS: path, RONDO_PREFIX: prefix, RONDO_APP: 'paused', RONDO_RELEASE: `${number}` };
  };
  const names = ['kept', 'changed'];
  const ranSince = (count: number, since: number) =>
    names.every((name) => journal.notes(name).filter(({ tick }) => tick > since).length >= count);
  const [first, next, third] = [release(1, '* * * * * *'), release(2, '* * * * * *'), release(3, '*/2 * * * * *')];

  let producer = startProgram(['producer'], { env: first });
  let worker = startProgram(['worker'], { env: first });
  await eventually(() => ranSince(3, 0), 30_000);
  const pausedAt = Date.now();
  for (const name of names) await broker.queue(name).pause();
  await sleep(3 * second);
  producer = await replace(producer, 'producer', next);
  await producer.line(({ event }) => event === 'producer.leading');
  worker = await replace(worker, 'worker', next);
  await sleep(3 * second);
  producer = await replace(producer, 'producer', third);
  const change = await producer.line(({ event, changed }) => event === 'schedules.reconciled' && changed === 1);
  await replace(worker, 'worker', third);
  await eventually(() => Date.now() > pausedAt + 11 * second, 30_000);
  const resumedAt = Date.now();
  const startedWhilePaused = journal.notes().filter(({ at }) => at > pausedAt + second);
  for (const name of names) await broker.queue(name).resume();
  await eventually(() => ranSince(3, resumedAt), 30_000);

  expect(startedWhilePaused).toEqual([]);
  const to = Math.floor(Date.now() / second) * second;
  const [kept, changed] = [of('kept'), of('changed')];
  const from = await firstTick(broker, kept);
  const whole = await auditTicks(broker, kept, { from, to, everyMs: second, journal });
  expect(whole.counts, 'run-all leaves none out').toEqual({ succeeded: whole.due.length });
  const began = await firstTick(broker, changed);
  const rules = [
    { timing: everySecond, from: [began, began] },
    { timing: everyTwo, from: spanOfReconcile(change) },
  ] as const;
  const due = await dueByRules(broker, changed, rules, to);
  const once = await auditTicks(broker, changed, { due, journal });
  expect(once.counts.coalesced, 'paused over ten seconds').toBeGreaterThanOrEqual(6);

  async function replace(old: Program, role: string, env: Record<string, string>): Promise<Program> {
    old.kill('SIGTERM');
    expect(await old.exit).toEqual({ code: 0, signal: null });
    return startProgram([role], { env });
  }
});

const of = (name: string) => ({ job: name, schedule: name });
