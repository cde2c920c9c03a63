import type { PoolClient } from 'pg';
import type { z } from 'zod';
import { NonRetryableError } from '../../errors.js';
import type { JobContext } from '../context.js';
import type { Database } from '../database.js';
import { defineJob, type ScheduleOptions } from '../define-job.js';
import type { Allowance, Resolve } from '../guarded-agent.js';
import { createCaller } from '../guarded-call.js';
import { bytesOf } from './process-data/bytes.js';
import { createFilter } from './process-data/conditions.js';
import { type Outcome, withDrafts } from './process-data/drafts.js';
import { type Folder, openFolder } from './process-data/folder.js';
import { createGroups } from './process-data/groups.js';
import {
  formatOfSource,
  type Operation,
  type Payload,
  payloadSchema,
  renamed,
  type Source,
} from './process-data/payload.js';
import { ask, readQuery } from './process-data/queries.js';
import { mustHave, type Row, type Rows, readRows } from './process-data/read-rows.js';
import { BadRow, drain, outOf, sift } from './process-data/rejects.js';
import { fillTable, openTable } from './process-data/tables.js';
import { createWriter, takenBy, writeRows } from './process-data/write-rows.js';

export interface ProcessDataSettings {
  /** The absolute path of the folder below which all files are: `DATA_FOLDER`. The job is off without one. */
  readonly folder?: string | null;
  /** For `export` and `import`; they are refused without one. */
  readonly database?: Pick<Database, 'transaction'> | null;
  /** The tables that `import` may fill, such as `orders` or `sales.orders`: `DATA_IMPORT_TABLES`. */
  readonly importTables?: readonly string[];
  /** How many bytes a source may have, packed and unpacked: `DATA_MAX_MB`; 10 GiB unless told. */
  readonly maxBytes?: number;
  /** Hosts, addresses and networks that sources may come from though they are not public. */
  readonly allow?: Allowance;
  readonly schedules?: readonly ScheduleOptions<z.input<typeof payloadSchema>>[];
  /** How names are resolved, instead of the system's way. */
  readonly resolve?: Resolve;
}

/**
 * Transforms and aggregates files of CSV and NDJSON, exports queries and imports tables. All of it streams: memory does
 * not go by the size of a file.
 */
export function processData({
  folder: root = null,
  database = null,
  importTables = [],
  maxBytes = 10 * 2 ** 30,
  allow = [],
  schedules = [],
  resolve,
}: ProcessDataSettings = {}) {
  const call = createCaller(allow, resolve);
  return defineJob({
    name: 'process-data',
    description: 'Transforms, aggregates, exports and imports files of CSV and NDJSON',
    payload: payloadSchema,
    secret: ['from.headers.*'],
    schedules,
    off: root === null ? 'DATA_FOLDER is not set' : null,
    retry: { attempts: 3, delay: '10s', maxDelay: '10m' },
    timeout: '6h',
    concurrency: 2,
    async run(context: JobContext<Payload>) {
      const { payload, progress } = context;
      const folder = await openFolder(String(root));
      let bytes: ReturnType<typeof bytesOf> | undefined;
      const open = (source: Source) => {
        bytes = bytesOf(source, { folder, call, maxBytes, context });
        return readRows(bytes, { format: formatOfSource(source), delimiter: source.delimiter });
      };
      try {
        const outcome = await perform(payload, {
          context,
          folder,
          open,
          transaction: (use) => transaction(context, use),
        });
        // All is done: a Redis that is away for a moment must not have it done again.
        await progress(100).catch(() => {});
        return outcome;
      } finally {
        await bytes?.return(undefined);
      }
    },
  });

  function perform(payload: Payload, work: Work): Promise<Outcome> {
    switch (payload.operation) {
      case 'transform':
        return transform(payload, work);
      case 'aggregate':
        return aggregate(payload, work);
      case 'export':
        return exportQuery(payload, work);
      case 'import':
        if (importTables.includes(payload.table)) return importTable(payload, work);
        throw new NonRetryableError(`the table ${payload.table} may not be imported to: DATA_IMPORT_TABLES has it not`);
    }
  }

  function transaction<Result>({ signal, deadline }: JobContext, use: (client: PoolClient) => Promise<Result>) {
    if (!database) throw new NonRetryableError('export and import want a Postgres, and DATABASE_URL is not set');
    return database.transaction(use, { signal, statementTimeout: Math.max(1, deadline.getTime() - Date.now()) });
  }
}

