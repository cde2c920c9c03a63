import type { Command } from 'commander';
import { type ErrorCode, errorTable } from '../errors.js';
import { print, table } from './output.js';
import { withControl } from './session.js';
import { oneOf, wholeNumber } from './values.js';

const codes = Object.keys(errorTable) as ErrorCode[];

interface RedriveFlags {
  code?: ErrorCode;
  limit?: number;
  json?: boolean;
}

/** What becomes of runs that were set aside. */
export function addRedriveCommands(jobs: Command): void {
  jobs
    .command('redrive')
    .argument('<name>')
    .description('let the failed runs of a job begin anew: their attempts and crashes count from nothing')
    .option('--code <code>', 'those that failed with this code, such as run-quarantined', oneOf(codes))
    .option('--limit <number>', 'at most this many, oldest first', wholeNumber(1, 1_000_000_000))
    .option('--json', 'print JSON')
    .action((name: string, { json, ...options }: RedriveFlags) =>
      withControl(async (control) => {
        const done = await control.redrive(name, options);
        const left = done.failed > 0 ? `; failed still: ${done.failed}` : '';
        print({ job: name, ...done }, { json }, () => `${done.redriven} of ${name} wait again${left}`);
      }),
    );
}

/** `rondo jobs list --gone` */
export function printGone(flags: { json?: boolean }): Promise<void> {
  return withControl(async (control) => {
    const gone = await control.goneJobs();
    const rows = gone.map((it) => [it.name, it.waiting, it.delayed, it.active, it.failed, it.app, it.release]);
    const headings = ['job', 'waiting', 'delayed', 'active', 'failed', 'app', 'last release'];
    print(gone, flags, () => table(headings, rows, 'No job with runs is gone from code.'));
  });
}
