import { createHash } from 'node:crypto';
import type { ParentRun } from './context.js';
import type { JobDefinition } from './define-job.js';
import { redactPayload } from './secrets.js';

/**
 * The ids of the runs that an attempt enqueues, one after the other: whichever attempt asks for the same run makes the
 * same id. Of payloads that are equal the first is the first, whatever comes between them: an order of all would let a
 * second attempt, which finds one thing less to do, lose another.
 */
export function childIds(parent: ParentRun) {
  const seen = new Map<string, number>();
  return (job: Pick<JobDefinition, 'name' | 'secret'>, payload: unknown, key?: string): string => {
    if (key !== undefined) return idOf(parent, job.name, ['key', key]);
    // An id is shown to all, and a short secret would be found by trying.
    const what = JSON.stringify([job.name, redactPayload(job.secret, payload)]);
    const nth = seen.get(what) ?? 0;
    seen.set(what, nth + 1);
    return idOf(parent, job.name, ['payload', what, nth]);
  };
}

function idOf({ job, id, enqueuedAt }: ParentRun, child: string, distinct: readonly unknown[]): string {
  const digest = createHash('sha256').update(JSON.stringify([job, id, enqueuedAt, child, ...distinct]));
  return `from-${digest.digest('hex').slice(0, 32)}`;
}
