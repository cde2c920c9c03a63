import type { Job } from 'bullmq';
import { z } from 'zod';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { RunState, RunView } from './run-view.js';
import { viewOf } from './runs.js';

export interface PageQuery {
  readonly job: string;
  /** Where it is known: what it says is secret is hidden. */
  readonly definition?: JobDefinition | undefined;
  readonly state?: RunState | undefined;
  /** Runs of this schedule only. */
  readonly schedule?: string | undefined;
  /** Runs that failed with this code only. */
  readonly code?: string | undefined;
  readonly limit: number;
  /** The `next` of the page before. */
  readonly cursor?: string | undefined;
}

export interface Page {
  readonly runs: RunView[];
  /** Where the next page begins; null after the last. */
  readonly next: string | null;
}

/**
 * One page of a job's runs, newest first, of those with a priority the last to be taken; of the delayed ones, asked for
 * alone, the soonest. A run that stays in its
 * state while one walks from page to page is met exactly once, whatever comes and goes beside it: a cursor says after
 * which runs to go on, not how many there were. With a filter a page may be short, or empty, though more follow.
 *
 * @throws RondoError `request-invalid` for a cursor that is none, or of another query
 */
export async function pageOfRuns(broker: Broker, query: PageQuery): Promise<Page> {
  const { state, limit, cursor } = query;
  const places = cursor === undefined ? {} : readCursor(cursor, query);
  const sources = sourcesOf(state);
  const runs: RunView[] = [];
  const isFiltered = query.schedule !== undefined || query.code !== undefined;
  const wanted = isFiltered ? Math.max(limit, filteredBatch) : limit;
  for (let looked = 0; looked < mostLooked; looked += wanted) {
    const read = (source: Source) => readSource(broker, query, source, places[source.key], wanted);
    const taken = merge(await Promise.all(sources.map(read)), wanted, state === 'delayed');
    for (const { source, entry, view } of taken) {
      places[source.key] = placeAfter(source, places[source.key], entry);
      if (view && matches(view, query)) runs.push(view);
      if (runs.length === limit) return { runs, next: packCursor(query, places) };
    }
    if (taken.length < wanted) return { runs, next: null };
  }
  return { runs, next: packCursor(query, places) };
}

/** All of them up to `limit`, page by page. */
export async function walkRuns(broker: Broker, { limit, ...query }: Omit<PageQuery, 'cursor'>): Promise<RunView[]> {
  const found: RunView[] = [];
  let cursor: string | undefined;
  do {
    const page: Page = await pageOfRuns(broker, { ...query, limit: Math.min(1_000, limit - found.length), cursor });
    found.push(...page.runs);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && found.length < limit);
  return found;
}

/** Where a filter leaves most of them out, so many are looked at in one step, and for one page. */
const filteredBatch = 200;
const mostLooked = 2_000;

/** A structure of BullMQ's in which runs of a state are. */
interface Source {
  readonly key: 'wait' | 'prioritized' | 'delayed' | 'active' | 'completed' | 'failed';
  readonly state: RunState;
  readonly order: 'list' | 'ids' | 'falling' | 'rising';
}

function sourcesOf(state: RunState | undefined): Source[] {
  const all: Source[] = [
    { key: 'wait', state: 'waiting', order: 'list' },
    { key: 'prioritized', state: 'waiting', order: 'falling' },
    { key: 'delayed', state: 'delayed', order: state === 'delayed' ? 'rising' : 'falling' },
    { key: 'active', state: 'active', order: 'ids' },
    { key: 'completed', state: 'completed', order: 'falling' },
    { key: 'failed', state: 'failed', order: 'falling' },
  ];
  return all.filter((source) => state === undefined || source.state === state);
}

/** The last run that was met, with its score; of a list some more before it, since the last may be gone by then. */
type Place = readonly string[];
type Places = Partial<Record<Source['key'], Place>>;

interface Entry {
  readonly id: string;
  readonly score: string;
}

interface Head {
  readonly source: Source;
  readonly entry: Entry;
  /** Null where the run has gone between two looks. */
  readonly view: RunView | null;
}

async function readSource(
  broker: Broker,
  { job, definition }: PageQuery,
  source: Source,
  place: Place | undefined,
  count: number,
): Promise<Head[]> {
  const entries = await entriesAfter(broker, job, source, place, count);
  return Promise.all(
    entries.map(async (entry) => {
      const run: Job | undefined = await broker.queue(job).getJob(entry.id);
      return { source, entry, view: run ? await viewOf(broker, definition, run, source.state) : null };
    }),
  );
}

function entriesAfter(broker: Broker, job: string, source: Source, place: Place | undefined, count: number) {
  const key = broker.queue(job).toKey(source.key);
  switch (source.order) {
    case 'list':
      return listAfter(broker, key, place, count);
    case 'ids':
      return idsAfter(broker, key, place, count);
    default:
      return scoresAfter(broker, key, source.order === 'falling', place, count);
  }
}

/**
 * What waits is taken at the far end, and comes at the near one: where none of the last runs that were met is there
 * any more, none of those behind them is.
 */
