import type { Command } from 'commander';
import { print, table } from './output.js';
import { withControl } from './session.js';

interface PauseFlags {
  note?: string;
  by?: string;
  json?: boolean;
}

export function addJobPauseCommands(jobs: Command): void {
  jobs
    .command('pause')
    .argument('<name>')
    .description('start no run of it, of a schedule or not; what executes goes on')
    .option('--note <text>', 'why, for others to read')
    .option('--by <name>', 'who pauses it, in place of this user of this machine')
    .option('--json', 'print JSON')
    .action((job: string, { note = '', by, json }: PauseFlags) =>
      withControl(async (control) => {
        const paused = await control.pauseJob(job, { by, note });
        print({ job, paused }, { json }, () => `${job} is paused`);
      }),
    );

  jobs
    .command('resume')
    .argument('<name>')
    .description('let its runs start again')
    .option('--json', 'print JSON')
    .action((job: string, flags: { json?: boolean }) =>
      withControl(async (control) => {
        const resumed = await control.resumeJob(job);
        print({ job, resumed }, flags, () => (resumed ? `${job} goes on` : `${job} was not paused`));
      }),
    );
}

/** `rondo jobs list --paused` */
export function printPaused(flags: { json?: boolean }): Promise<void> {
  return withControl(async (control) => {
    const paused = await control.pausedJobs();
    const rows = paused.map(({ job, since, by, note }) => [job, since, by, note || null]);
    print(paused, flags, () => table(['job', 'paused since', 'by', 'note'], rows, 'No job is paused.'));
  });
}
