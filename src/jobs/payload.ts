import { RondoError } from '../errors.js';
import { problemsOf, show } from '../problems.js';
import type { JobDefinition } from './define-job.js';

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
  try {
    const read = job.payload.safeParse(data);
    if (read.success) return { refused: null, value: read.data };
    const problems = problemsOf(read.error, data, { at: 'payload' });
    return { refused: new RondoError('payload-invalid', job.name, { problems }) };
  } catch (cause) {
    const detail = `${job.name}: the schema failed to read it: ${String(cause)}`;
    return { refused: new RondoError('payload-invalid', detail, { cause }) };
  }
}
