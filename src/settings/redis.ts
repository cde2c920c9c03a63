import { z } from 'zod';
import type { Problem } from '../errors.js';
import { isDecodable, withoutPassword } from './addresses.js';

/** How to reach Redis. `shown` is the address without its password, for logs and errors. */
export type RedisSettings =
  | { readonly kind: 'embedded'; readonly shown: string }
  | { readonly kind: 'single'; readonly url: string; readonly shown: string }
  | {
      /** Sentinels that know which server is the master of a name. Credentials are the master's. */
      readonly kind: 'sentinel';
      readonly nodes: readonly RedisNode[];
      readonly name: string;
      readonly username?: string;
      readonly password?: string;
      readonly shown: string;
    }
  | {
      readonly kind: 'cluster';
      readonly nodes: readonly RedisNode[];
      readonly username?: string;
      readonly password?: string;
      readonly shown: string;
    };

export interface RedisNode {
  readonly host: string;
  readonly port: number;
}

export function readRedisUrl(text: string, context: z.RefinementCtx): RedisSettings {
  if (text === '') return { kind: 'embedded', shown: 'the embedded server' };
  const settings = isDecodable(text) ? (readCluster(text) ?? readSingle(text)) : null;
  if (settings) return settings;
  context.addIssue({ code: 'custom', message: redisUrlExpected });
  return z.NEVER;
}

export function missingRedis({ NODE_ENV, REDIS_URL }: Record<string, string | undefined>): Problem[] {
  if (NODE_ENV !== 'production' || REDIS_URL) return [];
  return [{ where: 'REDIS_URL', expected: 'the address of a Redis, with NODE_ENV=production', got: 'nothing' }];
}

const redisUrlExpected =
  'redis://[[user]:password@]host[:6379][/database], rediss://… for TLS, redis+sentinel://[[user]:password@]host:port,host:port/name, or redis+cluster://[[user]:password@]host:port,host:port; a % in a password is written %25';

function readCluster(text: string): RedisSettings | null {
  const match = /^redis\+(cluster|sentinel):\/\/(?:([^:@/]*):([^@/]*)@)?([^@/]+)(?:\/([\w.-]*))?$/.exec(text);
  if (!match) return null;
  const [, kind, username, password, hosts = '', name = ''] = match;
  const nodes = hosts.split(',').map((address) => {
    const [, host = '', port = kind === 'sentinel' ? '26379' : '6379'] =
      /^([\w.-]+)(?::(\d{1,5}))?$/.exec(address) ?? [];
    return { host, port: Number(port) };
  });
  if (nodes.some(({ host, port }) => !host || port < 1 || port > 65_535)) return null;
  const rest = {
    nodes,
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    shown: withoutPassword(text),
  };
  if (kind === 'cluster') return name ? null : { kind, ...rest };
  return name ? { kind: 'sentinel', name, ...rest } : null;
}

function readSingle(text: string): RedisSettings | null {
  if (!/^rediss?:\/\//.test(text) || !URL.canParse(text)) return null;
  const { hostname, pathname } = new URL(text);
  return hostname && /^(\/\d*)?$/.test(pathname) ? { kind: 'single', url: text, shown: withoutPassword(text) } : null;
}
