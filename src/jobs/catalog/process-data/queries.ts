import type { PoolClient } from 'pg';
import { NonRetryableError } from '../../../errors.js';
import type { Folder } from './folder.js';
import type { Row } from './read-rows.js';

const longestQuery = 1_000_000;
const batchRows = 100;

/** The text of a query: the folder's owner writes it, and who starts a run names it. */
export async function readQuery(folder: Folder, name: string): Promise<string> {
  const path = `queries/${name}.sql`;
  const { handle, size } = await folder.open(path);
  try {
    if (size > longestQuery) throw new NonRetryableError(`${path} has more than ${longestQuery} bytes`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

export interface Answer {
  readonly columns: readonly string[];
  readonly batches: AsyncIterable<Row[]>;
}

/** The rows of a query, a hundred at a time, in a transaction that cannot write. */
export async function ask(
  client: PoolClient,
  { name, text, parameters }: { name: string; text: string; parameters: readonly unknown[] },
): Promise<Answer> {
  await client.query("set transaction read only; set local timezone = 'UTC'; set local datestyle = 'ISO'");
  const { default: QueryStream } = await import('pg-query-stream');
  const types = {
    getTypeParser: (type: number, format?: 'text') =>
      asText.has(type) ? String : client.getTypeParser(type === numericList ? textList : type, format),
  };
  const stream = new QueryStream(text, [...parameters], { batchSize: batchRows, rowMode: 'array', types });
  const rows = client.query(stream)[Symbol.asyncIterator]();
  const { lost, forget } = watch(client);
  const next = (): Promise<IteratorResult<unknown[]>> =>
    Promise.race([rows.next(), lost]).catch((error) => explain(name, error));
  const end = () => {
    forget();
    // One that is left with rows to come holds the connection: whatever is asked next would wait behind it for ever.
    stream.destroy();
  };
  const begun = next().then((first) => ({ first, columns: mustBeDistinct(name, stream._result.fields) }));
  begun.catch(end);
  const { first, columns } = await begun;
  const rowOf = (values: readonly unknown[]): Row =>
    Object.fromEntries(columns.map((column, index) => [column, values[index]]));
  return {
    columns,
    batches: (async function* () {
      let batch: Row[] = [];
      try {
        for (let row = first; !row.done; row = await next()) {
          batch.push(rowOf(row.value));
          if (batch.length < batchRows) continue;
          yield batch;
          batch = [];
        }
      } finally {
        end();
      }
      yield batch;
    })(),
  };
}

/** Of a connection that is gone pg-query-stream tells nobody: it waits for the server to close its portal. */
function watch(client: PoolClient): { readonly lost: Promise<never>; forget(): void } {
  let forget = () => {};
  const lost = new Promise<never>((_, reject) => {
    const onEnd = () => reject(new Error('the connection to Postgres was lost'));
    client.once('end', onEnd);
    forget = () => client.off('end', onEnd);
  });
  lost.catch(() => {});
  return { lost, forget };
}

function mustBeDistinct(name: string, fields: readonly { readonly name: string }[]): readonly string[] {
  const columns = fields.map((field) => field.name);
  const twice = columns.find((column, index) => columns.indexOf(column) !== index);
  if (twice === undefined) return columns;
  throw new NonRetryableError(`queries/${name}.sql answers two columns "${twice}"`);
}

/** What is wrong with the query itself is wrong with each attempt. */
function explain(name: string, error: unknown): never {
  if (!isSqlState(error, /^(22|25|42)/)) throw error;
  throw new NonRetryableError(`queries/${name}.sql: ${(error as Error).message}`);
}

/**
 * What JavaScript's own values would change: moments have microseconds, days no zone; and bytes. By the ids of
 * Postgres's types, with those of their lists.
 */
const asText = new Set([17, 1082, 1083, 1114, 1184, 1186, 1266, 1001, 1115, 1182, 1183, 1185, 1187, 1270]);

/** Postgres's numeric[], which would become numbers of fewer digits, and text[]. */
const [numericList, textList] = [1231, 1009];

/** Whether Postgres raised it, with such a code (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
export function isSqlState(error: unknown, pattern: RegExp): boolean {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: unknown };
  return typeof severity === 'string' && typeof code === 'string' && pattern.test(code);
}
