/** A run as people and services see it. Times are ISO. */
export interface RunView {
  readonly id: string;
  readonly job: string;
  readonly state: RunState;
  readonly origin: RunOrigin;
  readonly schedule: string | null;
  readonly tick: string | null;
  readonly attempts: number;
  readonly maxAttempts: number;
  readonly payload: unknown;
  /** Which version of the payload it is. */
  readonly version: number;
  readonly progress: unknown;
  readonly result: unknown;
  readonly error: string | null;
  /** Of an error of Rondo's: `run-quarantined`, `payload-invalid`, `run-timed-out`; null for a handler's own. */
  readonly code: string | null;
  readonly enqueuedAt: string;
  readonly dueAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

export const runStates = ['waiting', 'delayed', 'active', 'completed', 'failed'] as const;
export type RunState = (typeof runStates)[number];

/** How a run came: by its schedule, by Rondo for a tick that was missed, by a backfill, by somebody out of turn, or on its own. */
export type RunOrigin = 'scheduled' | 'caught-up' | 'backfilled' | 'triggered' | 'ad-hoc';
