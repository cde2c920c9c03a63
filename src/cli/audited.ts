import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import type { Registry } from '../jobs/registry.js';
import { type AuditEntry, audit } from '../producers/audit.js';
import { differing, factsOf, nameOf, type Subject } from '../producers/subjects.js';
import { codeOf } from './codes.js';
import { whoAmI } from './who.js';

/** What a command that changes something works with. */
export interface Operator {
  readonly broker: Broker;
  readonly registry: Registry;
}

/**
 * Does what a command asks for, and keeps what it changed, also where it then fails. That it could not be kept is said,
 * and nothing more.
 *
 * @param hasChanged whether a command on many has changed something: what refuses one alone leaves it as it was
 */
export async function audited<Result>(
  session: Operator,
  noted: Noted,
  work: () => Promise<Result>,
  hasChanged = () => false,
): Promise<Result> {
  const { broker, registry } = session;
  const before = await factsOf(broker, registry, noted.subject ?? null);
  const result = await work().catch(async (error: unknown) => {
    if (hasChanged() || !isRefusal(error)) await keep(session, noted, before, { failed: reasonOf(error) });
    throw error;
  });
  await keep(session, noted, before, {});
  return result;
}

async function keep(
  { broker, registry }: Operator,
  { action, subject, request = {} }: Noted,
  before: Awaited<ReturnType<typeof factsOf>>,
  failure: { readonly failed?: string },
): Promise<void> {
  const about = subject ?? null;
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
    const changes = differing(before, after);
    const left = failure.failed === undefined ? changes.after : { ...changes.after, ...failure };
    await audit(broker, { ...entry, ...changes, after: left } satisfies AuditEntry);
  } catch (error) {
    const what = failure.failed === undefined ? 'it is done, but' : 'what was done before it failed';
    console.error(`rondo: ${what} could not be noted in the audit log: ${String(error)}`);
  }
}

/** As over HTTP: from 500 on nobody knows whether it was done. */
function isRefusal(error: unknown): boolean {
  return error instanceof RondoError && error.status < 500;
}

/** Its first line: those beneath may quote what was given. */
function reasonOf(error: unknown): string {
  const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  const code = codeOf(error);
  return code === null ? line : `${line} [${code}]`;
}

export interface Noted {
  readonly action: string;
  readonly subject?: Subject;
  /** What was asked for beside the subject. Without secrets. */
  readonly request?: object;
}
