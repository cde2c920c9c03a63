import type { JobsOptions, KeepJobs } from 'bullmq';

/** So many in a row leave it to the next: as many may be kept too long where BullMQ then refuses that one. */
const mostLeft = 63;

/**
 * BullMQ has Redis look at each end of a run for those that are kept no longer. Of runs that succeed one right after the
 * other the last is enough: the others are told to remove nothing (decision 25).
 */
export function createRetention() {
  let last: JobsOptions | null = null;
  let left = 0;
  return {
    /** Is told of each run that succeeds, some microtasks before BullMQ reads its options: as many for each. */
    ends({ opts }: { readonly opts: JobsOptions }): void {
      if (last && left < mostLeft && keepAlike(last, opts)) {
        last.removeOnComplete = removesNothing; // where BullMQ has read it already, it changes nothing
        left++;
      } else left = 0;
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

/** What a run that is kept itself removes of others; null where it does otherwise, or removes them a few at a time. */
function limitsOf({ removeOnComplete: kept }: JobsOptions): { count?: number; age?: number } | null {
  if (typeof kept !== 'object' || kept === null || kept.count === 0) return null;
  return 'limit' in kept && kept.limit !== undefined ? null : kept;
}