/** What an operation works with. */
interface Work {
  readonly context: Pick<JobContext, 'run' | 'signal' | 'progress'>;
  readonly folder: Folder;
  open(source: Source): Promise<Rows>;
  transaction<Result>(use: (client: PoolClient) => Promise<Result>): Promise<Result>;
}

async function transform({ from, to, rejects: aside, where, pick, rename }: Operation<'transform'>, work: Work) {
  const rows = await work.open(from);
  mustHave(rows, [...fieldsOf(where), ...(pick ?? []), ...Object.keys(rename)]);
  const columns = (pick ?? rows.columns)?.map((name) => renamed(name, rename)) ?? null;
  const passes = createFilter(where);
  return withDrafts(work, { file: to.file, aside }, async ({ draft, rejects }) => {
    const writer = await createWriter(to, columns);
    const sieve = sift(rows, rejects, (row) => (passes(row) ? writer.take(shaped(row, pick, rename)) : null));
    const rowsWritten = await writeRows(draft, writer, outOf(sieve), work.context);
    return { rowsRead: sieve.read, rowsWritten };
  });
}

async function aggregate({ from, to, rejects: aside, where, groupBy, compute }: Operation<'aggregate'>, work: Work) {
  const rows = await work.open(from);
  const measured = Object.values(compute).flatMap(({ field }) => field ?? []);
  mustHave(rows, [...fieldsOf(where), ...groupBy, ...measured]);
  const passes = createFilter(where);
  return withDrafts(work, { file: to.file, aside }, async ({ draft, rejects }) => {
    const groups = createGroups(groupBy, compute);
    const sieve = sift(rows, rejects, (row) => (passes(row) ? groups.add(row) : null));
    await drain(sieve.batches);
    const writer = await createWriter(to, [...groupBy, ...Object.keys(compute)]);
    const rowsWritten = await writeRows(draft, writer, takenBy(writer, groups.results()), work.context);
    return { rowsRead: sieve.read, rowsWritten };
  });
}

async function exportQuery({ query, parameters, to }: Operation<'export'>, work: Work) {
  const text = await readQuery(work.folder, query);
  return withDrafts(work, { file: to.file }, async ({ draft }) => {
    const rowsWritten = await work.transaction(async (client) => {
      const { columns, batches } = await ask(client, { name: query, text, parameters });
      const writer = await createWriter(to, columns);
      return writeRows(draft, writer, takenBy(writer, batches), work.context);
    });
    return { rowsRead: rowsWritten, rowsWritten };
  });
}

async function importTable({ from, rejects: aside, where, table, columns }: Operation<'import'>, work: Work) {
  const rows = await work.open(from);
  mustHave(rows, [...fieldsOf(where), ...Object.keys(columns ?? {})]);
  const passes = createFilter(where);
  return withDrafts(work, { file: null, aside }, ({ rejects }) =>
    work.transaction(async (client) => {
      const target = await openTable(client, table, columns ?? rows.columns);
      const sieve = sift(rows, rejects, (row) => (passes(row) ? target.fill(row) : null));
      const rowsWritten = await fillTable(client, target, sieve, rejects);
      // Before the rows are there for good: none is lost between the two.
      await rejects.complete();
      return { rowsRead: sieve.read, rowsWritten };
    }),
  );
}

const fieldsOf = (where: readonly { readonly field: string }[]) => where.map(({ field }) => field);

/** What is kept of a row, under its new names. @throws BadRow where two of them would be the same */
function shaped(row: Row, pick: readonly string[] | undefined, rename: Readonly<Record<string, string>>): Row {
  const out: Record<string, unknown> = {};
  for (const name of pick ?? Object.keys(row)) {
    if (!Object.hasOwn(row, name)) continue;
    const known = renamed(name, rename);
    if (Object.hasOwn(out, known)) throw new BadRow(`two of its fields would be called "${known}"`);
    out[known] = row[name];
  }
  return out;
}
