import type { RondoEvent, RunFacts } from '../jobs/events.js';
import { type Buckets, createBuckets, type Family } from './families.js';
import { type AttemptOutcome, attemptOutcomes, outcomeOf } from './outcomes.js';

/** Upper ends of buckets, in seconds. */
const durations = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800];
const latenesses = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1_800, 7_200];
const answers = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What this process has seen of one job. */
interface Tally {
  readonly attempts: Record<AttemptOutcome, number>;
  readonly succeeded: Buckets;
  /** Of attempts that began and did not succeed. */
  readonly failed: Buckets;
  readonly lateness: Buckets;
}

/** A job whose attempts this process may see. */
export interface Expected {
  readonly name: string;
  readonly schedules: readonly unknown[];
}

/** What one process has seen since it started: numbers that the events of its parts add to. */
export function createProcessMetrics() {
  const jobs = new Map<string, Tally>();
  const healed = new Map<string, number>();
  const http = new Map<string, { labels: { method: string; status: number }; took: Buckets }>();

  function tallyOf(job: string): Tally {
    const known = jobs.get(job);
    if (known) return known;
    const tally = newTally();
    jobs.set(job, tally);
    return tally;
  }

  function noteAttempt(outcome: AttemptOutcome, event: RunFacts & { durationMs?: number }): void {
    const tally = tallyOf(event.job);
    tally.attempts[outcome]++;
    if (event.durationMs === undefined || outcome === 'interrupted') return;
    (outcome === 'succeeded' ? tally.succeeded : tally.failed).add(event.durationMs / 1_000);
  }

  /** Once for each tick: when its first attempt begins, or is left. */
  function noteLateness({ job, attempt, latenessMs }: RunFacts): void {
    if (attempt === 1 && latenessMs !== undefined) tallyOf(job).lateness.add(latenessMs / 1_000);
  }

  function noteAnswer({ method, status, durationMs }: Extract<RondoEvent, { type: 'http.answered' }>): void {
    const key = `${method} ${status}`;
    const known = http.get(key) ?? { labels: { method, status }, took: createBuckets(answers) };
    http.set(key, known);
    known.took.add(durationMs / 1_000);
  }

  function expectAttempts({ name, schedules }: Expected): void {
    const { succeeded, failed, lateness } = tallyOf(name);
    succeeded.expect();
    failed.expect();
    if (schedules.length > 0) lateness.expect();
  }

  return {
    note(event: RondoEvent): void {
      if (event.type === 'http.answered') noteAnswer(event);
      if (event.type === 'schedule.healed') healed.set(event.job, (healed.get(event.job) ?? 0) + 1);
      if (event.type === 'run.started' || event.type === 'run.skipped') noteLateness(event);
      const outcome = outcomeOf(event);
      if (outcome) noteAttempt(outcome, event as RunFacts);
    },
    /** Lets totals of jobs be told before they rise: what first appears as 1 looks to Prometheus as if it never rose. */
    expectAttempts,
    expectHealing: (job: string) => void healed.set(job, 0),
    families: (): Family[] => [
      {
        name: 'rondo_attempts_total',
        help: 'Attempts that this process has ended, by what became of them',
        type: 'counter',
        read: () =>
          each(jobs, ({ attempts }, job_name) =>
            attemptOutcomes.map((outcome) => ({ labels: { job_name, outcome }, value: attempts[outcome] })),
          ),
      },
      {
        name: 'rondo_attempt_duration_seconds',
        help: 'How long attempts took in this process',
        type: 'histogram',
        read: () =>
          each(jobs, ({ succeeded, failed }, job_name) => [
            ...succeeded.samples({ job_name, outcome: 'succeeded' }),
            ...failed.samples({ job_name, outcome: 'failed' }),
          ]),
      },
      {
        name: 'rondo_tick_lateness_seconds',
        help: 'From when ticks were due to when this process took them',
        type: 'histogram',
        read: () => each(jobs, ({ lateness }, job_name) => lateness.samples({ job_name })),
      },
      {
        name: 'rondo_schedules_healed_total',
        help: 'Broken schedules that this process has put right',
        type: 'counter',
        read: () => each(healed, (value, job_name) => [{ labels: { job_name }, value }]),
      },
      {
        name: 'rondo_http_request_duration_seconds',
        help: 'How long requests to this process took',
        type: 'histogram',
        read: () => [...http.values()].flatMap(({ labels, took }) => took.samples(labels)),
      },
    ],
  };
}

function newTally(): Tally {
  const none = attemptOutcomes.map((outcome) => [outcome, 0]);
  return {
    attempts: Object.fromEntries(none) as Tally['attempts'],
    succeeded: createBuckets(durations),
    failed: createBuckets(durations),
    lateness: createBuckets(latenesses),
  };
}

function each<Value, Answer>(of: ReadonlyMap<string, Value>, tell: (value: Value, name: string) => Answer[]): Answer[] {
  return [...of].flatMap(([name, value]) => tell(value, name));
}
