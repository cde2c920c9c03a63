import type { Command } from 'commander';
import { type ErrorCode, errorTable, RondoError } from '../errors.js';
import { type RunState, type RunView, runStates } from '../producers/run-view.js';
import { facts, print, table } from './output.js';
import { withControl } from './session.js';
import { oneOf, wholeNumber } from './values.js';

interface ListFlags {
  job?: string;
  state?: RunState;
  schedule?: string;
  code?: ErrorCode;
  limit: number;
  json?: boolean;
}

const codes = Object.keys(errorTable) as ErrorCode[];

export function addRunCommands(runs: Command): void {
  runs
    .command('list')
    .description('the newest runs, of all jobs or of one')
    .option('--job <name>', 'of this job')
    .option('--state <state>', runStates.join(', '), oneOf(runStates))
    .option('--schedule <id>', 'of this schedule; with --job', String)
    .option('--code <code>', 'that failed with this code, such as run-timed-out; with --job', oneOf(codes))
    .option('--limit <number>', 'at most this many; with --job more than 1000', wholeNumber(1, 100_000), 20)
    .option('--json', 'print JSON')
    .action((flags: ListFlags) => {
      const { job, schedule, code, limit } = flags;
      if (!job && (schedule || code || limit > 1_000))
        throw new RondoError('usage-wrong', '--schedule, --code and a --limit beyond 1000 want --job');
      return withControl(async (control) => {
        const found = await control.runs(flags);
        print(found, flags, () => listing(found));
      });
    });

  runs
    .command('show')
    .argument('<job>')
    .argument('<id>')
    .description('one run: its state, result or error, and its log')
    .option('--json', 'print JSON')
    .action((job: string, id: string, flags: { json?: boolean }) =>
      withControl(async (control) => {
        const run = await control.run(job, id);
        print(run, flags, () => page(run));
      }),
    );

  runs
    .command('cancel')
    .argument('<job>')
    .argument('<id>')
    .description('remove a run that waits; abort one that executes, wherever that is')
    .option('--by <name>', 'who cancels it, in place of this user of this machine')
    .option('--json', 'print JSON')
    .action((job: string, id: string, flags: { by?: string; json?: boolean }) =>
      withControl(async (control) => {
        const done = await control.cancelRun(job, id, flags.by);
        print({ job, id, cancelled: done }, flags, () =>
          done === 'removed' ? `${job} ${id} is removed` : `${job} ${id} is told to end`,
        );
      }),
    );

  addRetry(runs);
}

function addRetry(runs: Command): void {
  runs
    .command('retry')
    .argument('<job>')
    .argument('<id>')
    .description('let a run that failed begin anew: its attempts and crashes count from nothing')
    .option('--json', 'print JSON')
    .action((job: string, id: string, flags: { json?: boolean }) =>
      withControl(async (control) => {
        await control.retryRun(job, id);
        print({ job, id }, flags, () => `${job} ${id} waits again`);
      }),
    );
}

function listing(runs: readonly RunView[]): string {
  const rows = runs.map((run) => [
    run.job,
    run.id,
    run.state,
    cameOf(run),
    run.tick,
    attemptsOf(run),
    run.startedAt ?? run.dueAt,
    tookOf(run),
    run.code,
    run.error?.split('\n')[0],
  ]);
  return table(
    ['job', 'run', 'state', 'came', 'tick', 'attempts', 'started or due', 'took', 'code', 'error'],
    rows,
    'There are no such runs.',
  );
}

function page(run: RunView & { log: readonly string[] }): string {
  const head = facts({
    job: run.job,
    run: run.id,
    state: run.state,
    came: cameOf(run),
    tick: run.tick,
    attempts: attemptsOf(run),
    payload: JSON.stringify(run.payload),
    version: run.version > 1 ? run.version : null,
    progress: run.progress === 0 ? null : JSON.stringify(run.progress),
    result: run.result === null ? null : JSON.stringify(run.result),
    code: run.code,
    error: run.error,
    enqueued: run.enqueuedAt,
    due: run.dueAt,
    started: run.startedAt,
    finished: run.finishedAt,
    took: tookOf(run),
  });
  return run.log.length > 0 ? `${head}\n\n${run.log.join('\n')}` : head;
}

const attemptsOf = ({ attempts, maxAttempts }: RunView) => `${attempts} of ${maxAttempts}`;

/** `ad-hoc`, or how its schedule brought it about: `scheduled for nightly`, `caught up for nightly`. */
function cameOf({ origin, schedule }: RunView): string {
  return schedule === null ? origin : `${origin === 'caught-up' ? 'caught up' : origin} for ${schedule}`;
}

function tookOf({ startedAt, finishedAt }: RunView): string | null {
  return startedAt && finishedAt ? `${Date.parse(finishedAt) - Date.parse(startedAt)} ms` : null;
}
