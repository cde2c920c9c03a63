import { readCursor } from '../broker/ledger.js';
import { pauseHolds } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { createScript } from '../broker/scripts.js';
import { type TickOutcome, unpackEntry } from '../broker/tick-entry.js';
import type { OwnAlertRules } from '../jobs/alerts.js';
import { shownUrl } from '../jobs/healthcheck.js';
import type { MisfirePolicy } from '../jobs/misfire.js';
import type { Overlap } from '../jobs/overlap.js';
import { offsetOf, type Timing } from '../jobs/schedule.js';
import { inWords, isoOr, isoTime } from '../jobs/words.js';
import { readChains } from './chains.js';
import { chunks } from './chunks.js';
import { type Chain, isEnabled, type PauseNote, type Stored, timingOf } from './plan.js';
import { type Health, healthOf, type LedgerEnd, nextDue, ticksDueAfter } from './schedule-health.js';
import { byJob } from './schedules.js';
import { shownPayload } from './shown.js';
import { readStore, readStored, unknownSchedule } from './store.js';
import { latenessOf, listTicks, refuseOther, type TickView, tickView } from './tick-views.js';

export { tickOutcomes } from '../broker/tick-entry.js';
export { type Health, healths } from './schedule-health.js';
export { findLedger, listTicks, type TicksWanted, type TickView } from './tick-views.js';

/** A schedule as people and services see it. Times are ISO, durations in ms. */
export interface ScheduleView {
  readonly id: string;
  readonly job: string;
  readonly description: string;
  readonly words: string;
  readonly timing: Timing;
  readonly policy: MisfirePolicy;
  readonly overlap: Overlap;
  readonly lateAfterMs: number | null;
  /** What it says itself of alerts; the rest is its job's. Durations in ms. */
  readonly alerts: OwnAlertRules | null;
  /** Its dead man's switch, without what comes after the host. */
  readonly healthcheck: string | null;
  readonly payload: unknown;
  readonly owner: string;
  /** The release that declares it; null where it was put at run time. */
  readonly release: string | null;
  /** Who put it at run time, and when; null where code declares it. */
  readonly put: { readonly by: string; readonly at: string } | null;
  /** False for one that code disables, or that was put as disabled: it has no ticks. */
  readonly enabled: boolean;
  /** Of one that was put at run time: a run is started whenever a producer takes the lead. */
  readonly triggerOnStart?: boolean;
  /** When its next run is due; in the past where no worker has taken it yet. */
  readonly next: string | null;
  readonly health: Health;
  /** What is the matter with it, where something is. */
  readonly why: string | null;
  readonly pause: PauseView | null;
  /** How many runs its ticks have had. */
  readonly runs: number;
  /** The newest entry of its ledger. */
  readonly last: TickView | null;
}

export interface PauseView {
  readonly since: string;
  readonly until: string | null;
  readonly by: string;
  readonly note: string;
}

export interface ScheduleDetails extends ScheduleView {
  /** The next ticks, and when they are due. */
  readonly upcoming: readonly { readonly time: string; readonly due: string }[];
  readonly ledger: {
    /** Up to here every tick has its entry. */
    readonly at: string;
    /** The first tick that has none yet. */
    readonly next: string | null;
    /** What was before has been forgotten. */
    readonly knownFrom: string | null;
  } | null;
  /** The newest entries of its ledger, oldest first. */
  readonly ticks: readonly TickView[];
  /** How many entries make no sense to this release. */
  readonly unreadable: number;
}

/** Every schedule that the store holds, by id, and the ids whose entry makes no sense to this release. */
export async function listSchedules(
  broker: Broker,
  now: number,
): Promise<{ schedules: ScheduleView[]; unreadable: string[] }> {
  const { stored, unreadable } = await readStore(broker);
  const found = await viewSchedules(broker, [...stored.values()], now);
  return {
    schedules: found.schedules.sort((a, b) => (a.id < b.id ? -1 : 1)),
    unreadable: [...unreadable, ...found.unreadable].sort(),
  };
}

