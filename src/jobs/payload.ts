import { RondoError } from '../errors.js';
import { show } from '../problems.js';
import type { JobDefinition } from './define-job.js';
import { copiedSecret, payloadProblems } from './payload-problems.js';
import { createRedactor, holdsHidden, type Redactor } from './secrets.js';

export type ReadPayload =
  | { readonly refused: RondoError; readonly value?: never }
  | { readonly refused: null; readonly value: unknown };

/** The payload of a run, which may have been enqueued with a lower version: migrated, then read by the schema. */
export function readStored(job: JobDefinition, data: unknown, version: number): ReadPayload {
  if (!job.migrate || version >= job.version) return readPayload(job, data);
  const refuse = (why: string, cause?: unknown) => {
    const detail = `${job.name}, from version ${version} to ${job.version}: ${why}`;
    return { refused: new RondoError('payload-unmigrated', detail, { cause }) };
  };
  let migrated: unknown;
  try {
    migrated = job.migrate({ payload: data, version });
  } catch (cause) {
    // At an older version a secret may lie elsewhere: nobody knows what the message quotes.
    if (job.secret.length > 0) return refuse('migrate() failed; why may quote a secret, and is not shown');
    return refuse(cause instanceof Error ? cause.message : show(cause), cause);
  }
  if (migrated instanceof Promise) {
    migrated.catch(() => {});
    return refuse('migrate() answered a promise, where the payload itself is expected');
  }
  return readPayload(job, migrated);
}

/** A payload as the job's schema reads it, or `payload-invalid` with all that the schema refuses. */
export function readPayload(job: JobDefinition, data: unknown): ReadPayload {
  if (holdsHidden(job.secret, data)) {
    return { refused: new RondoError('payload-invalid', job.name, { problems: [copiedSecret('payload')] }) };
  }
  try {
    const read = job.payload.safeParse(data);
    if (read.success) return { refused: null, value: read.data };
    const problems = payloadProblems(job.secret, read.error, data);
    return { refused: new RondoError('payload-invalid', job.name, { problems }) };
  } catch (cause) {
    const { text, error } = createRedactor(job.secret, [data]);
    const detail = `${job.name}: the schema failed to read it: ${text(String(cause))}`;
    return { refused: new RondoError('payload-invalid', detail, { cause: error(cause) }) };
  }
}

/** Hides the secrets of a run's payload, in whichever form its handler may have met them. */
export function redactorOf(job: JobDefinition, data: unknown, version: number): Redactor {
  if (job.secret.length === 0) return createRedactor([], []);
  return createRedactor(job.secret, [data, migratesTo(job, data, version), readOf(job, data)]);
}

/** A payload of an older version as this one's schema reads it; undefined where it cannot be brought there. */
export function migratesTo(job: JobDefinition, data: unknown, version: number): unknown {
  return version < job.version ? readStored(job, data, version).value : undefined;
}

function readOf(job: JobDefinition, data: unknown): unknown {
  try {
    return job.payload.safeParse(data).data;
  } catch {
    return undefined;
  }
}
