import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { duration, parseDuration } from './duration.js';
import { type Problem, RondoError } from './errors.js';
import { nearest, problemsOf, show } from './problems.js';
import { isTimezone } from './timezone.js';

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
  readonly http: {
    readonly host: string;
    readonly port: number;
    /** Who may use the API; none where none are configured. */
    readonly keys: readonly ApiKey[];
    /** Where they were read from, to be read again when it changes; null where the environment holds them. */
    readonly keysFile: string | null;
    /** How many requests a key may make; null where nobody counts. */
    readonly rateLimit: RateLimit | null;
    /** Whose word about a client's address is taken: so many hops of proxies, or these. Nobody's with `false`. */
    readonly trustProxy: number | readonly string[] | false;
    /** The origins whose pages may call the API. */
    readonly corsOrigins: readonly string[];
    /** Where metrics and probes are for whoever reaches it; 0 for any port that is free, null for none. */
    readonly metricsPort: number | null;
  };
  /** Of the jobs that come with Rondo. */
  readonly catalog: {
    readonly httpRequest: { readonly allow: readonly string[] };
    /** What is missing switches the job off; `templates` is an absolute path, null for the built-in ones. */
    readonly email: {
      readonly smtpUrl: string | undefined;
      readonly from: string | undefined;
      readonly templates: string | null;
    };
    /** Where alerts are sent. */
    readonly alert: AlertChannels;
    /** Files below which folder `process-data` reads and writes, how large its sources may be, and which tables it fills. */
    readonly processData: {
      /** Absolute; null where there is none, and the job is off. */
      readonly folder: string | null;
      readonly maxBytes: number;
      readonly importTables: readonly string[];
    };
    /** The Postgres of jobs that keep to one; null where there is none, and they are off. */
    readonly database: DatabaseAccess | null;
    /** Whose month begins at midnight: an IANA zone. */
    readonly creditsTimezone: string;
    readonly ping: { readonly on: boolean };
    /** Where the list of `sync-tokens` begins; null where there is none, and it is off. */
    readonly tokensUrl: string | null;
  };
  /** The dead man's switch of the producer in the lead; null where there is none. */
  readonly healthcheckUrl: string | null;
  /** Where traces are sent; nothing is traced where it is null. `shown` is without what may be secret. */
  readonly collector: { readonly url: string; readonly shown: string } | null;
  /** What the environment says of jobs, over what their code does. */
  readonly switches: {
    readonly disabled: readonly string[];
    /** Job names to runs at once in one worker process; `*` for all that are not named. */
    readonly concurrency: ReadonlyMap<string, number>;
  };
  /** What is allowed and yet worth a word, in sentences. */
  readonly warnings: readonly string[];
}

/** Where alerts are sent; nowhere, and nothing is looked at, where both are null. */
export interface AlertChannels {
  readonly webhook: { readonly url: string; readonly format: 'json' | 'slack' } | null;
  readonly email: { readonly smtpUrl: string; readonly from: string; readonly to: readonly string[] } | null;
}

/** A Postgres, and how much of it a process takes. */
export interface DatabaseAccess {
  readonly url: string;
  /** Connections of a process at most. */
  readonly poolSize: number;
  /** How long a statement may take unless its job says otherwise, in ms. */
  readonly statementTimeout: number;
}

export const scopes = ['read', 'enqueue', 'operate', 'admin'] as const;
export type Scope = (typeof scopes)[number];

/** A key of the API. The secret itself is forgotten as soon as it is read. */
export interface ApiKey {
  readonly name: string;
  /** SHA-256 of the secret. */
  readonly digest: Buffer;
  readonly scopes: readonly Scope[];
  /** Patterns of the job names that it is for, with `*` for any letters; all jobs where there are none. */
  readonly jobs?: readonly string[];
}

/** At most so many in each window of so many ms. */
export interface RateLimit {
  readonly max: number;
  readonly perMs: number;
}

interface RedisNode {
  readonly host: string;
  readonly port: number;
}

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

/**
 * Reads every setting from the environment: the only place that does.
 *
 * @param api whether the process will serve the API, and so wants keys in production
 * @throws RondoError `config-invalid` with all that is wrong, each with its key; never a secret's value
 */
