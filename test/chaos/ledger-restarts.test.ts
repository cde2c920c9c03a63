import { expect, it } from 'vitest';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { auditTicks, firstTick, openJournal } from '../support/ledger-audit.js';
import { startProgram } from '../support/processes.js';
import { restartAtRandom } from '../support/restarts.js';

const chaosMs = 60_000;
/** Longer than it takes until a run is given to another worker when its own was killed. */
const recoveryMs = 90_000;

const second = 1_000;

/** Runs take a while, so that kills come in their middle. */
const module = (journal: string) => `${journal}
import { setTimeout as sleep } from 'node:timers/promises';
const clock = (name, misfire) => defineJob({
  name,
  schedules: [{ id: name, cron: '* * * * * *', misfire }],
  retry: { attempts: 1 },
  async run(context) {
    note(context, 'begin');
    await sleep(500);
    note(context, 'end');
  },
});
export default [clock('all', 'run-all'), clock('once', 'run-once')];`;

it('accounts once for every second while four processes of all roles are killed and restarted for 60 s', async () => {
  const { broker, prefix } = await fixture([]);
  const journal = openJournal();
  const env = { RONDO_JOBS: writeJobs(module(journal.code)), RONDO_PREFIX: prefix };
  const [all, once] = ['all', 'once'].map((name) => ({ job: name, schedule: name })) as [Of, Of];

  const programs = Array.from({ length: 4 }, () => startProgram(['start'], { env }));
  await eventually(() => journal.notes('all').length > 0 && journal.notes('once').length > 0, 30_000);
  const counts = await restartAtRandom(programs, env, chaosMs);

  const to = Math.floor(Date.now() / second) * second;
  console.log(`${counts.SIGKILL} SIGKILL, ${counts.SIGTERM} SIGTERM`);
  for (const of of [all, once]) {
    const from = await firstTick(broker, of);
    await auditTicks(broker, of, { from, to, everyMs: second, journal, withinMs: recoveryMs });
  }
  console.log(`closed ${Date.now() - to} ms after the chaos`);
  const ran = new Set(journal.notes('all').map(({ tick }) => tick));
  expect(ran.size, 'run-all left none out').toBeGreaterThanOrEqual((to - (await firstTick(broker, all))) / second + 1);
});

interface Of {
  readonly job: string;
  readonly schedule: string;
}
