import type { Broker } from '../broker/queues.js';
import { chunks } from './chunks.js';
import type { Stored } from './plan.js';
import { readStore, readStored, unknownSchedule } from './store.js';
import { type Health, type ScheduleView, viewSchedules } from './views.js';

export interface ScheduleQuery {
  readonly job?: string;
  /** `api` or `code:<app>`. */
  readonly owner?: string;
  readonly health?: Health;
  /** What the id, the job's name or the description has in it, in small letters or large. */
  readonly text?: string;
  /** Those whose id comes after this one. */
  readonly after?: string;
  readonly limit: number;
  /** Of which jobs the asker may know. */
  readonly mayUse?: (job: string) => boolean;
}

export interface SchedulePage {
  /** In the order of their ids. */
  readonly schedules: readonly ScheduleView[];
  /** The last id of this page; null where nothing follows. */
  readonly last: string | null;
  /** Ids of all schedules whose entry makes no sense to this release. */
  readonly unreadable: readonly string[];
}

/** Some of the schedules: only where a health is asked for is more of them looked at than the page holds. */
export async function findSchedules(broker: Broker, query: ScheduleQuery, now: number): Promise<SchedulePage> {
  const { health, after = '', limit } = query;
  const { stored, unreadable } = await readStore(broker);
  const candidates = [...stored.values()]
    .filter((schedule) => schedule.id > after && matches(schedule, query))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const found: ScheduleView[] = [];
  const senseless = new Set(unreadable);
  for (const batch of chunks(candidates, health ? 1_000 : limit + 1)) {
    const seen = await viewSchedules(broker, batch, now);
    found.push(...seen.schedules.filter((view) => !health || view.health === health));
    for (const id of seen.unreadable) senseless.add(id);
    if (found.length > limit) break;
  }
  const schedules = found.slice(0, limit);
  const last = found.length > limit ? (schedules.at(-1)?.id ?? null) : null;
  return { schedules, last, unreadable: [...senseless].sort() };
}

/** @throws RondoError `schedule-unknown`, also where its entry makes no sense to this release */
export async function viewSchedule(broker: Broker, id: string, now: number): Promise<ScheduleView> {
  const stored = await readStored(broker, id);
  const [view] = stored ? (await viewSchedules(broker, [stored], now)).schedules : [];
  if (!view) throw await unknownSchedule(broker, id);
  return view;
}

function matches({ id, owner, specification }: Stored, query: ScheduleQuery): boolean {
  const { job, description } = specification;
  if (query.mayUse && !query.mayUse(job)) return false;
  if (query.job !== undefined && job !== query.job) return false;
  if (query.owner !== undefined && owner !== query.owner) return false;
  const text = query.text?.toLowerCase();
  return text === undefined || [id, job, description].some((it) => it.toLowerCase().includes(text));
}