export function loadConfig(env: Record<string, string | undefined> = process.env, { api = false } = {}): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([key, value]) => value && isOurs(key)));
  const { fromFile, problems: ofFile } = givenKeys(given);
  const read = settings.safeParse(given);
  const unknown = Object.keys(given).filter((key) => !(key in settings.shape));
  const problems = [...(read.error ? problemsOf(read.error, withoutSecrets(given)) : []), ...misspelt(unknown)];
  problems.push(...ofFile, ...missingRedis(given));
  if (api && ofFile.length === 0 && fromFile.length === 0) problems.push(...missingKeys(given));
  if (api && read.data) problems.push(...samePort(read.data, given));
  problems.push(...wrongForMail(given), ...wrongDatabase(given), ...wrongForTraces(given));
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
    http: httpOf(data, fromFile),
    catalog: catalogOf(data),
    healthcheckUrl: data.RONDO_HEALTHCHECK_URL ?? null,
    collector: collectorOf(data),
    switches: { disabled: data.RONDO_DISABLED_JOBS, concurrency: data.RONDO_CONCURRENCY },
    warnings: [
      ...unknown.map((key) => `${key} is no setting of this release and is ignored`),
      ...(data.RONDO_APP || owner.named
        ? []
        : ['no package.json above RONDO_JOBS names the app: set RONDO_APP where several share a Redis']),
    ],
  };
}

/**
 * What the environment says, right or wrong, for whoever explains it.
 *
 * @returns `config` without the settings that are wrong, null where it cannot do without them; `ofApi` what only a
 * process that serves the API would refuse to start with
 */
export function examineConfig(env: Record<string, string | undefined> = process.env): {
  readonly config: Config | null;
  readonly problems: readonly Problem[];
  readonly ofApi: readonly Problem[];
} {
  const attempt = (given: typeof env, api: boolean): { config: Config | null; problems: readonly Problem[] } => {
    try {
      return { config: loadConfig(given, { api }), problems: [] };
    } catch (error) {
      if (error instanceof RondoError) return { config: null, problems: error.problems };
      throw error;
    }
  };
  const { config, problems } = attempt(env, false);
  const ofApi = attempt(env, true).problems.slice(problems.length);
  const wrong = new Set(problems.map(({ where }) => /^\w+/.exec(where)?.[0]));
  const rest = Object.fromEntries(Object.entries(env).filter(([key]) => !wrong.has(key)));
  return { config: config ?? attempt(rest, false).config, problems, ofApi };
}

function catalogOf(data: z.output<typeof settings>): Config['catalog'] {
  return {
    httpRequest: { allow: data.HTTP_REQUEST_ALLOW },
    email: {
      smtpUrl: data.SMTP_URL,
      from: data.MAIL_FROM,
      templates: data.MAIL_TEMPLATES ? resolve(data.MAIL_TEMPLATES) : null,
    },
    alert: alertChannelsOf(data),
    processData: {
      folder: data.DATA_FOLDER ?? null,
      maxBytes: data.DATA_MAX_MB * 2 ** 20,
      importTables: data.DATA_IMPORT_TABLES,
    },
    database: databaseOf(data),
    creditsTimezone: data.CREDITS_TIMEZONE,
    ping: { on: data.RONDO_PING === 'on' },
    tokensUrl: data.TOKENS_URL ?? null,
  };
}

function httpOf(data: z.output<typeof settings>, fromFile: readonly ApiKey[]): Config['http'] {
  const { HOST: host, PORT: port, RONDO_API_KEYS_FILE: keysFile = null } = data;
  return {
    host,
    port,
    keys: keysFile === null ? data.RONDO_API_KEYS : fromFile,
    keysFile,
    rateLimit: data.RONDO_RATE_LIMIT,
    trustProxy: data.RONDO_TRUST_PROXY,
    corsOrigins: data.RONDO_CORS_ORIGINS,
    metricsPort: data.RONDO_METRICS_PORT ?? null,
  };
}

/** An API that commands work through, in place of Redis. */
export interface ApiAccess {
  readonly url: string;
  /** The secret of a key. */
  readonly key: string;
}

/**
 * Which API a command works through: what its options say, else RONDO_URL and RONDO_API_KEY; null where neither names
 * one. Nothing else of the environment has to be right for that.
 *
 * @throws RondoError `config-invalid`; the key is never shown
 */