/** Some that the store holds, in their order, and the ids whose entry makes no sense to this release. */
export async function viewSchedules(
  broker: Broker,
  stored: readonly Stored[],
  now: number,
): Promise<{ schedules: ScheduleView[]; unreadable: string[] }> {
  const { values, unreadable } = await ofEach(broker, stored, (schedule, chain, end) =>
    viewOf(broker, schedule, chain, end, now),
  );
  return { schedules: values, unreadable };
}

/** What the order of a schedule goes by. Times in ms since the epoch. */
export interface Standing {
  readonly id: string;
  readonly job: string;
  readonly description: string;
  readonly health: Health;
  readonly next: number | null;
  readonly outcome: TickOutcome | null;
  readonly latenessMs: number | null;
}

/** How some stand, which takes half of the work that their views take. */
export async function readStandings(
  broker: Broker,
  stored: readonly Stored[],
  now: number,
): Promise<{ standings: Standing[]; unreadable: string[] }> {
  const { values, unreadable } = await ofEach(broker, stored, (schedule, chain, end) =>
    standingOf(broker, schedule, chain, end, now),
  );
  return { standings: values, unreadable };
}

/** How they are, of each job: the same word for each as its view has, for a fifth of the work. */
export async function countHealth(
  broker: Broker,
  stored: readonly Stored[],
  now: number,
): Promise<Map<string, Map<Health, number>>> {
  const [chains, ends] = await Promise.all([readChains(broker, byJob(stored)), readLedgerEnds(broker, stored)]);
  const counts = new Map<string, Map<Health, number>>();
  for (const schedule of stored) {
    const { job } = schedule.specification;
    const health = healthOf(broker, schedule, chains.get(schedule.id), ends.get(schedule.id), now).health;
    const ofJob = counts.get(job) ?? new Map<Health, number>();
    counts.set(job, ofJob.set(health, (ofJob.get(health) ?? 0) + 1));
  }
  return counts;
}

/** @throws RondoError `schedule-unknown` */
export async function showSchedule(broker: Broker, id: string, now: number, ticks = 40): Promise<ScheduleDetails> {
  const stored = await readStored(broker, id);
  if (!stored) throw await unknownSchedule(broker, id);
  const of = { job: stored.specification.job, schedule: id };
  const readings = [
    readChains(broker, new Map([[of.job, [id]]])),
    readLedgerEnds(broker, [stored]),
    readCursor(broker, of),
  ] as const;
  const [chains, ends, cursor] = await Promise.all(readings).catch((error) => refuseOther(of, error));
  const listed = await listTicks(broker, of, { limit: ticks });
  const view = viewOf(broker, stored, chains.get(id), ends.get(id), now);
  const timing = timingOf(stored.specification);
  const next = nextDue(broker, stored, chains.get(id), now);
  const hasNone = view.health === 'ended' || (view.pause !== null && next === null);
  // From the next run on: those before it are accounted for, having been cancelled.
  const upcoming = hasNone ? [] : ticksDueAfter(broker, id, timing, Math.max(now, (next ?? now) - 1), 3);
  return {
    ...view,
    upcoming: upcoming.map((time) => ({ time: isoTime(time), due: isoTime(time + offsetOf(timing)) })),
    ledger: cursor && {
      at: isoTime(cursor.at),
      next: typeof cursor.next === 'number' ? isoTime(cursor.next) : null,
      knownFrom: listed.knownFrom,
    },
    ticks: listed.ticks,
    unreadable: listed.unreadable,
  };
}

/** One call for a thousand: ten thousand are read within the time that a person waits for. */
async function readLedgerEnds(broker: Broker, schedules: readonly Stored[]): Promise<Map<string, LedgerEnd>> {
  const ends = new Map<string, LedgerEnd>();
  const reads = [...byJob(schedules)].flatMap(([job, ids]) =>
    chunks(ids, 1_000).map(async (batch) => {
      const slot = broker.keys.queuePrefix(job);
      const answer = await ledgerEndsScript(broker.client, [`${slot}:cursor`], [slot, ...batch]);
      const found = answer as string[];
      batch.forEach((id, index) => {
        const [state, runs, last] = found.slice(3 * index, 3 * index + 3);
        ends.set(id, { exists: state === '1', runs: Number(runs) || 0, last: last || null });
      });
    }),
  );
  await Promise.all(reads);
  return ends;
}

