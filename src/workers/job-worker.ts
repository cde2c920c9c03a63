import type { Job } from 'bullmq';
import { backfillOf } from '../broker/lane.js';
import { type Broker, forgetPast } from '../broker/queues.js';
import { tickOf } from '../broker/repeat.js';
import { RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import { retryDelay } from '../jobs/retry.js';
import { ActiveRun, factsOf, type Reach } from './active-run.js';
import { createCancels } from './cancels.js';
import { createDeadlines } from './deadlines.js';
import { createErrorReport } from './error-report.js';
import { abortGraceMs, execute } from './execute.js';
import type { Healthchecks } from './healthchecks.js';
import { createLane, laneOf } from './lane.js';
import { createMemories } from './memory.js';
import { cancelled, codeOf, failure, timedOut } from './outcome.js';
import { outdatedOnce } from './outdated.js';
import { PromptWorker } from './prompt-worker.js';
import { createRetention } from './retention.js';
import { createTicks, type SettledRun } from './ticks.js';
import { createTurns } from './turns.js';

export interface WorkerInput {
  readonly broker: Broker;
  readonly emit: Emit;
  readonly now: () => number;
  readonly random: () => number;
  /** What handlers enqueue with. */
  readonly enqueueBy: Reach['enqueueBy'];
  /** Told how the ticks of schedules go that have a dead man's switch. */
  readonly healthchecks?: Healthchecks;
  /** How long a run stays its worker's without a sign of life; half of it is how often one is given. In ms. */
  readonly lockMs?: number;
  /** How often somebody looks for runs whose worker gave none, in ms. */
  readonly stalledCheckMs?: number;
}

/** So many that BullMQ never comes first: how often a run may be lost with its process is decided when it starts. */
const maxStalls = 1_000_000;
/** BullMQ counts what ends as it ends it; beside the totals it keeps so many minutes, which Bull Board draws. */
const minutesCounted = 1_440;
const carried = Symbol('run');

/** BullMQ hands the same object to the processor, to its events and to the strategy of delays. */
interface CarriedJob extends Job {
  [carried]?: ActiveRun | undefined;
}

/**
 * What it carried, for the last time: V8's young collections keep jobs that have ended, and copy whatever hangs on them
 * (decision 25).
 */
function unload(job: CarriedJob): ActiveRun | undefined {
  const run = job[carried];
  job[carried] = undefined;
  return run;
}

/** The BullMQ worker of one job: hands its runs to `execute`, and tells what BullMQ has accepted of them. */
export function createJobWorker(definition: JobDefinition, input: WorkerInput) {
  const emit = outdatedOnce(input.emit);
  const { broker, now, random, healthchecks, lockMs = 30_000, stalledCheckMs = 5_000 } = input;
  const { name, retry, rateLimit, timeout } = definition;
  const active = createDeadlines(timeout, timeOut);
  const cancels = createCancels(broker, name, active.runs, cancel);
  const ticks = createTicks(broker, emit);
  const turns = createTurns(broker, ticks);
  const memories = createMemories(broker);
  const retention = createRetention();
  const reach = { memoryOf: memories.of, enqueueBy: input.enqueueBy, tracing: broker.tracing };
  const lane = createLane(broker, name, laneOf(definition.concurrency));
  const reportError = createErrorReport((error, times) => emit({ type: 'worker.error', job: name, error, times }));
  let stopping = false;

  // Two parameters, not three: BullMQ would make an AbortController for each run.
  function process(job: CarriedJob, token?: string): Promise<unknown> {
    return backfillOf(job) ? lane.pass(job, token, () => begin(job, token)) : begin(job, token);
  }

  function begin(job: CarriedJob, token?: string): Promise<unknown> {
    const told = healthchecks?.follow(job, emit) ?? emit;
    const run = new ActiveRun(job, token, definition, told, now(), decided, reach);
    job[carried] = run;
    active.add(run);
    cancels.begun();
    // One that was on its way to us when we were told to stop does not begin.
    if (stopping) run.stop({ type: 'interrupted' }, null, 0);
    return execute(run, ticks, turns, reportError);
  }

  const worker = new PromptWorker(name, process, broker.client, {
    prefix: broker.keys.queuePrefix(name),
    concurrency: definition.concurrency,
    ...(rateLimit && { limiter: { max: rateLimit.max, duration: rateLimit.per } }),
    lockDuration: lockMs,
    stalledInterval: stalledCheckMs,
    maxStalledCount: maxStalls,
    runRetryDelay: 1_000,
    metrics: { maxDataPoints: minutesCounted },
    settings: { repeatStrategy: broker.repeatStrategy, backoffStrategy },
    tracing: broker.tracing,
  });
  worker.on('completed', reportEnd);
  worker.on('failed', (job, error) => job && reportFailure(job, error));
  worker.on('lockRenewalFailed', loseLocks);
  worker.on('error', reportError);

  function backoffStrategy(failed: number, _type?: string, error?: Error, job?: unknown): number {
    const { retryAfterMs } = (error ?? {}) as { retryAfterMs?: unknown };
    const asked = typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? Math.round(retryAfterMs) : null;
    const delay = asked ?? retryDelay(failed, retry, random);
    const run = (job as CarriedJob | undefined)?.[carried];
    if (run) run.retryInMs = delay;
    return delay;
  }

  function decided(run: ActiveRun): void {
    active.delete(run);
    // The way of a backfilled run to its end is longer: another's would be before it.
    if (run.outcome?.type === 'succeeded' && !backfillOf(run.job)) retention.ends(run.job);
    if (run.tick && endsFor(run)) ticks.foretell(run.tick, settledRun(run));
  }

  function cancel(run: ActiveRun, by: string): void {
    const outcome = cancelled(by);
    run.stop(outcome, outcome.error, definition.cancelGrace);
  }

  function timeOut(run: ActiveRun): void {
    const outcome = timedOut(run);
    run.stop(outcome, outcome.error, abortGraceMs);
  }

  function loseLocks(ids: readonly string[]): void {
    for (const run of active.runs) {
      if (!ids.includes(run.facts.run)) continue;
      const error = new RondoError('run-lock-lost', `${name} ${run.facts.run}`);
      run.stop({ type: 'lock-lost', error }, error, abortGraceMs);
      emit({ type: 'run.lock-lost', ...run.facts });
    }
  }

  function reportEnd(job: CarriedJob): void {
    const run = unload(job);
    if (!run?.outcome) return;
    const { outcome, facts, durationMs } = run;
    const left = outcome.type === 'skipped' || outcome.type === 'coalesced';
    if (left) run.emit({ type: 'run.skipped', reason: outcome.reason, ...facts });
    else run.emit({ type: 'run.succeeded', durationMs, ...facts });
    if (run.hasMemory) memories.forget(run);
    settleTick(run);
  }

  /** Also told of runs that never reached us: an older release's workers let BullMQ fail those that took them down. */
  function reportFailure(job: CarriedJob, error: Error): void {
    const run = unload(job);
    if (run?.outcome?.type === 'cancelled') {
      emit({ type: 'run.cancelled', durationMs: run.durationMs, by: run.outcome.by, ...run.facts });
      settleTick(run);
      forgetPast(broker, name, run.facts.run).catch(() => {});
      return;
    }
    const code = codeOf(error);
    // Set aside, it has paid for its crashes, whoever retries it: Bull Board's button resets nothing.
    if (code === 'run-quarantined') forgetPast(broker, name, String(job.id)).catch(() => {});
    (run?.emit ?? emit)({
      type: 'run.failed',
      durationMs: run?.durationMs ?? 0,
      code,
      reason: error.message,
      error,
      retryInMs: job.finishedOn ? null : (run?.retryInMs ?? 0),
      ...(run?.facts ?? { ...factsOf(job), attempt: job.attemptsMade }),
    });
    if (!job.finishedOn) return;
    if (run) settleTick(run);
    else settleUnseen(job, error).catch(() => {}); // the producer finds it
  }

  function settleTick(run: ActiveRun): void {
    if (run.tick) ticks.settle(run.tick, settledRun(run));
    turns.end(run);
  }

  async function settleUnseen(job: Job, error: Error): Promise<void> {
    const found = tickOf(job) && (await ticks.claim(job, now()));
    if (!found || !('tick' in found)) return;
    const facts = { id: String(job.id), startedAt: now(), durationMs: 0, attempts: job.attemptsMade };
    ticks.settle(found.tick, { ...facts, outcome: failure(error) });
  }

  return {
    ready: () => worker.waitUntilReady(),
    /** What it executes, the oldest first. */
    runs: active.runs,
    /** Takes no new runs; resolves when those that run have ended. */
    close(): Promise<void> {
      stopping = true;
      return worker
        .close()
        .then(ticks.written)
        .finally(() => {
          active.stop();
          cancels.stop();
        });
    },
    /** Ends what runs, to be put back. */
    interrupt(): void {
      for (const run of active.runs) {
        const error = new RondoError('run-interrupted', `${name} ${run.facts.run}`);
        run.stop({ type: 'interrupted' }, error, abortGraceMs);
      }
    },
  };
}

/** Whether BullMQ will end the run with this attempt, where it accepts what came of it. */
function endsFor({ outcome, facts }: ActiveRun): boolean {
  switch (outcome?.type) {
    case 'succeeded':
    case 'skipped':
    case 'coalesced':
    case 'cancelled':
      return true;
    case 'failed':
      return !outcome.retryable || facts.attempt >= facts.maxAttempts;
    case 'timed-out':
      return facts.attempt >= facts.maxAttempts;
    default:
      return false;
  }
}

function settledRun({ facts, outcome, startedAtMs, durationMs }: ActiveRun): SettledRun {
  if (!outcome) throw new Error(`run ${facts.run} is not decided`);
  return { id: facts.run, outcome, startedAt: startedAtMs, durationMs, attempts: facts.attempt };
}
