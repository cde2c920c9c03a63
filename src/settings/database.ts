import type { Problem } from '../errors.js';
import { isDecodable, withoutPassword } from './addresses.js';

/** A Postgres, and how much of it a process takes. */
export interface DatabaseAccess {
  readonly url: string;
  /** Connections of a process at most. */
  readonly poolSize: number;
  /** How long a statement may take unless its job says otherwise, in ms. */
  readonly statementTimeout: number;
}

export function databaseOf(data: {
  readonly DATABASE_URL?: string | undefined;
  readonly DATABASE_POOL_SIZE: number;
  readonly DATABASE_STATEMENT_TIMEOUT: number;
}): DatabaseAccess | null {
  const { DATABASE_URL: url, DATABASE_POOL_SIZE: poolSize, DATABASE_STATEMENT_TIMEOUT: statementTimeout } = data;
  return url && isPostgresUrl(url) ? { url, poolSize, statementTimeout } : null;
}

/** Jobs of a user's own may keep to another kind of database under the same name. */
export function wrongDatabase({ DATABASE_URL: url, RONDO_JOBS }: Record<string, string | undefined>): Problem[] {
  if (!url || RONDO_JOBS || isPostgresUrl(url)) return [];
  return [{ where: 'DATABASE_URL', expected: postgresUrlExpected, got: withoutPassword(url) }];
}

export const postgresUrlExpected =
  'postgres://[user[:password]@]host[:5432]/database, or postgres://user@/database?host=/folder/of/the/socket; an @ in a password is written %40';

function isPostgresUrl(url: string): boolean {
  // Before the path of a socket stands no host, which pg understands and URL does not.
  return /^postgres(ql)?:\/\/\S+$/.test(url) && isDecodable(url) && URL.canParse(url.replace('@/', '@localhost/'));
}