export function loadApiAccess(
  given: { url?: string | undefined; key?: string | undefined },
  env: Record<string, string | undefined> = process.env,
): ApiAccess | null {
  const url = option('--url', given.url, 'RONDO_URL', env);
  const key = option('--key', given.key, 'RONDO_API_KEY', env);
  if (url.value === undefined && given.key === undefined) return null;
  const problems: Problem[] = [];
  if (!isApiAddress(url.value ?? '')) problems.push(addressProblem(url.from, url.value));
  if (!/^[\x21-\x7e]+$/.test(key.value ?? '')) {
    const got = key.value === undefined ? 'nothing' : '(not shown)';
    problems.push({ where: key.from, expected: 'the secret of an API key', got });
  }
  if (problems.length > 0) throw new RondoError('config-invalid', '', { problems });
  return { url: String(url.value), key: String(key.value) };
}

/** The address of an API alone. @throws RondoError `config-invalid` */
export function readApiAddress(where: string, url: string): string {
  if (isApiAddress(url)) return url;
  throw new RondoError('config-invalid', '', { problems: [addressProblem(where, url)] });
}

function addressProblem(where: string, url: string | undefined): Problem {
  const expected = 'the address of an API, such as https://rondo.example, without a user or a password';
  return { where, expected, got: url?.includes('@') ? '(not shown)' : show(url) };
}

/** What an option says, else the environment, and where that was said. */
function option(name: string, given: string | undefined, setting: string, env: Record<string, string | undefined>) {
  if (given !== undefined) return { value: given, from: name };
  const value = env[setting] || undefined;
  return { value, from: value === undefined ? `${name} or ${setting}` : setting };
}

function isApiAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && !username && !password;
}

const collectorExpected =
  'the http or https URL of an OpenTelemetry collector, such as http://localhost:4318, without a user or a password: OTEL_EXPORTER_OTLP_HEADERS takes those';

const plainName = /^[A-Za-z0-9@/._-]{1,100}$/;
const plainNameExpected = 'up to 100 letters, digits and . _ - / @';

const port = z
  .string()
  .regex(/^\d{1,5}$/, { error: 'a port from 0 to 65535' })
  .transform(Number)
  .pipe(z.int().max(65_535));

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
  RONDO_DISABLED_JOBS: z.string().default('').transform(commaSeparated),
  RONDO_CONCURRENCY: z.string().default('').transform(readConcurrency),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  SHUTDOWN_GRACE: z
    .string()
    .transform((text) => (/^\d+$/.test(text) ? Number(text) : text))
    .pipe(duration({ max: 3_600_000 }))
    .default(25_000),
  HOST: z.string().default('127.0.0.1'),
  PORT: port.default(3_000),
  RONDO_METRICS_PORT: port.optional(),
  HTTP_REQUEST_ALLOW: z
    .string()
    .default('')
    .transform((text) => commaSeparated(text.toLowerCase()))
    .pipe(
      z.array(z.string().refine(isHostOrNetwork, { error: 'a host, an address or a network such as 10.1.0.0/16' })),
    ),
  DATA_FOLDER: z
    .string()
    .transform((path) => resolve(path))
    .refine((path) => dirname(path) !== path, { error: 'a folder of its own, not the root of all' })
    .optional(),
  DATA_MAX_MB: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, { error: 'a whole number of MiB from 1' })
    .transform(Number)
    .default(10_240),
  DATA_IMPORT_TABLES: z
    .string()
    .default('')
    .transform(commaSeparated)
    .pipe(
      z.array(z.string().regex(/^[^.]{1,63}(\.[^.]{1,63})?$/, { error: 'a table, such as orders or sales.orders' })),
    ),
  RONDO_API_KEYS: z.string().default('').transform(readApiKeys),
  RONDO_API_KEYS_FILE: z.string().optional(),
  RONDO_RATE_LIMIT: z.string().default('').transform(readRateLimit),
  RONDO_TRUST_PROXY: z.string().default('').transform(readTrustProxy),
  RONDO_CORS_ORIGINS: z
    .string()
    .default('')
    .transform(commaSeparated)
    .pipe(z.array(z.string().refine(isOrigin, { error: 'an origin such as https://app.example.com, without a path' }))),
  RONDO_ALERT_WEBHOOK: z.string().refine(isHttpUrl, { error: 'an http or https URL' }).optional(),
  RONDO_ALERT_WEBHOOK_FORMAT: z.enum(['json', 'slack']).optional(),
  RONDO_ALERT_EMAIL: z
    .string()
    .default('')
    .transform(commaSeparated)
    .pipe(z.array(z.string().refine(isMailAddress, { error: 'an e-mail address such as ops@example.com' }))),
  // These may be there for the jobs of a user alone: what they hold is looked at where the program needs it.
  SMTP_URL: z.string().optional(),
  MAIL_FROM: z.string().optional(),
  MAIL_TEMPLATES: z.string().optional(),
  DATABASE_URL: z.string().optional(),
  DATABASE_POOL_SIZE: z
    .string()
    .regex(/^([1-9]\d{0,2}|1000)$/, { error: 'a whole number from 1 to 1000' })
    .transform(Number)
    .default(10),
  DATABASE_STATEMENT_TIMEOUT: duration({ min: 1, max: 86_400_000 }).default(30_000),
  CREDITS_TIMEZONE: z.string().refine(isTimezone, { error: 'an IANA time zone such as "Europe/Paris"' }).default('UTC'),
  TOKENS_URL: z
    .string()
    .refine(isApiAddress, { error: 'an http or https URL without a user or a password' })
    .optional(),
  RONDO_PING: z.enum(['on', 'off']).default('off'),
  RONDO_HEALTHCHECK_URL: z.string().refine(isHttpUrl, { error: 'an http or https URL' }).optional(),
  // OpenTelemetry's own names. What else it reads of the environment its SDK reads itself, and only where one of these is set.
  OTEL_EXPORTER_OTLP_ENDPOINT: z.string().refine(isCollector, { error: collectorExpected }).optional(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.string().refine(isCollector, { error: collectorExpected }).optional(),
  OTEL_EXPORTER_OTLP_PROTOCOL: z.string().optional(),
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: z.string().optional(),
  OTEL_SDK_DISABLED: z.string().optional(),
  // Of commands that work through an API: loadApiAccess reads them. A list of keys is meant for its neighbour.
  RONDO_URL: z.string().optional(),
  RONDO_API_KEY: z
    .string()
    .regex(/^[^:]*$/, { error: 'the secret of one key, for commands (did you mean RONDO_API_KEYS?)' })
    .optional(),
});

