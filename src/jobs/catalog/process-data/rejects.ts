import { NonRetryableError } from '../../../errors.js';
import type { Draft, Folder } from './folder.js';
import type { RejectSettings } from './payload.js';
import { Damaged, type Row, type Rows } from './read-rows.js';

/** Thrown for a row that cannot be used, with the reason. It is set aside, and the others go on. */
export class BadRow extends Error {
  override readonly name = 'BadRow';
}

/** Rows that are set aside, up to a limit; none are where nobody said where to. */
export interface Rejects {
  readonly count: number;
  /** @throws NonRetryableError where there are more of them than are allowed */
  add(row: number, reason: string, came: unknown): void;
  /** Writes what was added since the last time. */
  flush(): Promise<void>;
  /** Puts their file in its place, an empty one too: one of an earlier run would be taken for this one's. Once is enough. */
  complete(): Promise<void>;
  discard(): Promise<void>;
}

export async function createRejects(
  settings: RejectSettings | undefined,
  folder: Folder,
  run: string,
): Promise<Rejects> {
  const limit = settings?.limit ?? 0;
  let isComplete = false;
  const draft: Draft | null = settings ? await folder.create(settings.file, run) : null;
  let count = 0;
  let lines: string[] = [];
  const flush = async () => {
    if (lines.length === 0) return;
    const text = lines.join('');
    lines = [];
    await draft?.handle.appendFile(text);
  };
  return {
    get count() {
      return count;
    },
    add(row, reason, came) {
      count++;
      if (count > limit) throw tooMany(limit, row, reason);
      lines.push(`${JSON.stringify({ row, reason, came })}\n`);
    },
    flush,
    async complete() {
      if (isComplete) return;
      await flush();
      await draft?.complete();
      isComplete = true;
    },
    discard: async () => draft?.discard(),
  };
}

function tooMany(limit: number, row: number, reason: string): Error {
  const allowed = limit === 0 ? 'rejects says nothing of bad rows' : `${limit} bad rows are allowed`;
  return new NonRetryableError(`row ${row} of the source is bad, and ${allowed}: ${reason}`);
}

/** What became of the rows of a source so far. */
export interface Sieve<Out> {
  readonly read: number;
  /** What `use` made of the rows of each batch: those that it skipped, with null, and those that are bad are not in it. */
  readonly batches: AsyncIterable<{ readonly row: number; readonly out: Out }[]>;
}

/**
 * Goes through the rows of a source: those that are damaged, and those that `use` refuses, are set aside.
 *
 * @param use throws BadRow to refuse a row, and answers null to pass over it
 */
export function sift<Out>(rows: Rows, rejects: Rejects, use: (row: Row) => Out | null): Sieve<Out> {
  let read = 0;
  const one = (row: Row | Damaged): Out | null => {
    if (row instanceof Damaged) {
      rejects.add(read, row.reason, row.came);
      return null;
    }
    try {
      return use(row);
    } catch (error) {
      if (!(error instanceof BadRow)) throw error;
      rejects.add(read, error.message, row);
      return null;
    }
  };
  return {
    get read() {
      return read;
    },
    batches: (async function* () {
      for await (const batch of rows.batches) {
        const used: { row: number; out: Out }[] = [];
        for (const row of batch) {
          read++;
          const out = one(row);
          if (out !== null) used.push({ row: read, out });
        }
        await rejects.flush();
        yield used;
      }
    })(),
  };
}

/** What became of the rows, without their numbers. */
export async function* outOf<Out>({ batches }: Sieve<Out>): AsyncGenerator<Out[]> {
  for await (const batch of batches) yield batch.map(({ out }) => out);
}

export async function drain(batches: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of batches);
}
