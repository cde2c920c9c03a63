import type { PoolClient } from 'pg';
import { NonRetryableError } from '../../../errors.js';
import { withNearest } from '../../../problems.js';
import { isSqlState } from './queries.js';
import type { Row } from './read-rows.js';
import type { Rejects, Sieve } from './rejects.js';
import { createShape, textOfValue } from './write-rows.js';

/** A row on its way into a table: what came, and the text of each column, null where it has no value. */
interface Filled {
  readonly came: Row;
  readonly values: readonly (string | null)[];
}

/** A table that is there, and how rows become rows of it. */
interface Table {
  /** Name and columns as SQL. They are known once a row was filled in. */
  sql(): string;
  /** @throws BadRow; NonRetryableError where the table has no such column */
  fill(row: Row): Filled;
}

/**
 * Looks a table up, and how it is to be filled.
 *
 * @param wanted names of fields to columns; or of both, where they are the same; with null those of the first row
 * @throws NonRetryableError where the table or a column is not there
 */
export async function openTable(
  client: PoolClient,
  name: string,
  wanted: Readonly<Record<string, string>> | readonly string[] | null,
): Promise<Table> {
  const parts = partsOf(name);
  const known = await columnsOf(client, parts);
  const isNamed = wanted !== null && !isList(wanted);
  const shape = createShape(isNamed ? Object.keys(wanted) : wanted, { ignoresOthers: isNamed });
  let columns: readonly string[] | null = null;
  const learn = () => {
    columns ??= mustHaveColumns(name, known, isNamed ? Object.values(wanted) : (shape.columns() ?? []));
    return columns;
  };
  if (wanted) learn();
  return {
    sql: () => `${listed(client, parts, '.')} (${listed(client, learn(), ', ')})`,
    fill(row) {
      const values = shape.valuesOf(row).map((value) => (hasValue(value) ? textOfValue(value) : null));
      learn();
      return { came: row, values };
    },
  };
}

const isList = (wanted: object): wanted is readonly string[] => Array.isArray(wanted);
const hasValue = (value: unknown) => value !== undefined && value !== null && value !== '';

const listed = (client: PoolClient, names: readonly string[], between: string) =>
  names.map((name) => client.escapeIdentifier(name)).join(between);

function mustHaveColumns(table: string, known: readonly string[], wanted: readonly string[]): readonly string[] {
  const unknown = wanted.filter((column) => !known.includes(column));
  if (unknown.length === 0) return wanted;
  const named = unknown.map((column) => withNearest(column, known)).join(', ');
  throw new NonRetryableError(`the table ${table} has no column ${named}`);
}

/**
 * Fills the table within the client's transaction. Rows that Postgres refuses for what is in them are set aside.
 *
 * @returns how many rows are in the table for it
 */
export async function fillTable(
  client: PoolClient,
  table: Table,
  sieve: Sieve<Filled>,
  rejects: Rejects,
): Promise<number> {
  const copy = await createCopy(client, table);
  // So that those that are judged at the end of a transaction are judged row by row as well.
  await client.query('set constraints all immediate');
  let written = 0;
  const put = async (rows: readonly { row: number; out: Filled }[]): Promise<void> => {
    const [first] = rows;
    if (!first) return;
    const fault = await copy(rows.map(({ out }) => out.values));
    if (fault === null) {
      written += rows.length;
    } else if (rows.length === 1) {
      rejects.add(first.row, fault, first.out.came);
    } else {
      // In their order, so that of two rows with the same key the second is the bad one.
      const half = Math.ceil(rows.length / 2);
      await put(rows.slice(0, half));
      await put(rows.slice(half));
    }
  };
  for await (const batch of sieve.batches) {
    // A transaction in which nothing is said for long would be ended, and a filter may pass over a lot.
    if (batch.length === 0) await client.query('select');
    await put(batch);
    await rejects.flush();
  }
  return written;
}

function partsOf(table: string): readonly [schema: string, name: string] {
  const [schema, ...name] = table.split('.');
  return name.length === 0 ? ['public', table] : [String(schema), name.join('.')];
}

async function columnsOf(client: PoolClient, [schema, name]: readonly [string, string]): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select attname as name from pg_attribute
      join pg_class on pg_class.oid = attrelid
      join pg_namespace on pg_namespace.oid = relnamespace
      where nspname = $1 and relname = $2 and relkind in ('r', 'p')
        and attnum > 0 and not attisdropped and attgenerated = ''
      order by attnum`,
    [schema, name],
  );
  if (rows.length === 0) throw new NonRetryableError(`there is no table ${schema}.${name} that could be filled`);
  return rows.map((row) => row.name);
}

/** Copies rows, all or none. Answers why Postgres refuses what is in them, or null. */
async function createCopy(client: PoolClient, table: Table) {
  const [{ from }, { stringify }] = await Promise.all([import('pg-copy-streams'), import('csv-stringify/sync')]);
  return async (rows: readonly (readonly (string | null)[])[]): Promise<string | null> => {
    await client.query('savepoint batch');
    try {
      const stream = client.query(from(`copy ${table.sql()} from stdin with (format csv)`));
      await new Promise<void>((resolve, reject) => {
        stream.once('finish', resolve).once('error', reject);
        // Null is an empty field without quotes, and nothing else is one.
        stream.end(stringify([...rows], { quoted_string: true }));
      });
      await client.query('release savepoint batch');
      return null;
    } catch (error) {
      if (!isRowsFault(error)) throw error;
      await client.query('rollback to savepoint batch');
      return (error as Error).message;
    }
  };
}

/** What is wrong with data, breaks a constraint, or is refused by a trigger. */
const isRowsFault = (error: unknown) => isSqlState(error, /^(22|23|P0001)/);