async function listAfter({ client }: Broker, key: string, place: Place = [], count: number): Promise<Entry[]> {
  let start = 0;
  if (place.length > 0) {
    const found = await Promise.all(place.map((id) => client.lpos(key, id)));
    const last = found.reduce<number>((most, at) => Math.max(most, at ?? -1), -1);
    if (last === -1) return [];
    start = last + 1;
  }
  const ids = await client.lrange(key, start, start + count - 1);
  return ids.map((id) => ({ id, score: '' }));
}

/** Active runs end in any order, and there are few: they are met by their ids, the highest first. */
async function idsAfter({ client }: Broker, key: string, place: Place | undefined, count: number): Promise<Entry[]> {
  const ids = (await client.lrange(key, 0, -1)).sort(byIdFalling);
  const after = place?.[0];
  const left = after === undefined ? ids : ids.filter((id) => byIdFalling(after, id) < 0);
  return left.slice(0, count).map((id) => ({ id, score: '' }));
}

function byIdFalling(a: string, b: string): number {
  return b.length - a.length || Buffer.compare(Buffer.from(b), Buffer.from(a));
}

async function scoresAfter(
  { client }: Broker,
  key: string,
  falling: boolean,
  place: Place | undefined,
  count: number,
): Promise<Entry[]> {
  const [id, score = falling ? '+inf' : '-inf'] = place ?? [];
  const found: Entry[] = [];
  for (let offset = 0; found.length < count; offset += count) {
    const flat = falling
      ? await client.zrevrangebyscore(key, score, '-inf', 'WITHSCORES', 'LIMIT', offset, count)
      : await client.zrangebyscore(key, score, '+inf', 'WITHSCORES', 'LIMIT', offset, count);
    const entries = entriesOf(flat);
    found.push(...entries.filter((entry) => id === undefined || isBeyond(entry, { id, score }, falling)));
    if (entries.length < count) break;
  }
  return found.slice(0, count);
}

function entriesOf(flat: readonly string[]): Entry[] {
  return Array.from({ length: flat.length / 2 }, (_, index) => ({
    id: String(flat[2 * index]),
    score: String(flat[2 * index + 1]),
  }));
}

/** Runs of the same score lie in the order of their ids' bytes. */
function isBeyond(entry: Entry, place: Entry, falling: boolean): boolean {
  if (entry.score !== place.score) return true;
  const order = Buffer.compare(Buffer.from(entry.id), Buffer.from(place.id));
  return falling ? order < 0 : order > 0;
}

/** The newest of what the sources are at, again and again; each keeps its own order. */
function merge(heads: readonly Head[][], count: number, soonest: boolean): Head[] {
  const left = heads.map((its) => [...its]);
  const first = (a: Head[], b: Head[]) => (b[0] && (!a[0] || comesBefore(b[0], a[0], soonest)) ? b : a);
  const taken: Head[] = [];
  while (taken.length < count) {
    const head = left.reduce(first, []).shift();
    if (!head) break;
    taken.push(head);
  }
  return taken;
}

function comesBefore(a: Head, b: Head, soonest: boolean): boolean {
  if (!a.view || !b.view) return !a.view;
  return soonest ? a.view.dueAt < b.view.dueAt : a.view.dueAt > b.view.dueAt;
}

/** How many of the last runs of a list a cursor names. */
const listMemory = 10;

function placeAfter({ order }: Source, before: Place | undefined, { id, score }: Entry): Place {
  if (order === 'list') return [...(before ?? []), id].slice(-listMemory);
  return order === 'ids' ? [id] : [id, score];
}

function matches(run: RunView, { schedule, code }: PageQuery): boolean {
  return (schedule === undefined || run.schedule === schedule) && (code === undefined || run.code === code);
}

const cursorSchema = z.strictObject({
  of: z.string(),
  at: z.partialRecord(
    z.enum(['wait', 'prioritized', 'delayed', 'active', 'completed', 'failed']),
    z.array(z.string().max(1_000)).min(1).max(listMemory),
  ),
});

function packCursor(query: PageQuery, at: Places): string {
  return Buffer.from(JSON.stringify({ of: purposeOf(query), at })).toString('base64url');
}

function readCursor(cursor: string, query: PageQuery): Places {
  const refuse = (expected: string) => {
    throw new RondoError('request-invalid', '', { problems: [{ where: 'cursor', expected, got: shortened(cursor) }] });
  };
  let text: unknown = null;
  try {
    text = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {}
  const found = cursorSchema.safeParse(text);
  if (!found.success) return refuse('the `next` of an answer before');
  if (found.data.of !== purposeOf(query)) return refuse('the `next` of the same job, state and filters');
  const sound = Object.entries(found.data.at).every(([key, place]) => isSound(key, place));
  return sound ? found.data.at : refuse('the `next` of an answer before');
}

/** A score that is none would be an error of Redis's. */
function isSound(key: string, place: Place): boolean {
  const scored = key !== 'wait' && key !== 'active';
  return !scored || (place.length === 2 && /^\d+(\.\d+)?(e[+-]?\d+)?$/.test(place[1] ?? ''));
}

function purposeOf({ job, state, schedule, code }: PageQuery): string {
  return JSON.stringify([job, state ?? null, schedule ?? null, code ?? null]);
}

const shortened = (text: string) => JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
