import type { Command } from 'commander';
import type { Deployed, DeployPlan } from '../producers/deploy.js';
import type { Warning } from '../producers/warnings.js';
import type { Control } from './control.js';
import { print, table } from './output.js';
import { withControl } from './session.js';

interface Flags {
  json?: boolean;
}

/** What a deploy changes, and making it so. */
export function addPlanCommands(schedules: Command): void {
  schedules
    .command('plan')
    .description('what would change in Redis for it to hold what the code declares, and what to beware of')
    .option('--json', 'print JSON')
    .addHelpText('after', whoseCode)
    .action((flags: Flags) =>
      withControl(async (control) => {
        const planned = await control.plan();
        print(planned, flags, () => planText(control, planned) + warningsText(planned.warnings));
      }),
    );

  schedules
    .command('apply')
    .description('make those changes now')
    .option('--yes', 'remove schedules even where most of the app’s would go')
    .option('--json', 'print JSON')
    .addHelpText('after', whoseCode)
    .action(({ yes = false, json }: Flags & { yes?: boolean }) =>
      withControl(async (control) => {
        const done = await control.apply(yes);
        print(done, { json }, () => planText(control, done));
        if (!json)
          for (const { id, error } of done.failed) console.error(`rondo: ${id} could not be changed: ${error}`);
        if (done.failed.length > 0 || done.conflicts.length > 0 || done.refused) process.exitCode = 1;
      }),
    );
}

const whoseCode =
  '\nThe code is that of this program; through an API (--url, RONDO_URL) it is the code of the API’s process.';

function planText(control: Control, planned: DeployPlan | Deployed): string {
  const { app, release, changes, unchanged, conflicts, refused } = planned;
  const rows = changes.map(({ kind, id, job, before, after, why }) => [kind, id, job, before, after, why]);
  const lines = [table(['change', 'schedule', 'job', 'next before', 'next after', 'why'], rows, 'Nothing to change.')];
  // Nobody sees from here which code that is.
  if (control.on === 'the API') lines.unshift(`By the code of the API, ${app} ${release}:`);
  lines.push(`${unchanged} unchanged.`);
  for (const { id, reason } of conflicts) lines.push(`${id} is left as it is: ${reason}.`);
  if (refused) {
    const { ids, owned } = refused;
    lines.push(
      `Refused to remove or disable ${ids.length} of ${owned} schedules (apply --yes does it): ${ids.join(', ')}.`,
    );
  }
  return lines.join('\n');
}

/** A paragraph of its own, and no more of it than one reads. */
function warningsText(warnings: readonly Warning[]): string {
  const most = 20;
  const lines = warnings.slice(0, most).map(warningText);
  if (warnings.length > most) lines.push(`And ${warnings.length - most} warnings more, which --json has.`);
  return lines.map((line, index) => `${index === 0 ? '\n\n' : '\n'}${line}`).join('');
}

function warningText({ schedules, message }: Warning): string {
  const most = 5;
  const more = schedules.length > most ? ` and ${schedules.length - most} more` : '';
  return `Warning: ${message} (${schedules.slice(0, most).join(', ')}${more}).`;
}
