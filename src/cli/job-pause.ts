import type { Command } from 'commander';
import { listPaused, pauseJob, resumeJob } from '../producers/job-pause.js';
import { print, table } from './output.js';
import { withRedis } from './session.js';
import { whoAmI } from './who.js';

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
    .action((job: string, { note = '', by = whoAmI(), json }: PauseFlags) =>
      withRedis(async ({ broker, registry }) => {
        const { name } = registry.get(job);
        const paused = await pauseJob(broker, name, { by, note, now: Date.now() });
        print({ job: name, paused }, { json }, () => `${name} is paused`);
      }),
    );

  jobs
    .command('resume')
    .argument('<name>')
    .description('let its runs start again')
    .option('--json', 'print JSON')
    .action((job: string, flags: { json?: boolean }) =>
      withRedis(async ({ broker, registry }) => {
        const { name } = registry.get(job);
        const resumed = await resumeJob(broker, name);
        print({ job: name, resumed }, flags, () => (resumed ? `${name} goes on` : `${name} was not paused`));
      }),
    );
}

/** `rondo jobs list --paused` */
export function printPaused(flags: { json?: boolean }): Promise<void> {
  return withRedis(async ({ broker, registry }) => {
    const paused = await listPaused(broker, registry);
    const rows = paused.map(({ job, since, by, note }) => [job, since, by, note || null]);
    print(paused, flags, () => table(['job', 'paused since', 'by', 'note'], rows, 'No job is paused.'));
  });
}
