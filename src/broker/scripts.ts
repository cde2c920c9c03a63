import { createHash } from 'node:crypto';
import type { RedisClient } from './connection.js';

type Argument = string | number;

/** A Lua script that Redis runs as one step, sent as a whole only where Redis does not know it yet. */
export function createScript(lua: string) {
  const digest = createHash('sha1').update(lua).digest('hex');
  return (client: RedisClient, keys: readonly string[], args: readonly Argument[]): Promise<unknown> => {
    const given = [...keys, ...args.map(String)];
    return client.evalsha(digest, keys.length, ...given).catch((error: unknown) => {
      if (!String(error).includes('NOSCRIPT')) throw error;
      return client.eval(lua, keys.length, ...given);
    });
  };
}