function alertChannelsOf(data: z.output<typeof settings>): AlertChannels {
  const { RONDO_ALERT_WEBHOOK: url, RONDO_ALERT_EMAIL: to, SMTP_URL: smtpUrl, MAIL_FROM: from } = data;
  const format = data.RONDO_ALERT_WEBHOOK_FORMAT ?? (url && isSlack(url) ? 'slack' : 'json');
  return {
    webhook: url === undefined ? null : { url, format },
    email: to.length > 0 && smtpUrl && from ? { smtpUrl, from, to } : null,
  };
}

/** Mattermost and others take Slack's format under addresses of their own: for those the format is set. */
function isSlack(url: string): boolean {
  return /(^|\.)slack\.com$/.test(new URL(url).hostname);
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

function isCollector(text: string): boolean {
  return isHttpUrl(text) && !new URL(text).username && !new URL(text).password;
}

/** The address for all signals has the path of each behind it, that for traces is taken as it is. */
function collectorOf(data: z.output<typeof settings>): Config['collector'] {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: base, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: own } = data;
  if (isDisabled(data) || !(own ?? base)) return null;
  const url = new URL(own ?? `${base}`);
  if (!own) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`;
  return { url: url.href, shown: withoutPassword(url.href) };
}

function isDisabled({ OTEL_SDK_DISABLED: disabled }: { readonly OTEL_SDK_DISABLED?: string | undefined }): boolean {
  return disabled?.toLowerCase() === 'true';
}

function isMailAddress(text: string): boolean {
  return /^[^\s@<>,]+@[^\s@<>,]+$/.test(text);
}

function missingRedis({ NODE_ENV, REDIS_URL }: Record<string, string | undefined>): Problem[] {
  if (NODE_ENV !== 'production' || REDIS_URL) return [];
  return [{ where: 'REDIS_URL', expected: 'the address of a Redis, with NODE_ENV=production', got: 'nothing' }];
}

function samePort(
  { PORT, RONDO_METRICS_PORT }: z.output<typeof settings>,
  given: Record<string, string | undefined>,
): Problem[] {
  if (PORT === 0 || PORT !== RONDO_METRICS_PORT) return [];
  return [{ where: 'RONDO_METRICS_PORT', expected: 'another port than PORT', got: show(given.RONDO_METRICS_PORT) }];
}

/**
 * Alerts by mail want a server and a sender; send-email is off where one is not set. Where jobs are the user's own these
 * may hold what the user likes.
 */
function wrongForMail(given: Record<string, string | undefined>): Problem[] {
  const { RONDO_ALERT_EMAIL: to, RONDO_JOBS, SMTP_URL: server = '', MAIL_FROM: from = '', MAIL_TEMPLATES } = given;
  if (!to && RONDO_JOBS) return [];
  const why = to ? ', with RONDO_ALERT_EMAIL' : '';
  const problems: Problem[] = [];
  const unless = (isRight: boolean, where: string, expected: string, got: string) => {
    if (!isRight) problems.push({ where, expected, got });
  };
  const servers = `smtp://[user:password@]host[:587], or smtps://… for TLS from the start${why}`;
  const senders = `the sender, such as rondo@example.com or Rondo <rondo@example.com>${why}`;
  unless(isMailServer(server) || !(to || server), 'SMTP_URL', servers, server ? '(not shown)' : 'nothing');
  unless(isSender(from) || !(to || from), 'MAIL_FROM', senders, from ? show(from) : 'nothing');
  if (MAIL_TEMPLATES && !RONDO_JOBS)
    unless(isFolder(MAIL_TEMPLATES), 'MAIL_TEMPLATES', 'a folder', show(MAIL_TEMPLATES));
  return problems;
}

