import { readCursor, readTicks, type TicksQuery } from '../broker/ledger.js';
import { type LedgerOf, ledgerKeys, type Pause, pauseHolds } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { caughtUpId } from '../broker/repeat.js';
import { createScript } from '../broker/scripts.js';
import { isRange, type TickEntry, type TickOutcome, type TickRun, unpackEntry } from '../broker/tick-entry.js';
import { RondoError } from '../errors.js';
import type { MisfirePolicy } from '../jobs/misfire.js';
import type { Overlap } from '../jobs/overlap.js';
import { nextTick, offsetOf, type Timing, ticksAfter } from '../jobs/schedule.js';
import { inWords, isoOr, isoTime } from '../jobs/words.js';
import { readChains } from './chains.js';
import { chunks } from './chunks.js';
import { type Chain, faultOf, type PauseNote, type Stored, timingOf } from './plan.js';
import { byJob } from './schedules.js';
import { shownPayload } from './shown.js';
import { readStore, readStored, unknownSchedule } from './store.js';

export { tickOutcomes } from '../broker/tick-entry.js';

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
  readonly payload: unknown;
  readonly owner: string;
  /** The release that declares it; null where it was put at run time. */
  readonly release: string | null;
  /** Who put it at run time, and when; null where code declares it. */
  readonly put: { readonly by: string; readonly at: string } | null;
  /** False for one that was put as disabled: it has no ticks. */
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

/** Worst last: what a reader looks for. */
export const healths = ['sound', 'ended', 'disabled', 'paused', 'held', 'late', 'broken', 'ledger unreadable'] as const;
export type Health = (typeof healths)[number];

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

