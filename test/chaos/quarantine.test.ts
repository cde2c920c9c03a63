import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Broker } from '../../src/broker/queues.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { redrive } from '../../src/producers/redrive.js';
import { listRuns } from '../../src/producers/runs.js';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { auditTicks, firstTick, openJournal } from '../support/ledger-audit.js';
import { type Program, startProgram } from '../support/processes.js';

const name = 'poisoned';
const of = { job: name, schedule: name };
const second = 1_000;

it('sets a tick aside that takes its process down three times; every other tick runs', async () => {
  const job = defineJob({ name, run: () => {} });
  const { broker, prefix } = await fixture([job]);
  const journal = openJournal();
  const env = { RONDO_PREFIX: prefix, RONDO_JOBS: poisoned(journal) };
  startProgram(['producer'], { env });
  let worker = startProgram(['worker'], { env });
  const from = await firstTick(broker, of);

  for (let crashes = 1; crashes <= 3; crashes++) {
    expect(await worker.exit, 'the handler ends its process').toEqual({ code: 7, signal: null });
    await forgetLocks(broker);
    worker = startProgram(['worker'], { env });
  }
  const failed = await runFailed(worker);
  const begun = () => journal.notes(name).filter(({ tick }) => tick > Date.now() - 3 * second).length;
  await eventually(() => begun() >= 3);

  expect(failed).toMatchObject({ code: 'run-quarantined', retryInMs: null });
  const [run] = await listRuns(broker, createRegistry([job]), { state: 'failed' });
  expect(run).toMatchObject({ code: 'run-quarantined', schedule: name, id: failed.run });
  const to = Math.floor(Date.now() / second) * second - second;
  const { counts, due, entries } = await auditTicks(broker, of, { journal, from, to, everyMs: second });
  expect(counts).toEqual({ succeeded: due.length - 1, failed: 1 });
  expect(entries.filter(({ outcome }) => outcome === 'failed')).toMatchObject([{ run: failed.run }]);
  expect(worker.child.exitCode).toBeNull();

  // Mended by then: the handler crashes no fourth time.
  expect(await redrive(broker, job, { code: 'run-quarantined' })).toEqual({ redriven: 1, failed: 0 });
  const again = await auditAfter(run?.id ?? '');
  expect(again).toEqual({ succeeded: due.length });

  async function auditAfter(id: string) {
    await worker.line(({ event, run: it }) => event === 'run.succeeded' && it === id);
    await sleep(second);
    return (await auditTicks(broker, of, { journal, from, to, everyMs: second })).counts;
  }
});

/** One of its ticks ends the process, three times. */
function poisoned({ folder, code }: ReturnType<typeof openJournal>): string {
  const source = `
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
${code}
const seen = new URL('poison', import.meta.url);
export default [defineJob({
  name: '${name}',
  schedules: [{ id: '${name}', cron: '* * * * * *', misfire: 'run-all' }],
  run(context) {
    note(context, 'begin');
    const time = context.tick.time.getTime();
    const [tick, ...crashes] = existsSync(seen) ? readFileSync(seen, 'utf8').trim().split(' ') : [];
    if (tick === undefined ? time % 7000 !== 0 : tick !== String(time) || crashes.length >= 3) return note(context, 'end');
    appendFileSync(seen, tick === undefined ? time + ' crash ' : 'crash ');
    process.exit(7);
  },
})];`;
  return writeJobs(source, { folder });
}

/** As if the 30 s had passed that the locks of a dead process last. */
async function forgetLocks({ client, keys }: Broker): Promise<void> {
  const locks = await client.keys(`${keys.queuePrefix(name)}:${name}:*:lock`);
  if (locks.length > 0) await client.del(...locks);
}

function runFailed(worker: Program) {
  return worker.line(({ event }) => event === 'run.failed', 40_000);
}
