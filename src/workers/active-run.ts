import type { Job } from 'bullmq';
import { backfillOf } from '../broker/lane.js';
import { versionOf } from '../broker/queues.js';
import { caughtUpId, tickOf } from '../broker/repeat.js';
import type { RunTracing } from '../broker/tracing.js';
import type { EnqueueRun, JobContext, JobLogger, LogLine, ParentRun } from '../jobs/context.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Emit, LogLevel, RunFacts } from '../jobs/events.js';
import type { RunMemory } from '../jobs/memory.js';
import { redactorOf } from '../jobs/payload.js';
import type { Redactor } from '../jobs/secrets.js';
import { failure, type Outcome, success, timedOut } from './outcome.js';
import type { ClaimedTick } from './ticks.js';

type OnDecided = (run: ActiveRun) => void;

/** What a handler reaches Redis with, made for runs that ask for it. */
export interface Reach {
  readonly memoryOf: (run: ActiveRun) => RunMemory;
  readonly enqueueBy: (parent: ParentRun) => EnqueueRun;
  /** Null where nothing is traced. */
  readonly tracing: RunTracing | null;
}

/** One attempt under way in this process: what it is about, and the means to end it early. */
export class ActiveRun {
  readonly job: Job;
  /** BullMQ's proof that the run is ours. */
  readonly token: string | undefined;
  readonly definition: JobDefinition;
  readonly emit: Emit;
  /** Read at once: BullMQ raises the job's count of attempts before it tells the end of one. */
  facts: RunFacts;
  /** The tick that the run has claimed. */
  tick: ClaimedTick | null = null;
  /** That of the turn of its schedule, under a policy of overlap. */
  fence: number | null = null;
  /** Whether its handler was called. */
  begun = false;
  readonly startedAt = performance.now();
  /** The same by the clock, in ms since the epoch. */
  readonly startedAtMs: number;
  /** How long until the next attempt, in ms, once BullMQ has asked. */
  retryInMs: number | null = null;
  /** These two stand once the attempt is decided. */
  outcome: Outcome | null = null;
  durationMs = 0;
  ended = false;
  readonly #onDecided: OnDecided;
  readonly #reach: Reach;
  #memory: RunMemory | null = null;
  #enqueue: EnqueueRun | null = null;
  #redactor: Redactor | null = null;
  #controller: AbortController | null = null;
  #stopped: { outcome: Outcome; reason: unknown } | null = null;
  #end: ((outcome: Outcome) => void) | null = null;

  /** @param onDecided is told as soon as the outcome stands, before BullMQ has it */
  constructor(
    job: Job,
    token: string | undefined,
    definition: JobDefinition,
    emit: Emit,
    now: number,
    onDecided: OnDecided,
    reach: Reach,
  ) {
    this.startedAtMs = now;
    this.job = job;
    this.token = token;
    this.definition = definition;
    this.emit = emit;
    this.facts = factsOf(job);
    this.#onDecided = onDecided;
    this.#reach = reach;
  }

  /** Makes the run the one of a tick: not always the one that it is named after. */
  claimed(tick: ClaimedTick): void {
    this.tick = tick;
    const latenessMs = this.#latenessOf(tick);
    this.facts = { ...this.facts, tick: tick.time, ...(latenessMs !== null && { latenessMs }) };
  }

