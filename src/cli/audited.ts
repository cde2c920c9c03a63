import type { Broker } from '../broker/queues.js';
import type { Registry } from '../jobs/registry.js';
import { type AuditEntry, audit } from '../producers/audit.js';
import { differing, factsOf, nameOf, type Subject } from '../producers/subjects.js';
import { whoAmI } from './who.js';

/** What a command that changes something works with. */
export interface Operator {
  readonly broker: Broker;
  readonly registry: Registry;
}

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