function isMailServer(text: string): boolean {
  return URL.canParse(text) && /^smtps?:\/\/[^/]/.test(text);
}

function isSender(text: string): boolean {
  return isMailAddress(/<([^<>]*)>\s*$/.exec(text)?.[1] ?? text) && !/[\r\n]/.test(text);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function databaseOf(data: z.output<typeof settings>): DatabaseAccess | null {
  const { DATABASE_URL: url, DATABASE_POOL_SIZE: poolSize, DATABASE_STATEMENT_TIMEOUT: statementTimeout } = data;
  return url && isPostgresUrl(url) ? { url, poolSize, statementTimeout } : null;
}

/** Jobs of a user's own may keep to another kind of database under the same name. */
function wrongDatabase({ DATABASE_URL: url, RONDO_JOBS }: Record<string, string | undefined>): Problem[] {
  if (!url || RONDO_JOBS || isPostgresUrl(url)) return [];
  return [{ where: 'DATABASE_URL', expected: postgresUrlExpected, got: withoutPassword(url) }];
}

export const postgresUrlExpected =
  'postgres://[user[:password]@]host[:5432]/database, or postgres://user@/database?host=/folder/of/the/socket; an @ in a password is written %40';

function isPostgresUrl(url: string): boolean {
  // Before the path of a socket stands no host, which pg understands and URL does not.
  return /^postgres(ql)?:\/\/\S+$/.test(url) && isDecodable(url) && URL.canParse(url.replace('@/', '@localhost/'));
}

/** Of the protocols of OpenTelemetry one is spoken here: with another the collector would be told what it does not read. */
function wrongForTraces(given: Record<string, string | undefined>): Problem[] {
  if (isDisabled(given) || !collectorKeys.some((key) => given[key])) return [];
  const where = given.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
    ? 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'
    : 'OTEL_EXPORTER_OTLP_PROTOCOL';
  const got = given[where] ?? 'http/protobuf';
  return got === 'http/protobuf' ? [] : [{ where, expected: 'http/protobuf, with a collector', got: show(got) }];
}

const collectorKeys = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];

function commaSeparated(text: string): string[] {
  return text.split(',').flatMap((entry) => entry.trim() || []);
}

function readConcurrency(text: string, context: z.RefinementCtx): Map<string, number> {
  const given = new Map<string, number>();
  for (const entry of commaSeparated(text)) {
    const [, job = '', count = ''] = /^([a-z0-9-]+|\*)=(\d{1,5})$/.exec(entry) ?? [];
    if (Number(count) < 1 || Number(count) > 10_000 || given.has(job)) {
      context.addIssue({
        code: 'custom',
        message: 'job=count pairs such as "send-email=10,*=5", counts from 1 to 10000',
      });
    }
    given.set(job, Number(count));
  }
  return given;
}

