import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client } from 'pg';
import { RondoError } from '../errors.js';
import { withoutPassword } from './password.js';

/** Where the tables of the catalog's jobs are: apart from those that are there already. */
const schema = 'rondo_catalog';
const migrationsTable = 'migrations';
const folder = fileURLToPath(new URL('migrations', import.meta.url));

/** Of our own among the advisory locks of the database: `rondo` in ASCII. */
const lockValue = 0x726f6e646f;
/** How long a connection may take to be made, in ms. */
const connectMs = 10_000;

export interface MigrationState {
  /** In the order in which they were applied. */
  readonly applied: readonly string[];
  readonly pending: readonly { readonly name: string; readonly sql: string }[];
  /** Applied ones that this release does not know: a newer one was here. */
  readonly unknown: readonly string[];
}

/**
 * Applies what is pending, all of it in one transaction. Of several that do so at once one works and the others wait.
 *
 * @returns the names of what it applied
 * @throws RondoError `database-unreachable`, or `migration-failed` with what Postgres said
 */
export async function migrate(url: string): Promise<string[]> {
  return withClient(url, async (dbClient) => {
    const { runner } = await import('node-pg-migrate');
    const where = { schema, migrationsSchema: schema, createMigrationsSchema: true, migrationsTable };
    const together = { singleTransaction: true, advisoryLockMode: 'wait', lockValue } as const;
    const applied = await runner({ dbClient, dir: folder, direction: 'up', ...where, ...together, logger: silent });
    return applied.map(({ name }) => name);
  });
}

/** What was applied and what was not; changes nothing. @throws RondoError `database-unreachable` */
export async function migrationState(url: string): Promise<MigrationState> {
  const known = readdirSync(folder).sort().map(migrationIn);
  const applied = await withClient(url, appliedIn);
  return {
    applied,
    pending: known.filter(({ name }) => !applied.includes(name)),
    unknown: applied.filter((name) => !known.some((migration) => migration.name === name)),
  };
}

function migrationIn(file: string) {
  return { name: basename(file, '.sql'), sql: readFileSync(join(folder, file), 'utf8') };
}

async function appliedIn(client: Client): Promise<string[]> {
  const table = `${schema}.${migrationsTable}`;
  const { rows: found } = await client.query('SELECT to_regclass($1) IS NOT NULL AS is_there', [table]);
  if (!found[0].is_there) return [];
  const { rows } = await client.query(`SELECT name FROM ${table} ORDER BY run_on, id`);
  return rows.map(({ name }) => name);
}

async function withClient<Result>(url: string, work: (client: Client) => Promise<Result>): Promise<Result> {
  const { default: pg } = await import('pg');
  const settings = { connectionString: url, connectionTimeoutMillis: connectMs, application_name: 'rondo db' };
  const client = new pg.Client(settings);
  client.on('error', () => {}); // whoever waits for a statement is told
  try {
    await client.connect();
  } catch (error) {
    throw failure('database-unreachable', url, error);
  }
  try {
    return await work(client);
  } catch (error) {
    throw failure('migration-failed', url, error);
  } finally {
    await client.end();
  }
}

function failure(code: 'database-unreachable' | 'migration-failed', url: string, error: unknown): RondoError {
  const cause = withoutPassword(url, error);
  // Of a name with several addresses each has failed, and the error itself says nothing.
  const [first] = cause instanceof AggregateError ? cause.errors : [];
  const { message } = (first ?? cause) as Error;
  return new RondoError(code, code === 'database-unreachable' ? `by DATABASE_URL: ${message}` : message, { cause });
}

/** What it would print is in the error that it throws, and in what it answers. */
const silent = { debug() {}, info() {}, warn() {}, error() {} };
