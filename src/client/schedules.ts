import type { TickOutcome } from '../broker/tick-entry.js';
import type { Duration } from '../duration.js';
import type { ScheduleOptions } from '../jobs/define-job.js';
import type { BackfillPlanView, BackfillView } from '../producers/backfill-views.js';
import type { Deployed, DeployPlan } from '../producers/deploy.js';
import type { PreviewView } from '../producers/preview-view.js';
import type { Health, ScheduleDetails, ScheduleView, TickView } from '../producers/views.js';
import type { CallOptions, Transport } from './transport.js';
import type { JobList, JobName, PayloadOf } from './typed.js';

/** Schedules over HTTP. Each call is sent again after a network error, save `trigger`. */
export interface ScheduleClient<Jobs extends JobList> {
  /** One page, in the order of ids; `next` is the `cursor` of the page that follows, or null. */
  list(query?: ScheduleQuery<Jobs>, options?: CallOptions): Promise<SchedulePage>;
  get(id: string, options?: CallOptions): Promise<ScheduleDetails>;
  /** Creates a schedule, or changes one that was put before; that of code is refused, `schedule-declared`. */
  put(id: string, schedule: PutSchedule<Jobs>, options?: CallOptions): Promise<ScheduleView>;
  remove(id: string, options?: CallOptions): Promise<void>;
  /** Stops its ticks, until it is resumed or until a time. */
  pause(id: string, options?: PauseOptions & CallOptions): Promise<ScheduleView>;
  resume(id: string, options?: CallOptions): Promise<ScheduleView>;
  /** Starts a run of it now, which is no tick. Sent once: two would be two runs. */
  trigger(id: string, options?: TriggerOptions & CallOptions): Promise<TriggeredRun>;
  /** What became of its ticks, oldest first, the newest 20 entries unless told. */
  ticks(id: string, query?: TicksQuery, options?: CallOptions): Promise<Ticks>;
  preview(
    id: string,
    query?: { readonly count?: number; readonly from?: Moment },
    options?: CallOptions,
  ): Promise<PreviewView>;
  /** Runs the ticks of a range that have no run. The same range again, before all are added, is the same backfill. */
  backfill(id: string, range: BackfillRange, options?: CallOptions): Promise<BackfillAnswer>;
  /** What a backfill would run; nothing is written. */
  previewBackfill(id: string, range: BackfillRange, options?: CallOptions): Promise<BackfillPlanView>;
  backfills(id: string, options?: CallOptions): Promise<readonly BackfillView[]>;
  /** Cancels those under way: what waits is removed, what runs goes on. */
  cancelBackfills(id: string, options?: CallOptions): Promise<readonly BackfillView[]>;
  /** What would change for the store to hold what the code of the API's process declares. */
  plan(options?: CallOptions): Promise<DeployPlan>;
  /** Makes those changes; with `yes` though most of the app's schedules would go. */
  apply(options?: CallOptions & { readonly yes?: boolean }): Promise<Deployed>;
}

/** ISO with a zone, or a Date. */
export type Moment = string | Date;

export interface ScheduleQuery<Jobs extends JobList = JobList> {
  readonly job?: JobName<Jobs>;
  /** `api`, or `code:<app>`. */
  readonly owner?: string;
  readonly health?: Health;
  /** What id, job or description has in it. */
  readonly text?: string;
  /** 100 unless told, 1,000 at most. */
  readonly limit?: number;
  readonly cursor?: string;
}

export interface SchedulePage {
  readonly schedules: readonly ScheduleView[];
  readonly next: string | null;
  /** Ids whose entry the API's release cannot read. */
  readonly unreadable: readonly string[];
}

type PutOf<Jobs extends JobList, Name> = Name extends string
  ? { readonly job: Name } & Exclude<
      DistributedOmit<ScheduleOptions<PayloadOf<Jobs, Name>>, 'id' | 'exclude'>,
      { next: unknown }
    > & {
        /** Names of calendars, or some in place. */
        readonly exclude?: readonly unknown[];
      }
  : never;

type DistributedOmit<Union, Keys extends PropertyKey> = Union extends unknown ? Omit<Union, Keys> : never;

/** The job's name and the fields of a schedule in a definition, without `next`, which is code. */
export type PutSchedule<Jobs extends JobList> = PutOf<Jobs, JobName<Jobs>>;

export interface PauseOptions {
  /** Why, for others to read. */
  readonly note?: string;
  /** For so long, or until then. */
  readonly until?: Duration | Date | string;
}

export interface TriggerOptions {
  /** Even while another run executes, whatever the schedule says of overlap. */
  readonly force?: boolean;
}

