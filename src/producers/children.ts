import type { Broker } from '../broker/queues.js';
import { childIds } from '../jobs/child-id.js';
import type { EnqueueRun, ParentRun } from '../jobs/context.js';
import { readFromRunOptions } from '../jobs/enqueue-from-run.js';
import type { Registry } from '../jobs/registry.js';
import { dataOf, enqueueRun } from './enqueue.js';

export interface ChildrenInput {
  readonly broker: Broker;
  readonly registry: Pick<Registry, 'get'>;
  readonly now: () => number;
}

/** What the handlers of runs enqueue others with: one for each attempt. */
export function createChildren({ broker, registry, now }: ChildrenInput) {
  return (parent: ParentRun): EnqueueRun => {
    const idOf = childIds(parent);
    return async (target: string | { readonly name: string }, payload?: unknown, given = {}) => {
      const job = registry.get(typeof target === 'string' ? target : target.name);
      const { key, options } = readFromRunOptions(given, now());
      const id = idOf(job, dataOf(job, payload), key);
      // An earlier attempt may have added it.
      const added = await enqueueRun(broker, job, { payload, options }, { idOf: () => id, again: true });
      return { id: added.id, job: job.name };
    };
  };
}
