import type { Broker } from '../broker/queues.js';
import { childIds } from '../jobs/child-id.js';
import type { EnqueueRun, ParentRun } from '../jobs/context.js';
import { readFromRunOptions } from '../jobs/enqueue-from-run.js';
import type { Registry } from '../jobs/registry.js';
import { enqueueRun } from './enqueue.js';

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
      const id = idOf(job, payload ?? {}, key);
      // Where an earlier attempt has added it, the job's bound let it in then.
      const again = job.maxWaiting !== null && (await wasAdded(broker, job.name, id));
      const added = await enqueueRun(broker, job, { payload, options }, { idOf: () => id, again });
      return { id: added.id, job: job.name };
    };
  };
}

/** BullMQ forgets an id with its run; the key that stands for it stays for a day. */
async function wasAdded({ client, queue }: Broker, job: string, id: string): Promise<boolean> {
  return (await client.exists(queue(job).toKey(`de:${id}`))) === 1;
}
