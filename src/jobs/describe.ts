import type { JobDefinition } from './define-job.js';
import { shownUrl } from './healthcheck.js';
import { inputSchemaOf } from './secret-schema.js';
import { redactPayload } from './secrets.js';
import { inWords } from './words.js';

/** A job in a listing. Durations in ms. */
export function summaryOf(job: JobDefinition) {
  const { name, description, enabled, off, concurrency, timeout, retry, schedules } = job;
  return {
    name,
    description,
    enabled,
    off,
    concurrency,
    timeoutMs: timeout,
    attempts: retry.attempts,
    schedules: schedules.map(({ id }) => id),
  };
}

/** All that a job's definition says, in plain JSON. Durations in ms. */
export function detailsOf(job: JobDefinition) {
  const { retry, retention, rateLimit, priority, maxCrashes, maxWaiting, alerts, version, secret } = job;
  const schedules = job.schedules.map(({ next: _next, ...schedule }) => ({
    ...schedule,
    alerts: schedule.alerts ?? null,
    healthcheck: schedule.healthcheck && shownUrl(schedule.healthcheck),
    payload: redactPayload(job.secret, schedule.payload),
    words: inWords(schedule.timing),
  }));
  return {
    ...summaryOf(job),
    ...{ retry, retention, rateLimit, priority, maxCrashes, maxWaiting, alerts, version, secret, schedules },
    payloadSchema: payloadSchemaOf(job),
  };
}

/** JSON Schema of what the job takes, as a caller must send it. */
export function payloadSchemaOf(job: JobDefinition): Record<string, unknown> {
  return inputSchemaOf(job.payload, job.secret);
}
