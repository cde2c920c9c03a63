import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { eventually, fixture } from '../support/harness.js';
import { writeJobs } from '../support/jobs-module.js';
import { auditTicks, firstTick, openJournal } from '../support/ledger-audit.js';
import { startProgram } from '../support/processes.js';

const second = 1_000;
/** Longer than it takes until a run is given to another worker when its own was killed. */
const recoveryMs = 90_000;

/** Runs of 2.3 s on every second; each start and end is told to a system that refuses a fence lower than the last. */
const module = (journal: string, turns: string) => `${journal}
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const tell = ({ run, tick }, word) =>
  appendFileSync(${JSON.stringify(turns)}, [word, tick.schedule, run.fence, process.pid, Date.now()].join(' ') + '\\n');
const clock = (name) => defineJob({
  name,
  overlap: name,
  schedules: [{ id: name, cron: '* * * * * *', misfire: 'run-once' }],
  retry: { attempts: 1 },
  async run(context) {
    note(context, 'begin');
    tell(context, 'begin');
    await sleep(2_300);
    tell(context, 'end');
    note(context, 'end');
  },
});
export default [clock('skip'), clock('wait')];`;

it.each(['killed', 'frozen'] as const)(
  'never runs two at once of a schedule that may not overlap, and accounts for each second, while holders are %s for 60 s',
  async (fate) => {
    const { broker, prefix } = await fixture([]);
    const journal = openJournal();
    const turnsFile = join(journal.folder, 'turns');
    const turns = () => (existsSync(turnsFile) ? readFileSync(turnsFile, 'utf8').trim().split('\n').map(readTurn) : []);
    const env = { RONDO_JOBS: writeJobs(module(journal.code, turnsFile)), RONDO_PREFIX: prefix };
    const producer = startProgram(['producer'], { env });
    const workers = Array.from({ length: 3 }, () => startProgram(['worker'], { env }));
    await eventually(() => turns().some(({ schedule }) => schedule === 'wait'), 30_000);

    const endsAt = Date.now() + 60_000;
    let hit = 0;
    while (Date.now() < endsAt) {
      const holder = await eventually(() => holderAmong(turns(), workers), recoveryMs);
      hit++;
      if (fate === 'killed') {
        holder.kill('SIGKILL');
        await holder.exit;
        workers[workers.indexOf(holder)] = startProgram(['worker'], { env });
      } else {
        holder.kill('SIGSTOP');
        await sleep(40_000); // past its lock, and past the look that gives its runs to another
        appendFileSync(turnsFile, `thawed - 0 ${holder.child.pid} ${Date.now()}\n`);
        holder.kill('SIGCONT');
      }
    }
    expect(producer.child.exitCode).toBeNull();
    const to = Math.floor(Date.now() / second) * second;
    for (const schedule of ['skip', 'wait']) {
      const of = { job: schedule, schedule };
      const from = await firstTick(broker, of);
      await auditTicks(broker, of, { from, to, everyMs: second, journal, withinMs: recoveryMs });
      const { together, refused } = judge(turns().filter((it) => [schedule, '-'].includes(it.schedule)));
      console.log(`${schedule}: ${hit} holders ${fate}; ${refused} ends of a lower fence were refused`);
      expect(together).toEqual([]);
    }
  },
);

interface TurnNote {
  readonly word: string;
  readonly schedule: string;
  readonly fence: number;
  readonly pid: number;
  readonly at: number;
}

function readTurn(line: string): TurnNote {
  const [word = '', schedule = '', fence, pid, at] = line.split(' ');
  return { word, schedule, fence: Number(fence), pid: Number(pid), at: Number(at) };
}

type Program = ReturnType<typeof startProgram>;

/** The worker in which a run executes now. */
function holderAmong(turns: readonly TurnNote[], workers: readonly Program[]): Program | undefined {
  return workers.find(({ child }) => turns.findLast(({ pid }) => pid === child.pid)?.word === 'begin');
}

/**
 * Replays what the system was told: a start while another, whose process has been there all the time, had not ended is
 * two at once. What a killed or frozen process had begun has ended for the system with the first higher fence.
 */
function judge(turns: readonly TurnNote[]) {
  const begun = turns.filter(({ word }) => word === 'begin');
  const together = begun.flatMap((turn, index) => {
    const before = begun[index - 1];
    if (!before) return [];
    const end = turns.find(({ word, fence }) => word === 'end' && fence === before.fence);
    const ended = end !== undefined && end.at <= turn.at;
    const gone = end === undefined || wasFrozen(turns, before);
    return turn.fence > before.fence && (ended || gone)
      ? []
      : [`${JSON.stringify(before)} and ${JSON.stringify(turn)}`];
  });
  const refused = turns.filter(
    ({ word, fence, at }) => word === 'end' && begun.some((turn) => turn.fence > fence && turn.at <= at),
  );
  return { together, refused: refused.length };
}

function wasFrozen(turns: readonly TurnNote[], begun: TurnNote): boolean {
  const next = turns.find((turn) => turn.pid === begun.pid && turn.at > begun.at);
  return next?.word === 'thawed';
}
