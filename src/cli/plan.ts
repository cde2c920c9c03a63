import type { Command } from 'commander';
import { isoOr } from '../jobs/words.js';
import { type Change, type Plan, wantedOf } from '../producers/plan.js';
import { planNow, reconcile } from '../producers/schedules.js';
import { print, table } from './output.js';
import { type Session, withRedis } from './session.js';

interface Flags {
  json?: boolean;
}

/** What a deploy changes, and making it so. */
export function addPlanCommands(schedules: Command): void {
  schedules
    .command('plan')
    .description('what would change in Redis for it to hold what the code declares')
    .option('--json', 'print JSON')
    .action((flags: Flags) =>
      withRedis(async (session) => {
        const planned = await planNow(session.broker, inputOf(session));
        print(jsonOf(planned), flags, () => planText(planned));
      }),
    );

  schedules
    .command('apply')
    .description('make those changes now')
    .option('--yes', 'remove schedules even where most of the app’s would go')
    .option('--json', 'print JSON')
    .action((flags: Flags & { yes?: boolean }) =>
      withRedis(async (session) => {
        const done = await reconcile(session.broker, { ...inputOf(session), removeMany: flags.yes }, () => {});
        const failed = done.failed.map(({ id, error }) => ({ id, error: String(error) }));
        print({ ...jsonOf(done), failed }, flags, () => planText(done));
        if (!flags.json)
          for (const { id, error } of failed) console.error(`rondo: ${id} could not be changed: ${error}`);
        if (failed.length > 0 || done.conflicts.length > 0 || done.refused) process.exitCode = 1;
      }),
    );
}

function inputOf({ config, registry }: Session) {
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
