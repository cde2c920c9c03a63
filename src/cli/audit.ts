import type { Command } from 'commander';
import type { AuditView } from '../producers/audit.js';
import { print, table } from './output.js';
import { withControl } from './session.js';
import { moment, refuseReversed, wholeNumber } from './values.js';

interface Flags {
  limit: number;
  from?: number;
  to?: number;
  who?: string;
  json?: boolean;
}

export function addAuditCommand(program: Command): void {
  program
    .command('audit')
    .description('who changed what, when and from where; the newest first')
    .option('--limit <number>', 'at most this many', wholeNumber(1, 1_000), 20)
    .option('--from <time>', 'from this time on', moment)
    .option('--to <time>', 'up to this time', moment)
    .option('--who <name>', "a key's name, or a user and host")
    .option('--json', 'print JSON')
    .action((flags: Flags) => {
      refuseReversed(flags);
      return withControl(async (control) => {
        const entries = await control.audit(flags);
        print(entries, flags, () => listing(entries));
      });
    });
}

function listing(entries: readonly AuditView[]): string {
  const rows = entries.map((entry) => [
    entry.at,
    entry.who,
    entry.from,
    entry.action,
    entry.target,
    shortOf(entry.before),
    shortOf(entry.after),
  ]);
  return table(['at', 'who', 'from', 'what', 'of', 'before', 'after'], rows, 'The audit log has no such entries.');
}

/** A line is for looking through; `--json` has all of it. */
function shortOf(value: unknown): string | null {
  if (value === null) return null;
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}
