import { readProcesses } from '../broker/processes.js';
import type { Broker } from '../broker/queues.js';
import { type Day, type PlannedSchedule, reckonDay } from './day.js';
import { readDurations, readJobDurations } from './durations.js';
import { isEnabled, type Stored, timingOf } from './plan.js';
import { byJob } from './schedules.js';
import { readStore } from './store.js';
import { median } from './warnings.js';

export interface DayNow extends Day {
  /** How many workers are alive: without any there are no slots. */
  readonly workers: number;
  /** Ids of schedules whose entry this release cannot read. */
  readonly unreadable: readonly string[];
}

/** The day is the same for so long, in ms: ten thousand schedules are read and reckoned once for all who look. */
const freshMs = 30_000;

/** Reads what there is to know of the day, at most once in a while; who comes meanwhile gets the same. */
export function createDayReader(broker: Broker, keepMs = freshMs) {
  let kept: { readonly at: number; readonly day: Promise<DayNow> } | null = null;
  return (now: number): Promise<DayNow> => {
    if (kept && now - kept.at < keepMs && now >= kept.at) return kept.day;
    const reading = { at: now, day: readDay(broker, now) };
    kept = reading;
    // What failed is tried again by the next who comes.
    reading.day.catch(() => {
      if (kept === reading) kept = null;
    });
    return reading.day;
  };
}

/** The last and next 24 hours of every schedule as it is now, with the workers that are alive now. */
export async function readDay(broker: Broker, now: number): Promise<DayNow> {
  const [{ stored, unreadable }, { found }] = await Promise.all([readStore(broker), readProcesses(broker)]);
  const enabled = [...stored.values()].filter(isEnabled);
  const ids = byJob(enabled);
  const [ofSchedules, ofJobs] = await Promise.all([
    readDurations(broker, ids),
    readJobDurations(broker, [...ids.keys()]),
  ]);
  const schedules = enabled.map((schedule) => {
    const { job } = schedule.specification;
    const durationMs = median(ofSchedules.get(schedule.id) ?? []) ?? median(ofJobs.get(job) ?? []);
    return plannedOf(broker, schedule, durationMs);
  });
  const workers = found.filter(({ report }) => report.roles.includes('worker') && !report.stopping);
  const slots = new Map<string, number>();
  for (const { report } of workers) {
    for (const { name, concurrency } of report.jobs) slots.set(name, (slots.get(name) ?? 0) + concurrency);
  }
  const day = await reckonDay({ schedules, slots, now });
  return { ...day, workers: workers.length, unreadable: [...unreadable].sort() };
}

function plannedOf(broker: Broker, { id, specification, pause }: Stored, durationMs: number | null): PlannedSchedule {
  const { job, options } = specification;
  const next = broker.ruleOf(id);
  return {
    ...{ id, job, timing: timingOf(specification), overlap: options.overlap ?? 'allow', durationMs },
    ...(next && { next }),
    ...(pause && { off: { from: pause.since, to: pause.until ?? Number.MAX_SAFE_INTEGER } }),
  };
}