/** What became of a tick, or of `count` ticks from `time` to `to`. Times are ISO, durations in ms. */
export interface TickView {
  readonly time: string;
  readonly to: string | null;
  readonly count: number;
  readonly outcome: TickOutcome;
  readonly reason: string | null;
  readonly due: string | null;
  readonly claimed: string | null;
  readonly started: string | null;
  readonly finished: string | null;
  /** From when it was due to when it was taken first. */
  readonly latenessMs: number | null;
  /** How long its last attempt took. */
  readonly durationMs: number | null;
  readonly attempts: number | null;
  readonly run: string | null;
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
  const [chains, ends] = await Promise.all([readChains(broker, byJob(stored)), readLedgerEnds(broker, stored)]);
  const schedules: ScheduleView[] = [];
  const unreadable: string[] = [];
  for (const schedule of stored) {
    const { id } = schedule;
    try {
      schedules.push(viewOf(broker, schedule, chains.get(id), ends.get(id), now));
    } catch {
      unreadable.push(id); // a hand has been at its times: the others are listed all the same
    }
  }
  return { schedules, unreadable };
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
  const [chains, ends, cursor] = await Promise.all(readings).catch((error) => refuse(of, error));
  const listed = await listTicks(broker, of, { limit: ticks });
  const view = viewOf(broker, stored, chains.get(id), ends.get(id), now);
  const timing = timingOf(stored.specification);
  const after = pauseHolds(stored.pause ?? null, now) ? (stored.pause?.until ?? null) : now;
  const upcoming = after === null ? [] : ticksDueAfter(broker, id, timing, after, 3);
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

/**
 * Where a schedule's ledger is: that of one which was removed is kept for a month, but only its job's slot knows.
 *
 * @param jobs names of jobs whose schedule it may have been
 * @throws RondoError `schedule-unknown`
 */
export async function findLedger(
  broker: Broker,
  id: string,
  jobs: readonly string[],
): Promise<LedgerOf & { readonly removed: string | null }> {
  const stored = await readStored(broker, id);
  if (stored) return { job: stored.specification.job, schedule: id, removed: null };
  const ofStore = [...(await readStore(broker)).stored.values()].map(({ specification }) => specification.job);
  const candidates = new Set([...jobs, ...ofStore]);
  for (const job of candidates) {
    const { cursor, ticks } = ledgerKeys(broker, { job, schedule: id });
    if ((await broker.client.exists(cursor, ticks)) === 0) continue;
    const removed = Number(await broker.client.hget(cursor, 'removed'));
    return { job, schedule: id, removed: removed > 0 ? isoTime(removed) : null };
  }
  throw await unknownSchedule(broker, id);
}

export interface TicksWanted extends TicksQuery {
  readonly outcomes?: readonly TickOutcome[];
}

/** Entries of a ledger, oldest first: the newest so many, with these outcomes, that reach into the range. */
export async function listTicks(
  broker: Broker,
  of: LedgerOf,
  { outcomes, limit, ...range }: TicksWanted = {},
): Promise<{ ticks: TickView[]; unreadable: number; knownFrom: string | null }> {
  const { entries, unreadable, knownFrom } = await readTicks(broker, of, range).catch((error) => refuse(of, error));
  const wanted = outcomes ? entries.filter(({ outcome }) => outcomes.includes(outcome)) : entries;
  return {
    ticks: wanted.slice(limit === undefined ? 0 : -limit).map((entry) => tickView(of.schedule, entry)),
    unreadable: unreadable.length,
    knownFrom: isoOr(knownFrom),
  };
}

/** A key of another type, which a hand has written, is no ledger. */
function refuse({ schedule }: LedgerOf, error: unknown): never {
  if (!String(error).includes('WRONGTYPE')) throw error;
  throw new RondoError('ledger-unreadable', `that of ${schedule} is no ledger`, { cause: error });
}

/** How a ledger ends: its last entry as it is packed, and how many runs there were. */
interface LedgerEnd {
  readonly exists: boolean;
  readonly runs: number;
  readonly last: string | null;
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
  const found = end?.last && !entry ? unreadable('its last entry') : judge(broker, stored, chain, end, now);
  return {
    id,
    job,
    description,
    words: inWords(timing),
    timing,
    policy,
    overlap: options.overlap ?? 'allow',
    lateAfterMs: options.lateAfter ?? null,
    payload: shownPayload(undefined, { data: payload, opts: options }),
    owner,
    release: release || null,
    put: put ? { by: put.by, at: isoTime(put.at) } : null,
    enabled: specification.enabled !== false,
    ...(specification.triggerOnStart && { triggerOnStart: true }),
    next: isoOr(nextDue(broker, stored, chain, now)),
    health: found.health,
    why: found.why ?? null,
    pause: pause && pauseHolds(pause, now) ? pauseView(pause) : null,
    runs: end?.runs ?? 0,
    last: entry && tickView(id, entry),
  };
}

interface Found {
  readonly health: Health;
  readonly why?: string;
}

/** How late a due run may wait for a worker, in ms, before it is said. */
const lateMs = 5_000;

function judge(
  broker: Broker,
  stored: Stored,
  chain: Chain | undefined,
  end: LedgerEnd | undefined,
  now: number,
): Found {
  if (end?.exists && !chain?.cursor) return unreadable('where it stands');
  if (stored.specification.enabled === false) return { health: 'disabled' };
  if (hasEnded(broker, stored, chain, now)) return { health: 'ended' };
  const fault = faultOf(chain) ?? (chain?.cursor ? null : 'it has no ledger yet');
  if (fault) return { health: 'broken', why: fault };
  if (stored.held) return { health: 'held', why: 'no longer declared; its removal waits for apply --yes' };
  if (stored.pause && pauseHolds(stored.pause, now)) return { health: 'paused' };
  if (isPausedAt(chain, now)) return { health: 'broken', why: 'its ledger is paused, and its entry is not' };
  const waits = chain?.iteration === 'delayed' || chain?.iteration === 'queued';
  if (waits && chain.next !== null && now - chain.next > lateMs) {
    return { health: 'late', why: `due since ${isoTime(chain.next)}, and no worker has taken it` };
  }
  return { health: 'sound' };
}

const unreadable = (what: string): Found => ({ health: 'ledger unreadable', why: `${what} makes no sense` });

function isPausedAt(chain: Chain | undefined, now: number): boolean {
  const pause: Pause | null = chain?.cursor?.pause ?? null;
  return pauseHolds(pause, now) && now - (pause?.since ?? now) > lateMs;
}

function hasEnded(broker: Broker, { id, specification }: Stored, chain: Chain | undefined, now: number): boolean {
  const { timing } = specification;
  if (isSound(chain)) return false;
  if (timing.kind === 'next' && !broker.ruleOf(id)) return chain?.cursor?.next === null;
  return ticksDueAfter(broker, id, timing, now, 1).length === 0;
}

/** Whether the next run is where it should be. */
function isSound(chain: Chain | undefined): boolean {
  return chain !== undefined && ['delayed', 'queued', 'active'].includes(chain.iteration);
}

function nextDue(broker: Broker, { id, specification, pause }: Stored, chain: Chain | undefined, now: number) {
  if (pause && pauseHolds(pause, now)) {
    const timing = timingOf(specification);
    const [first] = pause.until === null ? [] : ticksDueAfter(broker, id, timing, pause.until, 1);
    return first === undefined ? null : first + offsetOf(timing);
  }
  return chain && isSound(chain) ? chain.next : null;
}

/** The first ticks that are due after a moment; none where only another release's code could tell. */
function ticksDueAfter(broker: Broker, id: string, timing: Timing, after: number, count: number): number[] {
  const rule = broker.ruleOf(id);
  if (timing.kind === 'next' && !rule) return [];
  const from = after - offsetOf(timing);
  try {
    if (count === 1) return [nextTick(timing, from, rule)].filter((time) => time !== null);
    const ticks: number[] = [];
    for (const time of ticksAfter(timing, from, rule)) if (ticks.push(time) >= count) break;
    return ticks;
  } catch {
    return []; // a schedule's own rule may fail
  }
}

function tickView(schedule: string, entry: TickEntry): TickView {
  const { time, outcome, reason = null } = entry;
  const range = isRange(entry);
  const run = range ? null : entry;
  const took = run?.started !== undefined && run.finished !== undefined ? run.finished - run.started : null;
  return {
    time: isoTime(time),
    to: range ? isoTime(entry.to) : null,
    count: range ? entry.count : 1,
    outcome,
    reason,
    due: isoOr(run?.due),
    claimed: isoOr(run?.claimed),
    started: isoOr(run?.started),
    finished: isoOr(run?.finished),
    latenessMs: run && takenAt(schedule, run) - run.due,
    durationMs: took,
    attempts: run?.attempts ?? null,
    run: run?.run ?? null,
  };
}

/** One that was caught up was claimed when its run was added, and may have waited since. */
function takenAt(schedule: string, { run, time, attempts, claimed, started }: TickRun): number {
  return run === caughtUpId(schedule, time) && attempts <= 1 ? (started ?? claimed) : claimed;
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
