import type { ErrorCode } from '../errors.js';
import type { AlertRule } from './alerts.js';

/** Which run a fact is about. */
export interface RunFacts {
  readonly job: string;
  readonly run: string;
  /** Counts from 1. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly schedule?: string;
  /** The nominal time of the tick, in ms since the epoch. */
  readonly tick?: number;
  /** From when its tick was due to when a worker took it first. Nothing for a backfilled one. */
  readonly latenessMs?: number;
}

/**
 * Facts, told as they happen. Log, metrics, ledger and alerts subscribe and have the opinions.
 * Durations and delays in ms.
 */
export type RondoEvent =
  | ({ readonly type: 'run.started' } & RunFacts)
  | ({
      readonly type: 'run.logged';
      readonly level: LogLevel;
      readonly facts: object;
      readonly message: string;
    } & RunFacts)
  | ({ readonly type: 'run.succeeded'; readonly durationMs: number } & RunFacts)
  | ({ readonly type: 'run.skipped'; readonly reason: string } & RunFacts)
  | ({
      readonly type: 'run.failed';
      readonly durationMs: number;
      readonly code: ErrorCode | null;
      readonly reason: string;
      readonly error: Error;
      /** Null where the run has failed for good. */
      readonly retryInMs: number | null;
    } & RunFacts)
  | ({ readonly type: 'run.cancelled'; readonly durationMs: number; readonly by: string } & RunFacts)
  /** It waits for its turn: another run of its schedule executes. */
  | ({ readonly type: 'run.parked' } & RunFacts)
  | ({ readonly type: 'run.interrupted'; readonly durationMs: number } & RunFacts)
  | ({ readonly type: 'run.lock-lost' } & RunFacts)
  | ({ readonly type: 'run.stray-error'; readonly error: unknown } & RunFacts)
  | {
      /** Runs of the job carry a version of the payload that this worker's code does not know. */
      readonly type: 'worker.outdated';
      readonly job: string;
      readonly version: number;
      readonly knows: number;
    }
  | {
      /** Runs wait for a job that the code of the app declares no longer. */
      readonly type: 'job.gone';
      readonly job: string;
      readonly app: string;
      readonly waiting: number;
      readonly delayed: number;
    }
  | { readonly type: 'worker.error'; readonly job: string; readonly error: Error; readonly times: number }
  | { readonly type: 'process.stray-rejection'; readonly error: unknown }
  | {
      readonly type: 'process.crashed';
      readonly code: string | null;
      readonly reason: string;
      readonly error: unknown;
    }
  | { readonly type: 'process.stop-failed'; readonly error: unknown }
  | { readonly type: 'redis.away'; readonly address: string; readonly reason: string }
  | { readonly type: 'redis.back'; readonly address: string; readonly awayMs: number }
  /** What was traced is lost until it is back; told once. */
  | { readonly type: 'collector.away'; readonly address: string; readonly reason: string }
  | { readonly type: 'collector.back'; readonly address: string; readonly awayMs: number; readonly lost: number }
  | {
      readonly type: 'http.answered';
      readonly method: string;
      readonly path: string;
      readonly status: number;
      readonly durationMs: number;
      /** The name of the key that asked. */
      readonly key: string | null;
    }
  | { readonly type: 'http.failed'; readonly error: unknown }
  /** Redis did not count requests: they pass uncounted. Told every ten seconds at most. */
  | { readonly type: 'limits.uncounted'; readonly reason: string }
  | {
      /** A change was made, and is not in the audit log. */
      readonly type: 'audit.failed';
      readonly who: string | null;
      readonly from: string;
      readonly action: string;
      readonly target: string | null;
      readonly error: unknown;
    }
  /** The file of keys was read again. */
  | { readonly type: 'keys.changed'; readonly keys: number }
  | { readonly type: 'keys.refused'; readonly reason: string }
  | { readonly type: 'producer.leading'; readonly app: string; readonly release: string }
  | { readonly type: 'producer.standby'; readonly app: string }
  | {
      readonly type: 'producer.outdated';
      readonly app: string;
      readonly release: string;
      /** The release that keeps the schedules in line instead. */
      readonly newer: string;
    }
  | { readonly type: 'producer.failed'; readonly error: unknown }
  | {
      readonly type: 'schedules.reconciled';
      readonly added: number;
      readonly changed: number;
      readonly removed: number;
      readonly healed: number;
      readonly unchanged: number;
      readonly durationMs: number;
    }
  | {
      readonly type: 'schedule.healed';
      readonly schedule: string;
      readonly job: string;
      readonly reason: string;
      readonly next: number | null;
    }
  | { readonly type: 'schedule.failed'; readonly schedule: string; readonly job: string; readonly error: unknown }
  | { readonly type: 'schedule.conflict'; readonly schedule: string; readonly reason: string }
  | {
      /** Ticks that are due, or were cancelled before they were, and that no run is for, from the first to the last. */
      readonly type: 'ticks.left';
      readonly schedule: string;
      readonly job: string;
      readonly from: number;
      readonly to: number;
      readonly count: number;
      readonly outcome: string;
      readonly reason: string;
    }
  | {
      /** Ticks that were cancelled before they were due are ticks no longer: the schedule's times have changed, or it goes. */
      readonly type: 'ticks.taken-back';
      readonly schedule: string;
      readonly job: string;
      readonly ticks: readonly number[];
    }
  | {
      /** A tick runs before it is due: somebody promoted it. */
      readonly type: 'tick.early';
      readonly schedule: string;
      readonly job: string;
      readonly tick: number;
      readonly earlyMs: number;
    }
  | {
      /** Ticks whose runs were added, since BullMQ's chain had left them behind. */
      readonly type: 'ticks.caught-up';
      readonly schedule: string;
      readonly job: string;
      readonly ticks: readonly number[];
    }
  | {
      /** A producer has added the runs of a backfill whose feeder was gone, or had left that to it. */
      readonly type: 'backfill.fed';
      readonly schedule: string;
      readonly job: string;
      readonly backfill: string;
      readonly added: number;
      readonly count: number;
    }
  | {
      /** An alert begins, or is over; it is sent as well. */
      readonly type: 'alert.started' | 'alert.ended';
      readonly rule: AlertRule;
      readonly job: string;
      readonly schedule?: string;
      readonly reason: string;
    }
  | { readonly type: 'alerts.failed'; readonly error: unknown }
  /** A dead man's switch could not be pinged. */
  | { readonly type: 'ping.failed'; readonly ping: string; readonly host: string; readonly reason: string }
  | { readonly type: 'schedule.uncomputable'; readonly schedule: string; readonly reason: string }
  | { readonly type: 'schedules.removal-refused'; readonly schedules: readonly string[]; readonly owned: number };

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type Emit = (event: RondoEvent) => void;
