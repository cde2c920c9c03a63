import type { RondoEvent } from '../jobs/events.js';

/** What there was within some seconds beyond what was told one by one. Durations in ms, right to a twentieth. */
export type Summary =
  | ({
      readonly type: 'runs.summary';
      readonly job: string;
      readonly succeeded: number;
      readonly skipped: number;
    } & Took)
  | ({ readonly type: 'http.summary'; readonly answered: number } & Took);

interface Took {
  /** How many of them had no line of their own. */
  readonly untold: number;
  /** Null where none has a duration. */
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
  readonly withinMs: number;
}

/** Calls back so many ms later, and keeps no process alive. */
export type After = (ms: number, then: () => void) => void;

export const afterMs: After = (ms, then) => void setTimeout(then, ms).unref();

/** So many runs, and so many requests, have a line of their own within a second. */
const toldPerSecond = 100;
const summaryAfterSeconds = 5;

/**
 * Judges which of the events that went well are told one by one: so many a second. Of each job that had more it tells, at
 * the end of five seconds, how many runs there were and how long they took.
 */
export function createDigest(after: After, tell: (summary: Summary) => void) {
  const jobs = new Map<string, Tally>();
  let requests = newTally();
  let told = { runs: 0, requests: 0 };
  let second = 0;

  function admit(tally: Tally, kind: 'runs' | 'requests', durationMs?: number): boolean {
    if (second === 0) {
      second = 1;
      after(1_000, endSecond);
    }
    if (durationMs !== undefined) tally.took.add(durationMs);
    told[kind]++;
    if (told[kind] > toldPerSecond) tally.untold++;
    return told[kind] <= toldPerSecond;
  }

  function endSecond(): void {
    told = { runs: 0, requests: 0 };
    if (second < summaryAfterSeconds) {
      second++;
      after(1_000, endSecond);
      return;
    }
    second = 0;
    for (const [job, { succeeded, skipped, ...tally }] of jobs) {
      if (tally.untold > 0) tell({ type: 'runs.summary', job, succeeded, skipped, ...tookOf(tally) });
    }
    if (requests.untold > 0) tell({ type: 'http.summary', answered: requests.succeeded, ...tookOf(requests) });
    jobs.clear();
    requests = newTally();
  }

  return {
    /** Whether an event is told at its own level; one that is not counts in a summary. */
    tells(event: RondoEvent): boolean {
      switch (event.type) {
        case 'run.succeeded':
        case 'run.skipped': {
          const tally = jobs.get(event.job) ?? newTally();
          jobs.set(event.job, tally);
          if (event.type === 'run.skipped') {
            tally.skipped++;
            return admit(tally, 'runs');
          }
          tally.succeeded++;
          return admit(tally, 'runs', event.durationMs);
        }
        case 'http.answered':
          if (event.status >= 400) return true;
          requests.succeeded++;
          return admit(requests, 'requests', event.durationMs);
        default:
          return true;
      }
    },
  };
}

interface Tally {
  succeeded: number;
  skipped: number;
  untold: number;
  readonly took: ReturnType<typeof createDurations>;
}

function newTally(): Tally {
  return { succeeded: 0, skipped: 0, untold: 0, took: createDurations() };
}

function tookOf({ untold, took }: Pick<Tally, 'untold' | 'took'>): Took {
  return {
    untold,
    p50Ms: took.quantile(0.5),
    p95Ms: took.quantile(0.95),
    withinMs: summaryAfterSeconds * 1_000,
  };
}

/** Up to here each ms is counted by itself, beyond it each twentieth. */
const exactMs = 32;
const growth = Math.log(1.05);

/** Counts durations, in whole ms, by their size: as exact as anybody reads them, and of a bounded size. */
export function createDurations() {
  const counts = new Map<number, number>();
  let total = 0;
  return {
    add(ms: number): void {
      const at = ms <= exactMs ? Math.max(0, Math.round(ms)) : exactMs + Math.ceil(Math.log(ms / exactMs) / growth);
      counts.set(at, (counts.get(at) ?? 0) + 1);
      total++;
    },
    /** The duration that such a share of them did not exceed; null where there are none. */
    quantile(share: number): number | null {
      let left = Math.ceil(share * total);
      for (const [at, count] of [...counts].sort(([a], [b]) => a - b)) {
        left -= count;
        if (left <= 0) return at <= exactMs ? at : Math.round(exactMs * Math.exp((at - exactMs) * growth));
      }
      return null;
    },
  };
}
