import type { Ticks } from '../client/index.js';
import type { detailsOf } from '../jobs/describe.js';
import type { EnqueueOptions } from '../jobs/enqueue-options.js';
import type { AuditView } from '../producers/audit.js';
import type { BackfillPlanView, BackfillView } from '../producers/backfill-views.js';
import type { Deployed, DeployPlan } from '../producers/deploy.js';
import type { Enqueued } from '../producers/enqueue.js';
import type { GoneJob } from '../producers/gone-jobs.js';
import type { JobPause } from '../producers/job-pause.js';
import type { PreviewInput, PreviewView } from '../producers/preview-view.js';
import type { ProcessList } from '../producers/processes.js';
import type { Put, PutOfMany } from '../producers/put.js';
import type { Redriven, RedriveOptions } from '../producers/redrive.js';
import type { RunState, RunView } from '../producers/run-view.js';
import type { ServiceView } from '../producers/service.js';
import type { ScheduleDetails, ScheduleView, TicksWanted } from '../producers/views.js';

export type JobDetails = ReturnType<typeof detailsOf>;

/** What there is to know of jobs: their definitions. */
export interface Definitions {
  jobs(): Promise<readonly JobDetails[]>;
  /** @throws `job-unknown` */
  job(name: string): Promise<JobDetails>;
}

/**
 * What commands do with Rondo, with Redis at hand or through an API: each command is written once. Names of who asks
 * may be left out; through an API they must be, since there the key says who.
 */
export interface Control {
  /** What it works on, in words: may be away, and come back. */
  readonly on: 'Redis' | 'the API';
  /** How many changes of their own kind it is sent at a time. */
  readonly atOnce: number;
  /** Whether an error means that it is away. */
  isAway(error: unknown): boolean;

  enqueue(job: string, payload: unknown, options: EnqueueOptions): Promise<Enqueued>;
  /** All or none. @param key under which the same runs, sent again within 24 h, are no others */
  enqueueMany(job: string, payloads: readonly unknown[], options: ManyOptions, key: string): Promise<void>;
  redrive(job: string, options: RedriveOptions): Promise<Redriven>;
  pauseJob(job: string, pause: { by?: string | undefined; note: string }): Promise<JobPause>;
  /** @returns whether it was paused */
  resumeJob(job: string): Promise<boolean>;
  pausedJobs(): Promise<readonly (JobPause & { readonly job: string })[]>;
  /** Those that the code declares no longer, and that have runs. */
  goneJobs(): Promise<readonly GoneJob[]>;

  workers(): Promise<ProcessList>;
  service(): Promise<ServiceView>;

  runs(wanted: RunsWanted): Promise<readonly RunView[]>;
  run(job: string, id: string): Promise<RunView & { readonly log: readonly string[] }>;
  cancelRun(job: string, id: string, by: string | undefined): Promise<'removed' | 'told'>;
  retryRun(job: string, id: string): Promise<void>;

  schedules(): Promise<{ schedules: readonly ScheduleView[]; unreadable: readonly string[] }>;
  schedule(id: string, ticks: number): Promise<ScheduleDetails>;
  ticks(id: string, wanted: TicksWanted): Promise<Ticks>;
  preview(id: string, input: PreviewInput): Promise<PreviewView>;
  put(id: string, fields: object, by: string | undefined): Promise<PutDone>;
  putMany(
    list: readonly unknown[],
    by: string | undefined,
    onProgress: (done: number) => void,
  ): Promise<readonly PutOfMany[]>;
  /** @returns by whom it is paused */
  pause(id: string, pause: PauseWanted): Promise<string>;
  /** @returns whether it was paused */
  resume(id: string): Promise<boolean>;
  trigger(id: string, options: { force?: boolean | undefined }): Promise<{ job: string; run: string }>;
  /** @returns the ticks that still run, since they were due: ISO */
  remove(id: string): Promise<readonly string[]>;
  /** Every schedule, as far as pausing and resuming all of them goes. */
  all(): Promise<{ schedules: readonly Pausable[]; unreadable: readonly string[] }>;
  /** Changes to many at once, which the audit log of a command has as one entry. */
  asOne<Result>(
    noted: { action: string; request?: object },
    work: (each: EachOfMany) => Promise<Result>,
  ): Promise<Result>;

  readonly backfills: BackfillControl;

  /** What would change for the store to hold what the code declares: this program's, or the API's. */
  plan(): Promise<DeployPlan>;
  /** Makes it so. @param yes though most of the app's schedules would go */
  apply(yes: boolean): Promise<Deployed>;
  /** The newest entries of the audit log. */
  audit(wanted: AuditWanted): Promise<readonly AuditView[]>;
}

/** Times in ms since the epoch. */
export interface AuditWanted {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly who?: string | undefined;
  readonly limit: number;
}

/** `at` in ms since the epoch: sent again later it is the same, where a delay would be another time. */
export type ManyOptions = EnqueueOptions & { readonly at?: number };

export interface RunsWanted {
  readonly job?: string | undefined;
  readonly state?: RunState | undefined;
  /** These two, and more than 1,000, of one job alone. */
  readonly schedule?: string | undefined;
  readonly code?: string | undefined;
  readonly limit: number;
}

export interface PutDone {
  readonly result: Put['result'];
  readonly schedule: ScheduleView;
}

export interface PauseWanted {
  readonly by?: string | undefined;
  readonly note: string;
  /** In ms since the epoch; null where somebody has to say. */
  readonly until: number | null;
}

export interface Pausable {
  readonly id: string;
  /** How long it is paused already, in ms since the epoch. */
  readonly pause: { readonly until: number | null } | null;
}

export type EachOfMany = Pick<Control, 'pause' | 'resume'>;

/** A range of ticks, in ms since the epoch. */
export interface BackfillAsked {
  readonly from: number;
  readonly to: number;
  readonly onlyMissed: boolean;
}

export interface BackfillControl {
  preview(id: string, asked: BackfillAsked): Promise<BackfillPlanView>;
  /** Begins one, or goes on with the same one; null where no tick is left. */
  begin(
    id: string,
    asked: BackfillAsked & { confirmed: boolean; by: string | undefined },
  ): Promise<{ backfill: BackfillView | null; resumed: boolean; plan: BackfillPlanView }>;
  /** Goes on with the one that was stopped last. @throws `backfill-unknown` */
  resume(id: string): Promise<BackfillView>;
  /** Until all runs are added, or `isStopped`: with Redis at hand, by adding them. */
  follow(backfill: BackfillView, watching: Watching): Promise<BackfillView>;
  /** What waits is removed: how many, or null where a producer does that. */
  cancel(id: string): Promise<readonly (BackfillView & { removed: number | null })[]>;
  list(id: string): Promise<readonly BackfillView[]>;
}

export interface Watching {
  readonly isStopped: () => boolean;
  readonly onStep: (added: number) => void;
}
