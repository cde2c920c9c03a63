import { findQueues, type QueueFacts, readQueue } from '../broker/queue-facts.js';
import type { Broker } from '../broker/queues.js';
import type { Registry } from '../jobs/registry.js';
import { readKnown } from './gone-jobs.js';
import { type Conflict, isEnabled, wantedOf } from './plan.js';
import { listProcesses, type ProcessList } from './processes.js';
import { type Deployment, planNow } from './schedules.js';
import { type Lead, readLeads } from './service.js';
import { readStore } from './store.js';
import { listSchedules, type ScheduleView } from './views.js';

/** What Redis holds under a prefix, for `judgeStore`. */
export interface StoreFacts {
  /** In ms since the epoch. */
  readonly now: number;
  readonly app: string;
  readonly schedules: readonly Pick<ScheduleView, 'id' | 'job' | 'owner' | 'health' | 'why'>[];
  /** Ids whose entry makes no sense to this release. */
  readonly unreadable: readonly string[];
  /** What this program declares and Redis cannot take. */
  readonly conflicts: readonly Conflict[];
  /** Apps that have schedules here, and who leads for them. */
  readonly leads: readonly Lead[];
  readonly queues: readonly QueueFacts[];
  /** Whether all keys could be looked at for queues that nobody knows. */
  readonly complete: boolean;
  /** The jobs that this program declares, and whether they are enabled; null where it could not load them. */
  readonly declared: ReadonlyMap<string, boolean> | null;
  /** The jobs of all apps. */
  readonly known: ReadonlySet<string>;
  /** BullMQ's job schedulers that belong to no schedule. */
  readonly strays: readonly { readonly job: string; readonly scheduler: string }[];
  readonly processes: ProcessList['processes'];
}

export interface StoreFactsInput extends Deployment {
  readonly broker: Broker;
  readonly registry: Registry | null;
  readonly now: () => number;
  /** After this, in ms, what nobody seems to know is looked at once more: a schedule may just be under way. */
  readonly againAfterMs?: number;
}

/** Looks only. */
export async function readStoreFacts(input: StoreFactsInput): Promise<StoreFacts> {
  const { broker, app, release, registry, now } = input;
  const wanted = registry ? wantedOf(registry) : [];
  const [found, known] = await Promise.all([findQueues(broker, searchMs), readKnown(broker)]);
  const { stored } = await readStore(broker);
  const declared = registry && new Map(registry.jobs.map(({ name, enabled }) => [name, enabled]));
  const ofSchedules = [...stored.values()].map(({ specification }) => specification.job);
  const jobs = new Set([...(declared?.keys() ?? []), ...ofSchedules, ...known.map(({ job }) => job)]);
  const all = [...new Set([...jobs, ...found.names])];
  const [queues, { processes }, { schedules, unreadable }, planned] = await Promise.all([
    Promise.all(all.map((job) => readQueue(broker, job))),
    listProcesses(broker),
    listSchedules(broker, now()),
    planNow(broker, { app, release, wanted, now }),
  ]);
  return {
    now: now(),
    app,
    schedules,
    unreadable,
    conflicts: registry ? planned.conflicts : [],
    leads: await readLeads(broker, stored.values(), processes, wanted.some(isEnabled) ? app : null),
    queues,
    complete: found.complete,
    declared,
    known: jobs,
    strays: await findStrays(input, queues),
    processes,
  };
}

/** How long the look for queues that nobody knows may take, in ms. */
const searchMs = 5_000;

/** A producer makes a schedule's scheduler before it writes its entry: what has none is looked at twice. */
async function findStrays({ broker, againAfterMs = 1_000 }: StoreFactsInput, queues: readonly QueueFacts[]) {
  const look = async (candidates: StoreFacts['strays']) => {
    const { stored, unreadable } = await readStore(broker);
    const isStray = ({ job, scheduler }: StoreFacts['strays'][number]) =>
      stored.get(scheduler)?.specification.job !== job && !unreadable.has(scheduler);
    return candidates.filter(isStray);
  };
  const first = await look(
    queues.flatMap(({ job, schedulers }) => schedulers.map((scheduler) => ({ job, scheduler }))),
  );
  if (first.length === 0) return [];
  await new Promise((resolve) => setTimeout(resolve, againAfterMs));
  const again = await Promise.all([...new Set(first.map(({ job }) => job))].map((job) => readQueue(broker, job)));
  const there = new Set(again.flatMap(({ job, schedulers }) => schedulers.map((scheduler) => `${job} ${scheduler}`)));
  return look(first.filter(({ job, scheduler }) => there.has(`${job} ${scheduler}`)));
}
