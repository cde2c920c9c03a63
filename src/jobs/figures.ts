/** What a store says of itself at a moment, in numbers: what is the same whichever process asks. */
export interface Figures {
  readonly jobs: readonly JobFigures[];
  /** For how long the lead of the app's producers is held yet, in ms; 0 where nobody leads. */
  readonly leaseMs: number;
  /** How many schedules have an entry that this release cannot read. */
  readonly unreadable: number;
}

export interface JobFigures {
  readonly job: string;
  readonly paused: boolean;
  /** Runs by state. */
  readonly runs: Readonly<Record<RunState, number>>;
  /** Since when the oldest run waits that a worker could take, in ms; 0 where none does. */
  readonly oldestWaitingMs: number;
  /** Runs that have ended for good, since they are counted. */
  readonly ended: { readonly completed: number; readonly failed: number };
  /** Ticks by what became of them, since they are counted. */
  readonly ticks: Readonly<Record<string, number>>;
  /** Its schedules by how they are; nothing for one without schedules. */
  readonly schedules: Readonly<Record<string, number>>;
}

type RunState = 'waiting' | 'delayed' | 'active' | 'completed' | 'failed';
