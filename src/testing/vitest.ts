import { expect } from 'vitest';
import type { JobDefinition } from '../jobs/define-job.js';
import { readPayload } from '../jobs/payload.js';
import { tickAfter } from './play.js';

/** What this module adds to vitest's `expect`, for job definitions. */
export interface JobMatchers<Result = unknown> {
  /** A schedule of the job has a tick at this very moment. The first schedule unless one is named. */
  toTickAt(moment: string | Date, schedule?: string): Result;
  /** The schema takes the payload. */
  toAcceptPayload(payload: unknown): Result;
}

declare module 'vitest' {
  // biome-ignore lint/suspicious/noExplicitAny: the type parameters must be those of the declaration that it adds to
  interface Assertion<T = any> extends JobMatchers<T> {}
  interface AsymmetricMatchersContaining extends JobMatchers {}
}

expect.extend({
  toTickAt(job: JobDefinition, moment: string | Date, schedule?: string) {
    const wanted = new Date(moment);
    const found = tickAfter(job, new Date(wanted.getTime() - 1), schedule);
    const pass = found?.getTime() === wanted.getTime();
    const seen = found === null ? 'it has ended by then' : `the next one is ${found.toISOString()}`;
    return {
      pass,
      message: () => `${nameOf(job)}: expected ${pass ? 'no' : 'a'} tick at ${wanted.toISOString()}; ${seen}`,
    };
  },
  toAcceptPayload(job: JobDefinition, payload: unknown) {
    const { refused } = readPayload(job, payload);
    const message = () =>
      refused ? refused.message : `${nameOf(job)}: expected it to refuse ${JSON.stringify(payload)}`;
    return { pass: refused === null, message };
  },
});

const nameOf = (job: JobDefinition) => job.name;
