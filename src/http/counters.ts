import { createHash } from 'node:crypto';
import { RedisStore } from 'rate-limit-redis';
import type { Broker } from '../broker/queues.js';
import { withinMs } from './within.js';

/** Whoever asks waits no longer than this, in ms, for a counter. */
const countMs = 250;

/** What counts in Redis for all api processes, and for a window. One command each time. */
export function createCounter({ client, keys }: Broker, name: string): RedisStore {
  // The library wants its scripts loaded at the start, into each node of a cluster. Redis is told one as it meets it.
  const scripts = new Map<string, string>();
  const send = (command: string, ...args: string[]): Promise<unknown> => {
    const [first = '', ...rest] = args;
    if (command === 'SCRIPT') {
      const lua = rest[0] ?? '';
      const digest = createHash('sha1').update(lua).digest('hex');
      scripts.set(digest, lua);
      return Promise.resolve(digest);
    }
    if (command !== 'EVALSHA') return client.call(command, ...args);
    return client.call('EVALSHA', first, ...rest).catch((error: unknown) => {
      const lua = scripts.get(first);
      if (!lua || !String(error).includes('NOSCRIPT')) throw error;
      return client.call('EVAL', lua, ...rest);
    });
  };
  return new RedisStore({
    prefix: `${keys.limits}${name}:`,
    sendCommand: (...command) => withinMs(countMs, send(...(command as [string, ...string[]]))) as Promise<number>,
  });
}
