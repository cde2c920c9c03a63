import type { Query } from '../../src/client/index.js';

/** Statements through psql, in the form of pg's: each is a connection of its own. */
export function postgresQuery(
  folder: string,
): (
  text: string,
  values?: readonly (string | number)[],
) => ReturnType<Query> & Promise<{ rows: Record<string, string | null>[] }>;
