import { RondoError } from '../errors.js';
import { problemsOf } from '../problems.js';
import type { JobDefinition } from './define-job.js';

export type ReadPayload =
  | { readonly refused: RondoError; readonly value?: never }
  | { readonly refused: null; readonly value: unknown };

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