  /** One that was caught up was claimed when its run was added, and has waited since. */
  #latenessOf({ schedule, time, due, claimedAt }: ClaimedTick): number | null {
    if (backfillOf(this.job)) return null;
    const waited = this.facts.attempt === 1 && this.facts.run === caughtUpId(schedule, time);
    return Math.max(0, (waited ? this.startedAtMs : claimedAt) - due);
  }

  /** Closes the attempt. A handler that blocks the event loop also blocks the timer that would have stopped it. */
  decide(found: Outcome): Outcome {
    const tookMs = performance.now() - this.startedAt;
    const late = found.type === 'succeeded' && tookMs > this.definition.timeout;
    const outcome = withoutSecrets(late ? timedOut(this) : found, this);
    this.durationMs = Math.round(tookMs);
    this.outcome = outcome;
    this.#onDecided(this);
    return outcome;
  }

  /** Hides the secrets of its payload in what leaves the handler. */
  get redactor(): Redactor {
    this.#redactor ??= redactorOf(this.definition, this.job.data, versionOf(this.job));
    return this.#redactor;
  }

  get memory(): RunMemory {
    this.#memory ??= this.#reach.memoryOf(this);
    return this.#memory;
  }

  /** Whether its handler looked for what it remembers. */
  get hasMemory(): boolean {
    return this.#memory !== null;
  }

  /** The same for the whole attempt: it counts what was asked for. */
  get traceparent(): string | null {
    return this.#reach.tracing?.traceparent() ?? null;
  }

  get enqueue(): EnqueueRun {
    const { job, run: id } = this.facts;
    this.#enqueue ??= this.#reach.enqueueBy({ job, id, enqueuedAt: this.job.timestamp });
    return this.#enqueue;
  }

  /** Made only for handlers that look at it: a controller for each run costs a tenth of the throughput. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#stopped) this.#controller.abort(this.#stopped.reason);
    }
    return this.#controller.signal;
  }

  /**
   * Calls the handler and waits for it, or for `stop` to give it up. Few promises on purpose: each costs a short run
   * a measurable share.
   */
  race(handler: () => unknown): Promise<Outcome> {
    if (this.#stopped) return Promise.resolve(this.#stopped.outcome);
    return new Promise((resolve) => {
      this.#end = (outcome) => {
        this.ended = true;
        resolve(outcome);
      };
      const end = (outcome: Outcome) => this.#end?.(this.#judge(outcome));
      try {
        const result = handler();
        if (isThenable(result))
          result.then(
            (value) => end(success(value)),
            (thrown) => end(failure(thrown)),
          );
        else end(success(result));
      } catch (thrown) {
        end(failure(thrown));
      }
    });
  }

  /** Aborts the signal; a handler that has not ended `graceMs` later is given up. The first call decides. */
  stop(outcome: Outcome, reason: unknown, graceMs: number): void {
    if (this.#stopped || this.ended) return;
    this.#stopped = { outcome, reason };
    this.#controller?.abort(reason);
    // Who never looked at the signal will not react to it either.
    if (this.#controller && graceMs > 0) setTimeout(() => this.#end?.(outcome), graceMs).unref();
    else this.#end?.(outcome);
  }

  /** Work that was done before the process stopped is done; what ends otherwise after a stop ended because of it. */
  #judge(outcome: Outcome): Outcome {
    if (!this.#stopped) return outcome;
    const done = this.#stopped.outcome.type === 'interrupted' && outcome.type === 'succeeded';
    return done ? outcome : this.#stopped.outcome;
  }
}

/** What the handler gets. Its parts are made when they are looked at. */
export class RunContext<Payload> implements JobContext<Payload> {
  readonly #run: ActiveRun;
  readonly payload: Payload;

  constructor(run: ActiveRun, payload: Payload) {
    this.#run = run;
    this.payload = payload;
  }

  get run() {
    const { job, run, attempt, maxAttempts } = this.#run.facts;
    const { fence, job: carried } = this.#run;
    return { id: run, job, attempt, maxAttempts, enqueuedAt: new Date(carried.timestamp), fence };
  }

  get tick() {
    const { schedule, tick } = this.#run.facts;
    return schedule !== undefined && tick !== undefined ? { schedule, time: new Date(tick) } : null;
  }

  get signal(): AbortSignal {
    return this.#run.signal;
  }

  get deadline(): Date {
    const { job, definition } = this.#run;
    return new Date((job.processedOn ?? Date.now()) + definition.timeout);
  }

  get traceparent(): string | null {
    return this.#run.traceparent;
  }

  get log(): JobLogger {
    const run = this.#run;
    return {
      debug: lineTo(run, 'debug'),
      info: lineTo(run, 'info'),
      warn: lineTo(run, 'warn'),
      error: lineTo(run, 'error'),
    };
  }

  get progress() {
    const { job, redactor } = this.#run;
    return (value: number | Record<string, unknown>) => job.updateProgress(redactor.value(value) as typeof value);
  }

  get enqueue() {
    return this.#run.enqueue;
  }

  get once() {
    return this.#run.memory.once;
  }

  get checkpoint() {
    return this.#run.memory.checkpoint;
  }
}

/** What is stored, told and written of an attempt quotes no secret: here, once, before anybody has it. */
function withoutSecrets(outcome: Outcome, { definition, redactor }: ActiveRun): Outcome {
  if (definition.secret.length === 0) return outcome;
  if (outcome.type === 'succeeded') return { ...outcome, result: redactor.value(outcome.result) };
  return outcome.type === 'failed' ? { ...outcome, error: redactor.error(outcome.error) } : outcome;
}

export function factsOf(job: Job): RunFacts {
  const tick = tickOf(job);
  return {
    job: job.queueName,
    run: String(job.id),
    attempt: job.attemptsMade + 1,
    maxAttempts: job.opts.attempts ?? 1,
    ...(tick && { schedule: tick.schedule, tick: tick.time }),
  };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

function lineTo(run: ActiveRun, level: LogLevel): LogLine {
  return (first: string | Record<string, unknown>, second?: string) => {
    const { text, value, error } = run.redactor;
    const given = typeof first === 'string' ? {} : first;
    const redacted = (fact: unknown) => (fact instanceof Error ? error(fact) : value(fact));
    const facts = Object.fromEntries(Object.entries(given).map(([name, fact]) => [text(name), redacted(fact)]));
    const message = text(typeof first === 'string' ? first : (second ?? ''));
    run.emit({ type: 'run.logged', level, facts, message, ...run.facts });
    if (level === 'debug') return;
    const shown = [
      new Date().toISOString(),
      level,
      message,
      Object.keys(facts).length > 0 ? JSON.stringify(facts) : '',
    ];
    // A line that Redis did not take is in the process's log all the same.
    run.job.log(shown.filter(Boolean).join(' ')).catch(() => {});
  };
}
