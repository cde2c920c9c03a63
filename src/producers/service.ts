import type { Broker } from '../broker/queues.js';
import { readHolder } from './lease.js';
import { ownerOf, type Stored } from './plan.js';
import { listProcesses, type ProcessList, type ProcessView } from './processes.js';
import { readStore } from './store.js';
import { type Health, viewSchedules } from './views.js';

/** An app with schedules here, and its producers. */
export interface Lead {
  readonly app: string;
  /** Whether some producer leads for it. */
  readonly led: boolean;
  /** The process that does, where it is known. */
  readonly leader: Pick<ProcessView, 'id' | 'host' | 'pid' | 'release'> | null;
  /** How many of its producers are alive, the one in the lead included. */
  readonly producers: number;
}

/** The whole service, as Redis tells of it. Times are ISO. */
export interface ServiceView {
  /** What is wrong in a sentence each; none where all is well. */
  readonly trouble: readonly string[];
  readonly leads: readonly Lead[];
  readonly processes: ProcessList;
  readonly schedules: { readonly total: number; readonly byHealth: Partial<Record<Health, number>> };
  /** What is due next, the first first. */
  readonly next: readonly { readonly schedule: string; readonly job: string; readonly due: string }[];
}

/** How many next times are told. */
const nextTimes = 10;

export async function readService(broker: Broker, now: number): Promise<ServiceView> {
  const { stored } = await readStore(broker);
  const [processes, { schedules }] = await Promise.all([
    listProcesses(broker),
    viewSchedules(broker, [...stored.values()], now),
  ]);
  const leads = await readLeads(broker, stored.values(), processes.processes);
  const byHealth: Partial<Record<Health, number>> = {};
  for (const { health } of schedules) byHealth[health] = (byHealth[health] ?? 0) + 1;
  const due = schedules.flatMap(({ id, job, next }) => (next === null ? [] : [{ schedule: id, job, due: next }]));
  due.sort((a, b) => Date.parse(a.due) - Date.parse(b.due));
  return {
    trouble: troubleOf(leads, processes.processes),
    leads,
    processes,
    schedules: { total: schedules.length, byHealth },
    next: due.slice(0, nextTimes),
  };
}

/** @param own an app that is told of though it has no schedules here yet */
export async function readLeads(
  { client, keys }: Broker,
  stored: Iterable<Stored>,
  processes: readonly ProcessView[],
  own: string | null = null,
): Promise<Lead[]> {
  const prefix = ownerOf('');
  const producers = processes.filter(({ roles }) => roles.includes('producer'));
  const owners = [...stored].flatMap(({ owner }) => (owner.startsWith(prefix) ? [owner.slice(prefix.length)] : []));
  const apps = new Set([...owners, ...producers.map(({ app }) => app), ...(own === null ? [] : [own])]);
  return Promise.all(
    [...apps].sort().map(async (app) => {
      const holder = await readHolder(client, keys.producerLease(app));
      const found = producers.find(({ id }) => id === holder);
      const leader = found ? { id: found.id, host: found.host, pid: found.pid, release: found.release } : null;
      return { app, led: holder !== null, leader, producers: producers.filter((it) => it.app === app).length };
    }),
  );
}

function troubleOf(leads: readonly Lead[], processes: readonly ProcessView[]): string[] {
  const without = leads.filter(({ led }) => !led).map(({ app }) => `no producer leads for ${app}`);
  const works = processes.some(({ roles, state }) => roles.includes('worker') && state === 'working');
  return [...without, ...(works ? [] : ['no worker is alive'])];
}
