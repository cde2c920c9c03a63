import { ledgerKeys } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { type TickOutcome, unpackEntry } from '../broker/tick-entry.js';
import { chunks } from './chunks.js';
import type { Stored } from './plan.js';
import { readSome, readStore } from './store.js';
import { type TickView, tickView } from './tick-views.js';
import { type Health, readStandings, type ScheduleView, type Standing, viewSchedules } from './views.js';

/** In what order schedules are listed: `trouble` has those first that want somebody to look. */
export const overviewSorts = ['trouble', 'name', 'next', 'last', 'lateness'] as const;
export type OverviewSort = (typeof overviewSorts)[number];

export interface OverviewQuery {
  /** What the id, the job's name or the description has in it, in small letters or large. */
  readonly text: string;
  /** `trouble`: whatever wants somebody to look. */
  readonly health: Health | 'trouble' | null;
  readonly job: string | null;
  readonly sort: OverviewSort;
  /** From 1. One beyond the last shows the last. */
  readonly page: number;
  readonly perPage: number;
  /** Of which jobs the asker may know. */
  readonly mayUse: (job: string) => boolean;
}

export interface OverviewPage {
  readonly rows: readonly OverviewRow[];
  readonly page: number;
  readonly pages: number;
  /** How many there are of the query, and how many of each health whatever health it asks for. */
  readonly found: number;
  readonly counts: ReadonlyMap<Health | 'trouble', number>;
  /** Ids whose entry makes no sense to this release. */
  readonly unreadable: readonly string[];
}

export interface OverviewRow {
  readonly view: ScheduleView;
  /** The newest entries of its ledger, oldest first: fifty at most. */
  readonly recent: readonly TickView[];
}

/**
 * All schedules at a glance, a page at a time. How each stands is read of all of them, which ten thousand take half a
 * second for, and kept for a while that grows with that; what a page shows is read for it.
 *
 * @param keptMs how long without a question until what was read is forgotten
 */
export function createOverview(broker: Broker, keptMs = 60_000) {
  let known: { readonly all: Standings; readonly freshUntil: number; readonly usableUntil: number } | null = null;
  let reading: Promise<Standings> | null = null;
  let forgetting: NodeJS.Timeout | undefined;

  const read = (now: number): Promise<Standings> => {
    reading ??= timed(() => readAll(broker, now))
      .then(({ value, ms }) => {
        const readAt = performance.now();
        known = { all: value, freshUntil: readAt + 5 * ms, usableUntil: readAt + 15 * ms };
        return value;
      })
      .finally(() => {
        reading = null;
      });
    return reading;
  };
  const standings = async (now: number): Promise<Standings> => {
    clearTimeout(forgetting);
    forgetting = setTimeout(() => {
      known = null;
    }, keptMs).unref();
    const at = performance.now();
    if (!known || at > known.usableUntil) return read(now);
    // It is answered from what is known, and the next who asks gets the newer.
    if (at > known.freshUntil) read(now).catch(() => {});
    return known.all;
  };

  return {
    async find(query: OverviewQuery, now: number): Promise<OverviewPage> {
      const { all, unreadable } = await standings(now);
      const { ids, ...page } = choose(all, query);
      const found = await readRows(broker, ids, now);
      const rows = ids.flatMap((id) => found.rows.get(id) ?? []);
      return { ...page, rows, unreadable: [...new Set([...unreadable, ...found.unreadable])].sort() };
    },
    /** Which schedules a page shows, and how many there are, without a look at each of its own. */
    async outline(query: OverviewQuery, now: number): Promise<OverviewOutline> {
      const { ids, counts } = choose((await standings(now)).all, query);
      return { ids, counts };
    },
    rows: async (ids: readonly string[], now: number) => (await readRows(broker, ids, now)).rows,
  };
}

export interface OverviewOutline extends Pick<OverviewPage, 'counts'> {
  readonly ids: readonly string[];
}

interface Standings {
  readonly all: readonly Standing[];
  readonly unreadable: readonly string[];
}

/** Decides which schedules a page shows, in which order, from how all of them stand. */
export function choose(all: readonly Standing[], query: OverviewQuery) {
  const { health, sort, perPage } = query;
  const matching = all.filter((standing) => matches(standing, query));
  const counts = new Map<Health | 'trouble', number>();
  for (const standing of matching) {
    counts.set(standing.health, (counts.get(standing.health) ?? 0) + 1);
    if (isTrouble(standing)) counts.set('trouble', (counts.get('trouble') ?? 0) + 1);
  }
  const shown = matching.filter(
    (it) => health === null || (health === 'trouble' ? isTrouble(it) : it.health === health),
  );
  shown.sort((a, b) => orders[sort](a, b) || compare(a.id, b.id));
  const pages = Math.max(1, Math.ceil(shown.length / perPage));
  const page = Math.min(query.page, pages);
  const ids = shown.slice((page - 1) * perPage, page * perPage).map(({ id }) => id);
  return { ids, page, pages, found: shown.length, counts };
}

