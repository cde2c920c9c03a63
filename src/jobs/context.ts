/** What a handler gets: one argument that says what to do, which run this is, and until when. */
export interface JobContext<Payload = unknown> {
  readonly payload: Payload;
  readonly run: {
    readonly id: string;
    readonly job: string;
    /** Counts from 1. */
    readonly attempt: number;
    readonly maxAttempts: number;
    readonly enqueuedAt: Date;
    /**
     * Under a policy of overlap a number that rises with every start of a run of the schedule: a system that refuses
     * a lower one than it has seen is safe from a process that froze, and wakes up when another has taken over. Null
     * where runs may overlap.
     */
    readonly fence: number | null;
  };
  /** The tick that this run is for; null for an ad-hoc run. */
  readonly tick: { readonly schedule: string; readonly time: Date } | null;
  /** Aborts at the deadline, when the process stops, and when the hold on the run is lost; `reason` says which. */
  readonly signal: AbortSignal;
  readonly deadline: Date;
  /** Lines go to the process's log and, from `info` up, to the run's own, 1,000 kept. */
  readonly log: JobLogger;
  /** Reports how far the run is, as a share of 0 to 100 or as facts of your own. Resolves when it is stored. */
  progress(value: number | Record<string, unknown>): Promise<void>;
}

/** Pino's way of calling: a message, or facts and a message. */
export interface JobLogger {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

export interface LogLine {
  (message: string): void;
  (facts: Record<string, unknown>, message?: string): void;
}
