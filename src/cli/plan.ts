import type { Command } from 'commander';
import { isoOr } from '../jobs/words.js';
import type { Change, Plan } from '../producers/plan.js';
import type { Warning } from '../producers/warnings.js';
import { print, table } from './output.js';
import { type Session, withRedis } from './session.js';

interface Flags {
  json?: boolean;
}

/** What a deploy changes, and making it so. */
export function addPlanCommands(schedules: Command): void {
  schedules
    .command('plan')
    .description('what would change in Redis for it to hold what the code declares, and what to beware of')
    .option('--json', 'print JSON')
    .action((flags: Flags) =>
      withRedis(async (session) => {
        const [{ planNow }, { warningsNow }] = await Promise.all([
          import('../producers/schedules.js'),
          import('../producers/warn.js'),
        ]);
        const input = await inputOf(session);
        const planned = await planNow(session.broker, input);
        const warnings = await warningsNow(session.broker, { ...input, now: input.now() });
        print({ ...jsonOf(planned), warnings }, flags, () => planText(planned) + warningsText(warnings));
      }),
    );

  schedules
    .command('apply')
    .description('make those changes now')
    .option('--yes', 'remove schedules even where most of the app’s would go')
    .option('--json', 'print JSON')
    .action((flags: Flags & { yes?: boolean }) =>
      withRedis(async (session) => {
        const [{ audited }, { reconcile }] = await Promise.all([
          import('./audited.js'),
          import('../producers/schedules.js'),
        ]);
        const input = { ...(await inputOf(session)), removeMany: flags.yes };
        const done = await audited(session, { action: 'schedules apply', request: { yes: flags.yes === true } }, () =>
          reconcile(session.broker, input, () => {}),
        );
        const failed = done.failed.map(({ id, error }) => ({ id, error: String(error) }));
        print({ ...jsonOf(done), failed }, flags, () => planText(done));
        if (!flags.json)
          for (const { id, error } of failed) console.error(`rondo: ${id} could not be changed: ${error}`);
        if (failed.length > 0 || done.conflicts.length > 0 || done.refused) process.exitCode = 1;
      }),
    );
}

async function inputOf({ config, registry }: Session) {
  const { wantedOf } = await import('../producers/plan.js');
  return { app: config.app, release: config.release, wanted: wantedOf(registry), now: Date.now };
}

function jsonOf({ changes, unchanged, conflicts, refused }: Plan) {
  const shown = changes.map((change) => ({
    kind: change.kind,
    ...named(change),
    before: isoOr(change.before),
    after: isoOr(change.after),
    why: reasonOf(change),
  }));
  return { changes: shown, unchanged, conflicts, refused };
}

function planText(planned: Plan): string {
  const rows = planned.changes.map((change) => {
    const { id, job } = named(change);
    return [change.kind, id, job, isoOr(change.before), isoOr(change.after), reasonOf(change)];
  });
  const lines = [table(['change', 'schedule', 'job', 'next before', 'next after', 'why'], rows, 'Nothing to change.')];
  lines.push(`${planned.unchanged} unchanged.`);
  for (const { id, reason } of planned.conflicts) lines.push(`${id} is left as it is: ${reason}.`);
  if (planned.refused) {
    const { ids, owned } = planned.refused;
    lines.push(`Refused to remove ${ids.length} of ${owned} schedules (apply --yes does it): ${ids.join(', ')}.`);
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

function named(change: Change): { id: string; job: string } {
  const { id, specification } = change.kind === 'remove' ? change.stored : change.wanted;
  return { id, job: specification.job };
}

function reasonOf(change: Change): string {
  switch (change.kind) {
    case 'add':
      return 'new';
    case 'change':
      return `another ${change.fields.join(', ')}`;
    case 'heal':
      return change.reason;
    case 'remove':
      return 'no longer declared';
  }
}