function isOurs(key: string): boolean {
  return key in settings.shape || key.startsWith('RONDO_');
}

const redisUrlExpected =
  'redis://[[user]:password@]host[:6379][/database], rediss://… for TLS, redis+sentinel://[[user]:password@]host:port,host:port/name, or redis+cluster://[[user]:password@]host:port,host:port; a % in a password is written %25';

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

function isHostOrNetwork(entry: string): boolean {
  return isNetwork(entry) || /^[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?$/.test(entry);
}

/** An address, or a range of them. */
function isNetwork(entry: string): boolean {
  const [address = '', bits, ...rest] = entry.split('/');
  if (bits === undefined) return isIP(entry) > 0;
  return rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= ({ 4: 32, 6: 128 }[isIP(address)] ?? -1);
}

const loopback = /^(localhost|127(\.\d{1,3}){3}|::1)$/;
const shortestSecret = 16;

function readApiKeys(text: string, context: z.RefinementCtx): ApiKey[] {
  const entries = text.split(',').filter((entry) => entry.trim() !== '');
  // Never the entry itself: whichever part is wrong, a secret is near.
  const refuse = (index: number, message: string) => context.addIssue({ code: 'custom', path: [index], message });
  return readKeys(entries, inEnvironment, refuse);
}

/** How a key stands in a setting: what its second part is. */
interface KeyFormat {
  readonly shape: string;
  /** What is wrong with the second part, or null. */
  faultOf(part: string): string | null;
  digestOf(part: string): Buffer;
}

const inEnvironment: KeyFormat = {
  shape: 'name:secret:scope|scope, or name:secret:scope|scope:pattern|pattern',
  faultOf(secret) {
    if (!/^[A-Za-z0-9_-]+$/.test(secret)) return "a secret in base64url's letters";
    return secret.length < shortestSecret ? `a secret of at least ${shortestSecret} characters` : null;
  },
  digestOf: (secret) => createHash('sha256').update(secret).digest(),
};

const inFile: KeyFormat = {
  shape: 'name:sha256:scope|scope, or name:sha256:scope|scope:pattern|pattern',
  faultOf(hash) {
    if (/^[0-9a-f]{64}$/i.test(hash)) return null;
    return 'the SHA-256 of the secret in 64 hex digits, never the secret: `rondo keys new` makes both';
  },
  digestOf: (hash) => Buffer.from(hash, 'hex'),
};

function readKeys(entries: readonly string[], format: KeyFormat, refuse: (index: number, why: string) => void) {
  const names = new Set<string>();
  const digests = new Set<string>();
  return entries.map((entry, index): ApiKey => {
    const [name = '', part = '', given = '', patterns, ...rest] = entry.trim().split(':');
    const scopesAsked = given.split('|');
    const asked = scopesAsked.filter((scope): scope is Scope => scopes.some((known) => known === scope));
    const jobs = patterns?.split('|');
    const digest = format.digestOf(part);
    const faultOfPart = () =>
      format.faultOf(part) ?? (digests.has(digest.toString('hex')) ? 'a secret of its own' : null);
    if (rest.length > 0 || !part || !given) refuse(index, format.shape);
    else if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(name)) refuse(index, 'a name of small letters, digits and hyphens');
    else if (names.has(name)) refuse(index, 'a name of its own');
    else if (asked.length !== scopesAsked.length) refuse(index, `scopes among ${scopes.join(', ')}`);
    else if (jobs && !jobs.every(isJobPattern)) refuse(index, jobPatternExpected);
    else if (faultOfPart()) refuse(index, String(faultOfPart()));
    names.add(name);
    digests.add(digest.toString('hex'));
    return { name, digest, scopes: asked, ...(jobs && { jobs }) };
  });
}

export const jobPatternExpected = 'patterns of job names, such as mail-*|report: small letters, digits, hyphens and *';

export function isJobPattern(pattern: string): boolean {
  return /^[a-z0-9*-]{1,64}$/.test(pattern);
}

/**
 * Reads a file of keys: a line each, the secret as its SHA-256; what begins with `#` is for people.
 *
 * @throws RondoError `config-invalid` with all lines that are wrong, none of them shown
 */
