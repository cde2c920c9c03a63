import { collectDefaultMetrics, Registry } from 'prom-client';
import type { RondoEvent } from '../jobs/events.js';
import type { Figures } from '../jobs/figures.js';
import { addFamily, type Family } from './families.js';
import { createProcessMetrics, type Expected } from './process-metrics.js';
import { createPings } from './redis-pings.js';
import { storeFamilies } from './store-metrics.js';

export interface MetricsInput {
  readonly app: string;
  readonly release: string;
  /** Whether the process tells of itself too: memory, processor, event loop. */
  readonly process?: boolean;
}

/** What `/metrics` answers. */
export interface Exposition {
  readonly contentType: string;
  readonly text: string;
}

/** The metrics of a process: what it has seen itself, and what it may tell of the store. */
export function createMetrics({ app, release, process = true }: MetricsInput) {
  const registry = new Registry();
  const seen = createProcessMetrics();
  const pings = createPings();
  const slots = new Map<string, number>();
  let store = false;
  const add = (families: readonly Family[]) => {
    for (const family of families) addFamily(registry, family);
  };
  if (process) collectDefaultMetrics({ register: registry });
  add([infoOf(app, release), ...seen.families(), ...pings.families()]);

  return {
    note: seen.note as (event: RondoEvent) => void,
    /** The process works on these jobs. */
    addWorker(jobs: readonly (Expected & { readonly concurrency: number })[]): void {
      for (const job of jobs) {
        seen.expectAttempts(job);
        slots.set(job.name, job.concurrency);
      }
      add([slotsOf(slots)]);
    },
    /** @param leads whether the process keeps the schedules in line at this moment */
    addProducer(jobs: readonly { readonly name: string }[], leads: () => boolean): void {
      for (const { name } of jobs) seen.expectHealing(name);
      add([leadOf(app, leads)]);
    },
    /** What is in Redis, as this process reads it: the first that comes will do. */
    addStore(read: () => Promise<Figures>): void {
      if (!store) add(storeFamilies(app, read));
      store = true;
    },
    /** The part of the process that asks Redis now and then how fast it answers. */
    pings,
    async read(): Promise<Exposition> {
      // It has a spelling of its own for what is no number; the format has this one.
      const text = (await registry.metrics()).replaceAll(' Nan\n', ' NaN\n');
      return { contentType: registry.contentType, text };
    },
  };
}

export type Metrics = ReturnType<typeof createMetrics>;

function infoOf(app: string, release: string): Family {
  return {
    name: 'rondo_info',
    help: 'Which app and release this process is of; always 1',
    type: 'gauge',
    read: () => [{ labels: { app_name: app, release }, value: 1 }],
  };
}

function slotsOf(slots: ReadonlyMap<string, number>): Family {
  return {
    name: 'rondo_worker_slots',
    help: 'How many runs of a job this worker executes at once',
    type: 'gauge',
    read: () => [...slots].map(([job_name, value]) => ({ labels: { job_name }, value })),
  };
}

function leadOf(app: string, leads: () => boolean): Family {
  return {
    name: 'rondo_producer_leads',
    help: 'Whether this producer leads: 1 where it does, 0 where it stands by',
    type: 'gauge',
    read: () => [{ labels: { app_name: app }, value: Number(leads()) }],
  };
}
