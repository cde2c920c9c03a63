import { stat } from 'node:fs/promises';
import type { ApiKey } from '../config.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';

export interface KeysFileInput {
  readonly file: string;
  /** What it held at the start. */
  readonly keys: readonly ApiKey[];
  /** @throws RondoError with all that is wrong in it */
  readonly read: (file: string) => readonly ApiKey[];
  readonly emit: Emit;
  /** How often it is looked at, in ms. */
  readonly everyMs?: number;
}

/** The keys of a file, which may change while the process runs. A file that is wrong changes nothing. */
export function createKeysFile({ file, keys, read, emit, everyMs = 2_000 }: KeysFileInput) {
  let current = keys;
  let seen: string | null = null;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    const now = await markOf(file);
    if (now === seen) return;
    const isFirst = seen === null;
    seen = now;
    try {
      const found = read(file);
      if (found.length === 0) throw new RondoError('config-invalid', `${file} holds no key`);
      const changed = isFirst ? false : current !== found;
      current = found;
      if (changed) emit({ type: 'keys.changed', keys: found.length });
    } catch (error) {
      emit({ type: 'keys.refused', reason: error instanceof Error ? error.message : String(error) });
    }
  }

  return {
    name: 'keys',
    keys: () => current,
    async start() {
      await look();
      timer = setInterval(look, everyMs);
      timer.unref();
    },
    async stop() {
      clearInterval(timer);
    },
  };
}

/** Another mark, another content: editors and secret mounts replace the file. */
async function markOf(file: string): Promise<string> {
  const { mtimeMs, size, ino } = await stat(file).catch(() => ({ mtimeMs: 0, size: -1, ino: 0 }));
  return `${mtimeMs} ${size} ${ino}`;
}
