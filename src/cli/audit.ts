import type { Command } from 'commander';
import type { Broker } from '../broker/queues.js';
import { type AuditEntry, type AuditView, audit, readAudit } from '../producers/audit.js';
import { differing, factsOf, nameOf, type Subject } from '../producers/subjects.js';
import { print, table } from './output.js';
import { type Session, withRedis } from './session.js';
import { moment, wholeNumber } from './values.js';
import { whoAmI } from './who.js';

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
    .action((flags: Flags) =>
      withRedis(async ({ broker }) => {
        const { entries } = await readAudit(broker, flags);
        print(entries, flags, () => listing(entries));
      }),
    );
}

/** What a command that changes something works with. */
export type Operator = Session & { readonly broker: Broker };

/** Does what a command asks for, and keeps what it changed. That it could not be kept is said, and nothing more. */
export async function audited<Result>(
  session: Operator,
  { action, subject, request = {} }: Noted,
  work: () => Promise<Result>,
): Promise<Result> {
  const { broker, registry } = session;
  const about = subject ?? null;
  const before = await factsOf(broker, registry, about);
  const result = await work();
  const entry = {
    who: whoAmI(),
    via: 'cli',
    status: null,
    from: 'cli',
    action,
    target: nameOf(about),
    request: Object.keys(request).length > 0 ? request : null,
  } as const;
  try {
    const after = await factsOf(broker, registry, about);
    await audit(broker, { ...entry, ...differing(before, after) } satisfies AuditEntry);
  } catch (error) {
    console.error(`rondo: it is done, but could not be noted in the audit log: ${String(error)}`);
  }
  return result;
}

export interface Noted {
  readonly action: string;
  readonly subject?: Subject;
  /** What was asked for beside the subject. Without secrets. */
  readonly request?: object;
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
