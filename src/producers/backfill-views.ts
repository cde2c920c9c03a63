import { type BackfillRecord, type BackfillState, readBackfills } from '../broker/backfills.js';
import type { Broker } from '../broker/queues.js';
import { isoOr, isoTime } from '../jobs/words.js';
import { storedOr } from './backfill.js';
import type { BackfillPlan, LeftOut } from './backfill-plan.js';

/** A backfill as people and services see it. Times are ISO. */
export interface BackfillView {
  readonly id: string;
  readonly schedule: string;
  readonly job: string;
  readonly state: BackfillState;
  readonly from: string;
  readonly to: string;
  readonly onlyMissed: boolean;
  readonly by: string;
  readonly createdAt: string;
  /** How many ticks it has, how many of their runs were added, and how many of those a worker has begun. */
  readonly count: number;
  readonly added: number;
  readonly started: number;
}

/** What a backfill would run, or runs. Times are ISO. */
export interface BackfillPlanView {
  readonly count: number;
  readonly first: string | null;
  readonly last: string | null;
  /** How many ticks of the range it leaves out, and why. */
  readonly leftOut: Readonly<Partial<Record<LeftOut, number>>>;
}

/** @throws RondoError `schedule-unknown` */
export async function listBackfills(broker: Broker, id: string): Promise<BackfillView[]> {
  const { specification } = await storedOr(broker, id);
  const { records } = await readBackfills(broker, { job: specification.job, schedule: id });
  return records.map(backfillView);
}

export function backfillView(record: BackfillRecord): BackfillView {
  const { id, schedule, job, state, from, to, onlyMissed, by, createdAt, count, fed, started } = record;
  return {
    ...{ id, schedule, job, state, from: isoTime(from), to: isoTime(to), onlyMissed, by },
    ...{ createdAt: isoTime(createdAt), count, added: fed, started },
  };
}

export function planView({ count, first, last, leftOut }: BackfillPlan): BackfillPlanView {
  const reasons = Object.entries(leftOut).filter(([, ticks]) => ticks > 0);
  return { count, first: isoOr(first), last: isoOr(last), leftOut: Object.fromEntries(reasons) };
}
