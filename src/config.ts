import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { duration } from './duration.js';
import { type Problem, RondoError } from './errors.js';
import { nearest, problemsOf } from './problems.js';

export interface Config {
  readonly redis: RedisSettings;
  /** Begins every key in Redis. */
  readonly prefix: string;
  /** The absolute path of the jobs module; null for the built-in catalog. */
  readonly jobsModule: string | null;
  /** Whose schedules these are: a producer removes only what its own app declared. */
  readonly app: string;
  readonly release: string;
  readonly logLevel: z.output<typeof settings>['LOG_LEVEL'];
  /** How long running runs may go on after a signal to stop, in ms. */
  readonly shutdownGrace: number;
  /** What is allowed and yet worth a word, in sentences. */
  readonly warnings: readonly string[];
}

/** How to reach Redis. `shown` is the address without its password, for logs and errors. */
export type RedisSettings =
  | { readonly kind: 'embedded'; readonly shown: string }
  | { readonly kind: 'single'; readonly url: string; readonly shown: string }
  | {
      readonly kind: 'cluster';
      readonly nodes: readonly { readonly host: string; readonly port: number }[];
      readonly username?: string;
      readonly password?: string;
      readonly shown: string;
    };

/**
 * Reads every setting from the environment: the only place that does.
 *
 * @throws RondoError `config-invalid` with all that is wrong, each with its key; never a secret's value
 */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([key, value]) => value && isOurs(key)));
  const read = settings.safeParse(given);
  const unknown = Object.keys(given).filter((key) => !(key in settings.shape));
  const problems = [...(read.error ? problemsOf(read.error, withoutSecrets(given)) : []), ...misspelt(unknown)];
  if (given.NODE_ENV === 'production' && !given.REDIS_URL) {
    problems.push({ where: 'REDIS_URL', expected: 'the address of a Redis, with NODE_ENV=production', got: 'nothing' });
  }
  if (!read.data || problems.length > 0) throw new RondoError('config-invalid', '', { problems });
  const { data } = read;
  const jobsModule = data.RONDO_JOBS ? resolve(data.RONDO_JOBS) : null;
  const owner = packageAbove(jobsModule ?? fileURLToPath(import.meta.url));
  return {
    redis: data.REDIS_URL,
    prefix: data.RONDO_PREFIX,
    jobsModule,
    app: data.RONDO_APP ?? owner.name,
    release: data.RONDO_RELEASE ?? owner.version,
    logLevel: data.LOG_LEVEL,
    shutdownGrace: data.SHUTDOWN_GRACE,
    warnings: [
      ...unknown.map((key) => `${key} is no setting of this release and is ignored`),
      ...(data.RONDO_APP || owner.named
        ? []
        : ['no package.json above RONDO_JOBS names the app: set RONDO_APP where several share a Redis']),
    ],
  };
}

const plainName = /^[A-Za-z0-9@/._-]{1,100}$/;
const plainNameExpected = 'up to 100 letters, digits and . _ - / @';

const settings = z.object({
  NODE_ENV: z.string().optional(),
  REDIS_URL: z.string().default('').transform(readRedisUrl),
  RONDO_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,50}$/, { error: 'up to 50 letters, digits and . _ -' })
    .default('rondo'),
  RONDO_JOBS: z.string().optional(),
  RONDO_APP: z.string().regex(plainName, { error: plainNameExpected }).optional(),
  RONDO_RELEASE: z.string().regex(plainName, { error: plainNameExpected }).optional(),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  SHUTDOWN_GRACE: z
    .string()
    .transform((text) => (/^\d+$/.test(text) ? Number(text) : text))
    .pipe(duration({ max: 3_600_000 }))
    .default(25_000),
});

function isOurs(key: string): boolean {
  return key in settings.shape || key.startsWith('RONDO_');
}

const redisUrlExpected =
  'redis://[[user]:password@]host[:6379][/database], rediss://… for TLS, or redis+cluster://[[user]:password@]host:port,host:port; a % in a password is written %25';

function readRedisUrl(text: string, context: z.RefinementCtx): RedisSettings {
  if (text === '') return { kind: 'embedded', shown: 'the embedded server' };
  const settings = isDecodable(text) ? (readCluster(text) ?? readSingle(text)) : null;
  if (settings) return settings;
  context.addIssue({ code: 'custom', message: redisUrlExpected });
  return z.NEVER;
}

function readSingle(text: string): RedisSettings | null {
  if (!/^rediss?:\/\//.test(text) || !URL.canParse(text)) return null;
  const { hostname, pathname } = new URL(text);
  return hostname && /^(\/\d*)?$/.test(pathname) ? { kind: 'single', url: text, shown: withoutPassword(text) } : null;
}

function readCluster(text: string): RedisSettings | null {
  const match = /^redis\+cluster:\/\/(?:([^:@/]*):([^@/]*)@)?([^@/]+)\/?$/.exec(text);
  if (!match) return null;
  const [, username, password, hosts = ''] = match;
  const nodes = hosts.split(',').map((address) => {
    const [, host = '', port = '6379'] = /^([\w.-]+)(?::(\d{1,5}))?$/.exec(address) ?? [];
    return { host, port: Number(port) };
  });
  if (nodes.some(({ host, port }) => !host || port < 1 || port > 65_535)) return null;
  return {
    kind: 'cluster',
    nodes,
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    shown: withoutPassword(text),
  };
}

function isDecodable(text: string): boolean {
  try {
    return decodeURIComponent(text) !== '';
  } catch {
    return false;
  }
}

function withoutSecrets(given: Record<string, string | undefined>) {
  return { ...given, ...(given.REDIS_URL && { REDIS_URL: withoutPassword(given.REDIS_URL) }) };
}

/** What is no address at all might be a password, pasted: it is not shown either. */
function withoutPassword(address: string): string {
  const [, scheme, rest = ''] = /^([a-z+]+:\/\/)(.*)$/i.exec(address) ?? [];
  if (!scheme) return '(not shown)';
  // Either the password or the query holds what usually ends the other.
  if (/[?#].*@/.test(rest)) return `${scheme}***`;
  return scheme + rest.replace(/^.*@/, '***@').replace(/([?#]).*$/, '$1***');
}

function misspelt(unknown: readonly string[]): Problem[] {
  return unknown.flatMap((key) => {
    const near = nearest(key, Object.keys(settings.shape), 2);
    return near ? [{ where: key, expected: `no such setting (did you mean ${near}?)`, got: 'a value' }] : [];
  });
}

function packageAbove(path: string): { name: string; version: string; named: boolean } {
  const folder = dirname(path);
  try {
    const { name, version = '0.0.0' } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return { name: name ?? 'rondo', version, named: name !== undefined };
  } catch {
    return folder === path ? { name: 'rondo', version: '0.0.0', named: false } : packageAbove(folder);
  }
}
