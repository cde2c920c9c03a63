import type { Broker } from '../broker/queues.js';
import { forgetMemory, memoryStore } from '../broker/run-memory.js';
import { memoryIn, type RunMemory } from '../jobs/memory.js';
import type { ActiveRun } from './active-run.js';

/** Where failed runs are kept for minutes a run may still wait for days, for its retry or in a paused queue. */
const leastKeptMs = 14 * 86_400_000;

/** What the runs of a job remember from one attempt to the next, for as long as a failed one may begin anew. */
export function createMemories(broker: Broker) {
  return {
    of(run: ActiveRun): RunMemory {
      const keptMs = Math.max(run.definition.retention.failed.age, leastKeptMs);
      return memoryIn(memoryStore(broker, { ...named(run), token: run.token ?? '', keptMs }));
    },
    /** Nobody waits for it: what is left behind expires. */
    forget(run: ActiveRun): void {
      forgetMemory(broker, named(run)).catch(() => {});
    },
  };
}

function named({ facts, job }: ActiveRun) {
  return { job: facts.job, id: facts.run, enqueuedAt: job.timestamp };
}