type OfOne<Value> = (stored: Stored, chain: Chain | undefined, end: LedgerEnd | undefined) => Value;

async function ofEach<Value>(
  broker: Broker,
  stored: readonly Stored[],
  tell: OfOne<Value>,
): Promise<{ values: Value[]; unreadable: string[] }> {
  const [chains, ends] = await Promise.all([readChains(broker, byJob(stored)), readLedgerEnds(broker, stored)]);
  const values: Value[] = [];
  const unreadable: string[] = [];
  for (const schedule of stored) {
    const { id } = schedule;
    try {
      values.push(tell(schedule, chains.get(id), ends.get(id)));
    } catch {
      unreadable.push(id); // a hand has been at its times: the others are listed all the same
    }
  }
  return { values, unreadable };
}

function standingOf(
  broker: Broker,
  stored: Stored,
  chain: Chain | undefined,
  end: LedgerEnd | undefined,
  now: number,
): Standing {
  const { id, specification } = stored;
  const { job, description } = specification;
  const { health } = healthOf(broker, stored, chain, end, now);
  const next = nextDue(broker, stored, chain, now);
  const last = end?.last ? unpackEntry(id, end.last) : null;
  const latenessMs = health === 'late' && next !== null ? now - next : last && latenessOf(id, last);
  return { id, job, description, health, next, outcome: last?.outcome ?? null, latenessMs };
}

function viewOf(
  broker: Broker,
  stored: Stored,
  chain: Chain | undefined,
  end: LedgerEnd | undefined,
  now: number,
): ScheduleView {
  const { id, specification, owner, release, pause, put } = stored;
  const { job, description, timing, policy, payload, options } = specification;
  const entry = end?.last ? unpackEntry(id, end.last) : null;
  const found = healthOf(broker, stored, chain, end, now);
  return {
    id,
    job,
    description,
    words: inWords(timing),
    timing,
    policy,
    overlap: options.overlap ?? 'allow',
    lateAfterMs: options.lateAfter ?? null,
    alerts: specification.alerts ?? null,
    healthcheck: options.healthcheck === undefined ? null : shownUrl(options.healthcheck),
    payload: shownPayload(broker.jobOf(job), { data: payload, opts: options }),
    owner,
    release: release || null,
    put: put ? { by: put.by, at: isoTime(put.at) } : null,
    enabled: isEnabled(stored),
    ...(specification.triggerOnStart && { triggerOnStart: true }),
    next: isoOr(nextDue(broker, stored, chain, now)),
    health: found.health,
    why: found.why ?? null,
    pause: pause && pauseHolds(pause, now) ? pauseView(pause) : null,
    runs: end?.runs ?? 0,
    last: entry && tickView(id, entry),
  };
}

function pauseView({ since, until, by, note }: PauseNote): PauseView {
  return { since: isoTime(since), until: isoOr(until), by, note };
}

// A key of another type is no ledger, and must not hide the others.
const ledgerEndsScript = createScript(`
local answers = {}
for i = 2, #ARGV do
  local cursor, ticks = ARGV[1] .. ':cursor:' .. ARGV[i], ARGV[1] .. ':ticks:' .. ARGV[i]
  local runs = redis.pcall('HGET', cursor, 'runs')
  local last = redis.pcall('ZRANGE', ticks, -1, -1)
  local at = #answers
  answers[at + 1] = tostring(redis.call('EXISTS', cursor))
  answers[at + 2] = type(runs) == 'string' and runs or ''
  answers[at + 3] = last.err and '?' or last[1] or ''
end
return answers`);