export interface TriggeredRun {
  readonly id: string;
  readonly job: string;
}

export interface TicksQuery {
  readonly from?: Moment;
  readonly to?: Moment;
  readonly outcome?: readonly TickOutcome[];
  readonly limit?: number;
}

export interface Ticks {
  readonly schedule: string;
  readonly job: string;
  /** When the schedule was removed; null where it is there. */
  readonly removed: string | null;
  readonly knownFrom: string | null;
  readonly unreadable: number;
  readonly ticks: readonly TickView[];
}

export interface BackfillRange {
  readonly from: Moment;
  readonly to: Moment;
  /** Only ticks that the ledger knows to have had no run. */
  readonly onlyMissed?: boolean;
  /** More than 100,000 ticks are meant. */
  readonly confirm?: boolean;
}

export interface BackfillAnswer {
  /** Null where no tick is left. */
  readonly backfill: BackfillView | null;
  readonly plan: BackfillPlanView;
}

export function createScheduleClient<Jobs extends JobList>(send: Transport): ScheduleClient<Jobs> {
  const at = (id: string, rest = '') => `/schedules/${encodeURIComponent(id)}${rest}`;
  const get = (path: string, options?: CallOptions, query = {}) =>
    send({ method: 'GET', path, query, repeatable: true, ...options });
  const change = (method: 'POST' | 'PUT' | 'DELETE', path: string, options?: CallOptions, body?: unknown) =>
    send({ method, path, body, repeatable: true, ...options });
  const ofCall = ({ timeoutMs, signal }: CallOptions) => ({ timeoutMs, signal });

  const calls = {
    list: (query: ScheduleQuery = {}, options?: CallOptions) => get('/schedules', options, query),
    get: (id: string, options?: CallOptions) => get(at(id), options),
    put: (id: string, schedule: object, options?: CallOptions) => change('PUT', at(id), options, schedule),
    remove: (id: string, options?: CallOptions) =>
      send({ method: 'DELETE', path: at(id), repeatable: true, ifGone: removedBefore, ...options }),
    pause: (id: string, { note, until, ...options }: PauseOptions & CallOptions = {}) =>
      change('POST', at(id, '/pause'), options, { note, until: typeof until === 'number' ? `${until}ms` : until }),
    resume: (id: string, options?: CallOptions) => change('POST', at(id, '/resume'), options, {}),
    trigger: (id: string, { force, ...options }: TriggerOptions & CallOptions = {}) =>
      send({ method: 'POST', path: at(id, '/trigger'), body: { force }, repeatable: false, ...ofCall(options) }),
    ticks: (id: string, { from, to, outcome, limit }: TicksQuery = {}, options?: CallOptions) =>
      get(at(id, '/ticks'), options, { from: iso(from), to: iso(to), outcome: outcome?.join(','), limit }),
    preview: (id: string, { count, from }: { count?: number; from?: Moment } = {}, options?: CallOptions) =>
      get(at(id, '/preview'), options, { count, from: iso(from) }),
    backfill: (id: string, range: BackfillRange, options?: CallOptions) =>
      change('POST', at(id, '/backfill'), options, range),
    async previewBackfill(id: string, range: BackfillRange, options?: CallOptions) {
      const answer = await change('POST', at(id, '/backfill'), options, { ...range, dryRun: true });
      const { dryRun: _, ...plan } = answer as BackfillPlanView & { dryRun: true };
      return plan;
    },
    backfills: async (id: string, options?: CallOptions) => backfillsIn(await get(at(id, '/backfill'), options)),
    cancelBackfills: async (id: string, options?: CallOptions) =>
      backfillsIn(await change('DELETE', at(id, '/backfill'), options)),
    plan: (options?: CallOptions) => get('/plan', options),
    apply({ yes, ...options }: CallOptions & { yes?: boolean } = {}) {
      const call = { method: 'POST', path: '/plan/apply', body: { yes }, repeatable: true, tryMs: applyMs } as const;
      return send({ ...call, ...options, timeoutMs: options.timeoutMs ?? applyMs });
    },
  };
  // What the API answers is what it documents: the types are those that it makes its answers of.
  return calls as unknown as ScheduleClient<Jobs>;
}

const removedBefore = { code: 'schedule-unknown', answer: null };
/** The API takes up to a minute for many thousands, in ms. */
const applyMs = 65_000;

export const iso = (moment: Moment | undefined) => (moment instanceof Date ? moment.toISOString() : moment);
const backfillsIn = (answer: unknown) => (answer as { backfills: readonly BackfillView[] }).backfills;
