import type { Command } from 'commander';
import { briefly } from '../jobs/words.js';
import type { ProcessList, ProcessView } from '../producers/processes.js';
import { print, table } from './output.js';
import { withControl } from './session.js';

export function addWorkerCommands(workers: Command): void {
  workers
    .command('list')
    .description('every process that is alive, workers and others, and the runs that they execute')
    .option('--json', 'print JSON')
    .action((flags: { json?: boolean }) =>
      withControl(async (control) => {
        const found = await control.workers();
        print(found, flags, () => processTables(found));
      }),
    );
}

/** The processes, and beneath them what they execute. */
export function processTables({ processes, unreadable, left }: ProcessList): string {
  const headings = [
    'process',
    'host',
    'pid',
    'roles',
    'app',
    'release',
    'rondo',
    'is',
    'up for',
    'runs',
    'loop',
    'rss',
  ];
  const tables = [table(headings, processes.map(processRow), 'No process is alive.')];
  const runs = processes.flatMap(({ id, runs }) => runs.map((run) => ({ id, ...run })));
  if (runs.length > 0) {
    const rows = runs
      .sort((a, b) => Number(b.stuck !== null) - Number(a.stuck !== null) || b.runningMs - a.runningMs)
      .map(({ id, job, run, schedule, attempt, runningMs, stuck }) => [
        ...[id, job, run, schedule, attempt, briefly(runningMs), stuck],
      ]);
    tables.push(table(['process', 'job', 'run', 'schedule', 'attempt', 'for', 'stuck'], rows, ''));
  }
  const told = processes.reduce((sum, { running }) => sum + running, 0) - runs.length;
  if (told > 0) tables.push(`${told} more runs execute: each process names its oldest 100.`);
  if (left > 0) tables.push(`${left} more processes are alive.`);
  if (unreadable.length > 0) tables.push(`Processes that this release cannot read: ${unreadable.join(', ')}`);
  return tables.join('\n\n');
}

function processRow(it: ProcessView): readonly unknown[] {
  const slots = it.jobs.reduce((sum, { concurrency }) => sum + concurrency, 0);
  const upMs = Date.parse(it.seenAt) + it.clockAheadMs - Date.parse(it.startedAt);
  return [
    ...[it.id, it.host, it.pid, it.roles.join(','), it.app, it.release, it.version, it.state, briefly(upMs)],
    ...[it.roles.includes('worker') ? `${it.running} of ${slots}` : null, `${it.loopDelayMs}ms`],
    `${Math.round(it.memory.rss / 1e6)} MB`,
  ];
}