/** The first of these is what is looked at first; `failing` is a sound one whose last tick went wrong. */
const gravity: readonly (Health | 'failing')[] = [
  'ledger unreadable',
  'broken',
  'late',
  'failing',
  'held',
  'sound',
  'paused',
  'disabled',
  'ended',
];
/** Outcomes of a last tick that want somebody to look, though the schedule runs on. */
export const failures: readonly (TickOutcome | null)[] = ['failed', 'timed-out', 'missed'];
const badOutcomes: readonly (TickOutcome | null)[] = [...failures, 'unknown', 'cancelled'];

function gravityOf({ health, outcome }: Standing): number {
  return gravity.indexOf(health === 'sound' && failures.includes(outcome) ? 'failing' : health);
}

function isTrouble(standing: Standing): boolean {
  return gravityOf(standing) <= gravity.indexOf('held');
}

/** After all that have a next time. */
const never = Number.MAX_SAFE_INTEGER;

const orders: Record<OverviewSort, (a: Standing, b: Standing) => number> = {
  trouble: (a, b) => gravityOf(a) - gravityOf(b) || (a.health === 'late' ? lateness(b) - lateness(a) : 0),
  name: () => 0,
  next: (a, b) => (a.next ?? never) - (b.next ?? never),
  last: (a, b) => badness(a) - badness(b),
  lateness: (a, b) => lateness(b) - lateness(a),
};

function badness({ outcome }: Standing): number {
  const at = badOutcomes.indexOf(outcome);
  if (at >= 0) return at;
  return outcome === null ? badOutcomes.length + 1 : badOutcomes.length;
}

function lateness({ latenessMs }: Standing): number {
  return latenessMs ?? -1;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function matches({ id, job, description }: Standing, query: OverviewQuery): boolean {
  if (!query.mayUse(job) || (query.job !== null && query.job !== job)) return false;
  const text = query.text.toLowerCase();
  return text === '' || [id, job, description].some((it) => it.toLowerCase().includes(text));
}

/** In batches: while Redis reads one, another is judged here, and others have their turn in between. */
async function readAll(broker: Broker, now: number): Promise<Standings> {
  const { stored, unreadable } = await readStore(broker);
  // What is of one job is read by one call: strewn over the batches, it would take one in each.
  const ofJobs = [...stored.values()].sort((a, b) => compare(a.specification.job, b.specification.job));
  const batches = chunks(ofJobs, 1_000);
  const seen = await Promise.all(batches.map((batch) => readStandings(broker, batch, now)));
  const senseless = new Set([...unreadable, ...seen.flatMap((batch) => batch.unreadable)]);
  const all = seen.flatMap(({ standings }) => standings);
  return { all, unreadable: [...senseless].sort() };
}

const stripLength = 50;

interface Rows {
  readonly rows: Map<string, OverviewRow>;
  readonly unreadable: readonly string[];
}

async function readRows(broker: Broker, ids: readonly string[], now: number): Promise<Rows> {
  const stored = await readSome(broker, ids);
  const [{ schedules, unreadable }, recent] = await Promise.all([
    viewSchedules(broker, stored, now),
    Promise.all(stored.map((schedule) => readRecent(broker, schedule))),
  ]);
  const ticks = new Map(stored.map(({ id }, index) => [id, recent[index] ?? []]));
  const rows = new Map(schedules.map((view) => [view.id, { view, recent: ticks.get(view.id) ?? [] }]));
  return { rows, unreadable };
}

/** A key of another type, which a hand has written, is no ledger: the health says so. */
async function readRecent(broker: Broker, { id, specification }: Stored): Promise<TickView[]> {
  const { ticks } = ledgerKeys(broker, { job: specification.job, schedule: id });
  const packed = await broker.client.zrange(ticks, `${-stripLength}`, '-1').catch((error: unknown) => {
    if (String(error).includes('WRONGTYPE')) return [];
    throw error;
  });
  return packed.flatMap((text) => {
    const entry = unpackEntry(id, text);
    return entry ? [tickView(id, entry)] : [];
  });
}

async function timed<Value>(work: () => Promise<Value>): Promise<{ value: Value; ms: number }> {
  const startedAt = performance.now();
  const value = await work();
  return { value, ms: performance.now() - startedAt };
}
