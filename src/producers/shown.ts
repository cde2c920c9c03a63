import type { JobsOptions } from 'bullmq';
import { secretOf, versionOf } from '../broker/queues.js';
import type { JobDefinition } from '../jobs/define-job.js';
import { migratesTo, redactorOf } from '../jobs/payload.js';
import { createRedactor, hidden, type Redactor, redactPayload } from '../jobs/secrets.js';

/** What a run or a schedule stores that may hold secrets. */
interface Stored {
  readonly data: unknown;
  readonly opts: JobsOptions;
}

/** The payload as others may see it: by what its job says is secret now, and by what the run itself carries. */
export function shownPayload(job: JobDefinition | undefined, stored: Stored): unknown {
  const own = redactPayload(secretOf(stored), stored.data);
  if (!job || job.secret.length === 0) return own;
  // An older version may have had its secrets elsewhere: they are looked for, or nothing is shown.
  const version = versionOf(stored);
  if (version < job.version && migratesTo(job, stored.data, version) === undefined) return hidden;
  return redactorOf(job, stored.data, version).value(redactPayload(job.secret, own));
}

/** Hides a run's secrets in what else is stored of it: what older releases wrote was not redacted. */
export function redactorOfRun(job: JobDefinition | undefined, stored: Stored): Redactor {
  const own = createRedactor(secretOf(stored), [stored.data]);
  if (!job || job.secret.length === 0) return own;
  const known = redactorOf(job, stored.data, versionOf(stored));
  return {
    text: (text) => known.text(own.text(text)),
    value: (value) => known.value(own.value(value)),
    error: (error) => known.error(own.error(error)),
  };
}