export function readKeysFile(file: string): ApiKey[] {
  const refuse = (problems: readonly Problem[]) => new RondoError('config-invalid', '', { problems });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const got = String((error as { code?: string }).code);
    throw refuse([{ where: 'RONDO_API_KEYS_FILE', expected: 'a file that can be read', got }]);
  }
  const lines = text.split(/\r?\n/).map((line, index) => ({ line: line.trim(), number: index + 1 }));
  const given = lines.filter(({ line }) => line !== '' && !line.startsWith('#'));
  const problems: Problem[] = [];
  const entries = given.map(({ line }) => line);
  const keys = readKeys(entries, inFile, (index, expected) => {
    const where = `RONDO_API_KEYS_FILE line ${given[index]?.number}`;
    problems.push({ where, expected, got: '(not shown)' });
  });
  if (problems.length > 0) throw refuse(problems);
  return keys;
}

function givenKeys({ RONDO_API_KEYS: keys, RONDO_API_KEYS_FILE: file }: Record<string, string | undefined>): {
  readonly fromFile: readonly ApiKey[];
  readonly problems: readonly Problem[];
} {
  if (!file) return { fromFile: [], problems: [] };
  const expected = 'either RONDO_API_KEYS or a file of them';
  if (keys) return { fromFile: [], problems: [{ where: 'RONDO_API_KEYS_FILE', expected, got: 'both' }] };
  try {
    return { fromFile: readKeysFile(file), problems: [] };
  } catch (error) {
    if (!(error instanceof RondoError)) throw error;
    return { fromFile: [], problems: error.problems };
  }
}

function readRateLimit(text: string, context: z.RefinementCtx): RateLimit | null {
  if (text === '') return null;
  const [, max = '', per = ''] = /^(\d{1,9})\/(\w+)$/.exec(text) ?? [];
  const perMs = parseDuration(per) ?? 0;
  if (Number(max) >= 1 && perMs >= 1_000 && perMs <= 86_400_000) return { max: Number(max), perMs };
  context.addIssue({ code: 'custom', message: 'requests per time, such as 1000/1m: at least 1, in 1s to 24h' });
  return z.NEVER;
}

const wholeRanges = ['loopback', 'linklocal', 'uniquelocal'];

function readTrustProxy(text: string, context: z.RefinementCtx): number | string[] | false {
  if (text === '' || text === '0') return false;
  if (/^\d$/.test(text)) return Number(text);
  const given = commaSeparated(text.toLowerCase());
  const known = (entry: string) => wholeRanges.includes(entry) || (/^[\d.:a-f/]+$/.test(entry) && isNetwork(entry));
  if (given.length > 0 && given.every(known)) return given;
  const message = `how many proxies stand before it (1 to 9), or their addresses: 10.0.0.0/8,::1,${wholeRanges.join(',')}`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

function isOrigin(text: string): boolean {
  return /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}

/** Without a key, only this machine is let in, and not in production. */
function missingKeys(given: Record<string, string | undefined>): Problem[] {
  if (/[^\s,]/.test(given.RONDO_API_KEYS ?? '')) return [];
  const reason =
    given.NODE_ENV === 'production'
      ? 'NODE_ENV=production'
      : !loopback.test(given.HOST ?? 'localhost') && `HOST=${given.HOST}`;
  return reason ? [{ where: 'RONDO_API_KEYS', expected: `at least one key, with ${reason}`, got: 'nothing' }] : [];
}

function isDecodable(text: string): boolean {
  try {
    return decodeURIComponent(text) !== '';
  } catch {
    return false;
  }
}

function withoutSecrets(given: Record<string, string | undefined>) {
  return {
    ...given,
    ...(given.REDIS_URL && { REDIS_URL: withoutPassword(given.REDIS_URL) }),
    ...Object.fromEntries(secretAddresses.filter((key) => given[key]).map((key) => [key, '(not shown)'])),
    ...(given.RONDO_API_KEY && { RONDO_API_KEY: '(not shown)' }),
    ...(given.RONDO_API_KEYS && { RONDO_API_KEYS: given.RONDO_API_KEYS.split(',').map(() => '(not shown)') }),
  };
}

/** Who knows one of these may use it. */
const secretAddresses = [
  ...['RONDO_ALERT_WEBHOOK', 'RONDO_HEALTHCHECK_URL', 'SMTP_URL', 'DATABASE_URL', 'TOKENS_URL'],
  ...collectorKeys,
];

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
