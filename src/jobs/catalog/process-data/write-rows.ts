import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Draft } from './folder.js';
import { formatOf, type Target } from './payload.js';
import type { Row } from './read-rows.js';
import { BadRow } from './rejects.js';

/** Makes text of rows: first each row into what can be refused of it, then many of them into text. */
export interface Writer {
  /** @throws BadRow for a row that does not fit in with those before it */
  take(row: Row): readonly string[];
  write(taken: readonly (readonly string[])[]): string;
  /** What a file without any row still has. */
  end(): string;
}

/** @param columns of a CSV; those of its first row unless told */
export async function createWriter(target: Target, columns: readonly string[] | null): Promise<Writer> {
  return formatOf(target.file) === 'csv' ? csvWriter(target, columns) : ndjsonWriter;
}

const rowsAtOnce = 1_000;

/** Takes rows that a program made: each of them fits. */
export async function* takenBy(writer: Writer, rows: Iterable<Row> | AsyncIterable<Row[]>) {
  let taken: (readonly string[])[] = [];
  for await (const some of rows) {
    for (const row of Array.isArray(some) ? (some as Row[]) : [some as Row]) taken.push(writer.take(row));
    if (taken.length < rowsAtOnce) continue;
    yield taken;
    taken = [];
  }
  yield taken;
}

/** Writes rows to a file, packed where its name says so. @returns how many there were */
export async function writeRows(
  { path, handle }: Draft,
  writer: Writer,
  batches: AsyncIterable<readonly (readonly string[])[]>,
  { signal }: { readonly signal: AbortSignal },
): Promise<number> {
  let rows = 0;
  const text = async function* () {
    for await (const taken of batches) {
      if (taken.length > 0) yield writer.write(taken);
      rows += taken.length;
    }
    yield writer.end();
  };
  const write = async (chunks: AsyncIterable<string | Buffer>) => {
    for await (const chunk of chunks) await handle.appendFile(chunk);
  };
  if (/\.gz$/i.test(path)) await pipeline(text, createGzip(), write, { signal });
  else await pipeline(text, write, { signal });
  return rows;
}

const ndjsonWriter: Writer = {
  take: (row) => [JSON.stringify(row)],
  write: (taken) => taken.map(([line]) => `${line}\n`).join(''),
  end: () => '',
};

async function csvWriter({ delimiter, escapeFormulas }: Target, known: readonly string[] | null): Promise<Writer> {
  const { stringify } = await import('csv-stringify/sync');
  const shape = createShape(known);
  let isBegun = false;
  const textOf = (records: readonly (readonly string[])[]) =>
    stringify([...records], {
      delimiter,
      escape_formulas: escapeFormulas,
      // A line of one empty field would be an empty line, which is no row.
      quoted_empty: shape.columns()?.length === 1,
    });
  const headed = (records: readonly (readonly string[])[]) => {
    const columns = shape.columns();
    if (isBegun || !columns) return records;
    isBegun = true;
    return columns.length > 0 ? [columns, ...records] : records;
  };
  return {
    take: (row) => shape.valuesOf(row).map(textOfValue),
    write: (taken) => textOf(headed(taken)),
    end: () => textOf(headed([])),
  };
}

/**
 * Where rows have fields of their own and what they become has columns: those of the first row are the columns, unless
 * they are known.
 */
export function createShape(known: readonly string[] | null, { ignoresOthers = false } = {}) {
  let columns = known;
  let names = new Set(known);
  return {
    columns: () => columns,
    /** One that the row has not is undefined. @throws BadRow where it has a field that is no column */
    valuesOf(row: Row): unknown[] {
      if (!columns) {
        const own = Object.keys(row);
        if (own.length === 0) throw new BadRow('it has no fields, and the columns are those of the first row');
        columns = own;
        names = new Set(columns);
      }
      const found = columns.map((name) => (Object.hasOwn(row, name) ? row[name] : undefined));
      const more = ignoresOthers ? undefined : Object.keys(row).find((name) => !names.has(name));
      if (more !== undefined) throw new BadRow(`it has a field "${more}", which the first row has not`);
      return found;
    },
  };
}

/** A value where there is nothing but text: empty for what is missing, JSON for lists and objects. */
export function textOfValue(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
