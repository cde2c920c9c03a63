import { RondoError } from '../errors.js';
import { show } from '../problems.js';
import type { JobContext } from './context.js';

/** Where what a run remembers is kept: texts by field. */
export interface MemoryStore {
  /** The text of a field, null where there is none; and how many fields there are. */
  read(field: string): Promise<{ readonly text: string | null; readonly fields: number }>;
  write(field: string, text: string): Promise<void>;
}

export type RunMemory = Pick<JobContext, 'once' | 'checkpoint'>;

/** How much a run may remember: bytes of JSON in each field, and fields. */
const mostBytes = 65_536;
const mostFields = 1_000;

const checkpointField = 'checkpoint';
const onceField = (key: string) => `once:${key}`;

/** Which key of `once` a field is of; null for the checkpoint's. */
export function onceIn(field: string): string | null {
  return field === checkpointField ? null : field.slice(onceField('').length);
}

/** What a handler remembers from one attempt of its run to the next. */
export function memoryIn(store: MemoryStore): RunMemory {
  const underWay = new Map<string, Promise<unknown>>();

  async function remember(key: string, run: () => unknown): Promise<unknown> {
    const { text, fields } = await store.read(onceField(key));
    if (text !== null) return parsed(text);
    // Before the effect: afterwards it could only be told that it will not be remembered.
    if (fields >= mostFields) throw refused(`once "${key}"`, `at most ${mostFields} results of a run`, 'one more');
    const result = textOf(await run(), `once "${key}"`);
    await store.write(onceField(key), result);
    return parsed(result);
  }

  return {
    once<Value>(key: string, run: () => Promise<Value> | Value): Promise<Value> {
      if (typeof key !== 'string' || key.length < 1 || key.length > 200) {
        return Promise.reject(refused('key', 'a text of 1 to 200 characters', show(key)));
      }
      const known = underWay.get(key);
      if (known) return known as Promise<Value>;
      const remembering = remember(key, run).finally(() => underWay.delete(key));
      underWay.set(key, remembering);
      return remembering as Promise<Value>;
    },
    checkpoint: {
      async read<Value>(): Promise<Value | undefined> {
        const { text } = await store.read(checkpointField);
        return text === null ? undefined : (parsed(text) as Value);
      },
      write: async (value) => store.write(checkpointField, textOf(value, 'checkpoint')),
    },
  };
}

/** Nothing, which JSON has no word for, is kept as no text. */
function textOf(value: unknown, where: string): string {
  if (value === undefined) return '';
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // The message would quote the value.
  }
  if (text === undefined) throw refused(where, 'a value that JSON has a form of', typeof value);
  const bytes = Buffer.byteLength(text);
  if (bytes > mostBytes) throw refused(where, `at most ${mostBytes} bytes of JSON`, `${bytes} bytes`);
  return text;
}

function parsed(text: string): unknown {
  return text === '' ? undefined : JSON.parse(text);
}

function refused(where: string, expected: string, got: string): RondoError {
  return new RondoError('memory-refused', '', { problems: [{ where, expected, got }] });
}
