import type { Broker } from '../broker/queues.js';
import { followRuns, type RunEvent } from '../broker/run-events.js';
import { RondoError } from '../errors.js';

export interface Watcher {
  /** Something has happened to the run, or may have: an event can be lost, and so one is told now and then without. */
  onNews(event: RunEvent | null): void;
  /** Redis does not answer. */
  onAway(error: unknown): void;
  /** This process stops. */
  onStop(): void;
}

export interface WatchOptions {
  /** How many may watch at once in this process. */
  readonly most?: number;
  /** How often each is told without an event, in ms. */
  readonly lookMs?: number;
  /** For how long the connection of a job that nobody watches any more is kept, in ms. */
  readonly keepMs?: number;
}

/** Lets any number watch runs, over one connection for each job that is watched, and none where nobody does. */
export function createRunWatch(broker: Broker, { most = 1_000, lookMs = 5_000, keepMs = 5_000 }: WatchOptions = {}) {
  const jobs = new Map<string, WatchedJob>();
  let count = 0;
  let stopped = false;

  function open(name: string): WatchedJob {
    const watchers = new Map<string, Set<Watcher>>();
    const all = () => [...watchers.values()].flatMap((its) => [...its]);
    const source = followRuns(broker, name, {
      onEvent: (event) => {
        for (const watcher of watchers.get(event.run) ?? []) watcher.onNews(event);
      },
      onAway: (error) => {
        for (const watcher of all()) watcher.onAway(error);
      },
    });
    const looking = setInterval(() => {
      for (const watcher of all()) watcher.onNews(null);
    }, lookMs).unref();
    const job: WatchedJob = { watchers, all, ready: source.ready, close, closing: null };
    function close() {
      jobs.delete(name);
      clearInterval(looking);
      clearTimeout(job.closing ?? undefined);
      source.close();
    }
    return job;
  }

  function leave(job: WatchedJob, run: string, watcher: Watcher): void {
    const its = job.watchers.get(run);
    if (!its?.delete(watcher)) return;
    count--;
    if (its.size === 0) job.watchers.delete(run);
    if (job.watchers.size === 0) job.closing = setTimeout(job.close, keepMs).unref();
  }

  return {
    /**
     * Tells what happens to a run until the answer's `leave` is called. What happened before `ready` has resolved is
     * for the caller to look up.
     *
     * @throws RondoError `waiters-full`
     */
    watch(name: string, run: string, watcher: Watcher): { ready: Promise<void>; leave: () => void } {
      if (stopped || count >= most) throw new RondoError('waiters-full', `${count} of ${most}`);
      const job = jobs.get(name) ?? open(name);
      jobs.set(name, job);
      clearTimeout(job.closing ?? undefined);
      const own = { ...watcher };
      job.watchers.set(run, (job.watchers.get(run) ?? new Set()).add(own));
      count++;
      return { ready: job.ready, leave: () => leave(job, run, own) };
    },
    /** How many watch, and for how many jobs a connection is open. */
    size: () => ({ watchers: count, connections: jobs.size }),
    /** Tells all that watch, and closes what is open. */
    stop(): void {
      stopped = true;
      for (const job of [...jobs.values()]) {
        for (const watcher of job.all()) watcher.onStop();
        job.close();
      }
    },
  };
}

export type RunWatch = ReturnType<typeof createRunWatch>;

interface WatchedJob {
  readonly watchers: Map<string, Set<Watcher>>;
  all(): Watcher[];
  readonly ready: Promise<void>;
  close(): void;
  closing: NodeJS.Timeout | null;
}
