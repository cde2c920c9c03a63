import type { JobsOptions, KeepJobs } from 'bullmq';

/**
 * Of runs that succeed one right after the other, the last alone has Redis remove those that are kept no longer: it would
 * look for them at every single end, a tenth of what it does for a run (decision 25). Where BullMQ then refuses the last,
 * they are removed when the next run succeeds.
 */
export function createRetention() {
  let last: JobsOptions | null = null;
  return {
    /** BullMQ reads what is to be removed some microtasks later: who succeeds until then relieves this one. */
    succeeds({ opts }: { readonly opts: JobsOptions }): void {
      if (last && keepAlike(last, opts)) last.removeOnComplete = removesNothing;
      last = opts;
    },
  };
}

/** Keeps the run, as the limits that it was added with do, and looks for no others. */
const removesNothing: KeepJobs = { count: -1 };

/** Not all runs of a job do: older releases added some, and those of ticks that were not run are not kept at all. */
function keepAlike(one: JobsOptions, other: JobsOptions): boolean {
  const [a, b] = [limitsOf(one), limitsOf(other)];
  return a !== null && b !== null && a.count === b.count && a.age === b.age;
}

/** Null where the run itself is not kept. */
function limitsOf({ removeOnComplete }: JobsOptions): { count?: number; age?: number } | null {
  return typeof removeOnComplete === 'object' && removeOnComplete.count !== 0 ? removeOnComplete : null;
}
