import { hash } from 'node:crypto';
import { z } from 'zod';
import { NonRetryableError } from '../../errors.js';
import type { Checkpoint, JobLogger } from '../context.js';
import type { Database } from '../database.js';
import { defineJob } from '../define-job.js';
import { weekly } from '../schedule.js';
import { type ListPage, readListPage } from './list-page.js';

export interface SyncTokensSettings {
  /** Where the list begins: an http or https URL; the job is off without. */
  readonly url?: string | null;
  /** Where the tables of `rondo db migrate` are; the job is off without. */
  readonly database?: Database | null;
  /** How many tokens a transaction inserts at most. */
  readonly batchSize?: number;
}

/** So many invalid items of a run are told one by one. */
const mostTold = 10;
/** A list of more pages has a loop, or is none for one run. */
const mostPages = 1_000;

// What Postgres takes for text: no NUL.
const text = z.string().regex(/^[^\0]+$/, { error: 'a text that is not empty' });
const token = z.looseObject({ id: text.max(200), name: text.max(1_000), symbol: text.max(100) });
type Token = z.output<typeof token>;

/** How far a run is: which page comes next, and what came of those before. */
interface Progress {
  readonly list: string;
  /** Null where there is none. */
  readonly next: string | null;
  /** Of the first page. */
  readonly etag: string | null;
  readonly unchanged: boolean;
  readonly pages: number;
  readonly new: number;
  readonly known: number;
  readonly invalid: number;
}

/** Fetches a list page by page, and keeps what of it is new. A run that fails goes on at the page where it was. */
export function syncTokens({ url = null, database = null, batchSize = 500 }: SyncTokensSettings) {
  return defineJob({
    name: 'sync-tokens',
    description: 'Fetches a list of tokens and keeps the new ones',
    off: offReason(url, database),
    schedules: [{ id: 'sync-tokens', cron: weekly('mon', '04:00') }],
    overlap: 'skip',
    retry: { attempts: 5, delay: '30s', maxDelay: '10m' },
    timeout: '5m',
    async run({ signal, log, progress, checkpoint }) {
      if (url === null || !database) throw new NonRetryableError(String(offReason(url, database)));
      const list = hash('sha256', url);
      const sync = { database, batchSize, signal, log };
      let at = (await readProgress(checkpoint, list)) ?? begin(list, url);
      while (at.next !== null) {
        at = await takePage(at, at.next, sync);
        await checkpoint.write(at);
        await progress(countsOf(at));
      }
      if (!at.unchanged) await keepEtag(database, at, signal);
      log.info(countsOf(at), at.unchanged ? 'the list is the same as before' : 'the list is taken over');
      return countsOf(at);
    },
  });
}

interface Sync {
  readonly database: Database;
  readonly batchSize: number;
  readonly signal: AbortSignal;
  readonly log: JobLogger;
}

async function takePage(at: Progress, url: string, { database, batchSize, signal, log }: Sync): Promise<Progress> {
  if (at.pages >= mostPages) throw new NonRetryableError(`the list has more than ${mostPages} pages`);
  const isFirst = at.pages === 0;
  const page = await readListPage(url, { etag: isFirst ? await knownEtag(database, at, signal) : null, signal });
  if (page === 'unchanged') return { ...at, next: null, unchanged: true };
  const { tokens, invalid } = sift(page, at, log);
  const added = await insert(database, tokens, batchSize, signal);
  return {
    ...at,
    next: page.next,
    etag: isFirst ? page.etag : at.etag,
    pages: at.pages + 1,
    new: at.new + added,
    known: at.known + tokens.length - added,
    invalid: at.invalid + invalid,
  };
}

function countsOf({ unchanged, pages, new: added, known, invalid }: Progress) {
  return { unchanged, pages, new: added, known, invalid };
}

function offReason(url: string | null, database: Database | null): string | null {
  if (url === null) return 'TOKENS_URL is not set';
  return database ? null : 'DATABASE_URL is not set';
}

function begin(list: string, url: string): Progress {
  return { list, next: url, etag: null, unchanged: false, pages: 0, new: 0, known: 0, invalid: 0 };
}

/** Of another list than today's it says nothing. */
async function readProgress(checkpoint: Checkpoint, list: string): Promise<Progress | null> {
  const left = await checkpoint.read<Progress>();
  return left?.list === list ? left : null;
}

function sift({ items }: ListPage, { pages, invalid: before }: Progress, log: JobLogger) {
  const tokens: Token[] = [];
  let invalid = 0;
  for (const [index, item] of items.entries()) {
    const read = token.safeParse(item);
    if (read.success && isStorable(read.data)) {
      tokens.push(read.data);
      continue;
    }
    const where = { page: pages + 1, item: index + 1 };
    const problems = read.error?.issues.map(({ path, message }) => `${path.join('.') || 'it'}: ${message}`);
    if (before + invalid < mostTold)
      log.warn({ ...where, problems: problems ?? ['signs that are no text'] }, 'an item is invalid');
    invalid++;
  }
  return { tokens, invalid };
}

/** What JSON can say and Postgres cannot keep: NUL, and half of a surrogate pair. */
function isStorable(item: Token): boolean {
  return !/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(JSON.stringify(item));
}

/** Each batch is a transaction; of what is known already, in the table or earlier in the list, nothing changes. */
async function insert(database: Database, tokens: readonly Token[], batchSize: number, signal: AbortSignal) {
  let added = 0;
  for (let first = 0; first < tokens.length; first += batchSize) {
    const batch = tokens.slice(first, first + batchSize);
    const rows = batch.map(({ id, name, symbol, ...data }) => ({ id, name, symbol, data }));
    added += (await database.query(insertTokens, [JSON.stringify(rows)], { signal })).length;
  }
  return added;
}

async function knownEtag(database: Database, { list }: Progress, signal: AbortSignal): Promise<string | null> {
  const found = await database.query<{ etag: string }>(readEtag, [list], { signal });
  return found[0]?.etag ?? null;
}

async function keepEtag(database: Database, { list, etag }: Progress, signal: AbortSignal): Promise<void> {
  await database.query(etag === null ? dropEtag : writeEtag, etag === null ? [list] : [list, etag], { signal });
}

const insertTokens = `
  INSERT INTO rondo_catalog.tokens (id, name, symbol, data)
  SELECT id, name, symbol, data FROM jsonb_to_recordset($1::jsonb) AS item (id text, name text, symbol text, data jsonb)
  ON CONFLICT (id) DO NOTHING
  RETURNING id`;

const readEtag = 'SELECT etag FROM rondo_catalog.token_syncs WHERE list = $1';

const dropEtag = 'DELETE FROM rondo_catalog.token_syncs WHERE list = $1';

const writeEtag = `
  INSERT INTO rondo_catalog.token_syncs (list, etag) VALUES ($1, $2)
  ON CONFLICT (list) DO UPDATE SET etag = excluded.etag, synced_at = now()`;
