import { z } from 'zod';
import type { JobDefinition } from './define-job.js';
import { inWords } from './words.js';

/** A job in a listing. Durations in ms. */
export function summaryOf(job: JobDefinition) {
  const { name, description, enabled, concurrency, timeout, retry, schedules } = job;
  return {
    name,
    description,
    enabled,
    concurrency,
    timeoutMs: timeout,
    attempts: retry.attempts,
    schedules: schedules.map(({ id }) => id),
  };
}

/** All that a job's definition says, in plain JSON. Durations in ms. */
export function detailsOf(job: JobDefinition) {
  const { retry, retention, rateLimit, priority, maxCrashes, maxWaiting, version } = job;
  const schedules = job.schedules.map(({ next: _next, ...schedule }) => ({
    ...schedule,
    words: inWords(schedule.timing),
  }));
  return {
    ...summaryOf(job),
    ...{ retry, retention, rateLimit, priority, maxCrashes, maxWaiting, version, schedules },
    payloadSchema: payloadSchemaOf(job),
  };
}

/** JSON Schema of what the job takes, as a caller must send it. */
export function payloadSchemaOf(job: JobDefinition): Record<string, unknown> {
  return z.toJSONSchema(job.payload, { io: 'input', unrepresentable: 'any' }) as Record<string, unknown>;
}
