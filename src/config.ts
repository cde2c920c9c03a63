import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { duration } from './duration.js';
import { type Problem, RondoError } from './errors.js';
import { nearest, problemsOf, show } from './problems.js';
import { isHttpUrl, isPlainHttpUrl } from './settings/addresses.js';
import { type ApiAccess, readApiAccess } from './settings/api-access.js';
import { type ApiKey, givenKeys, missingKeys, readApiKeys } from './settings/api-keys.js';
import { type Collector, collectorExpected, collectorOf, wrongForTraces } from './settings/collector.js';
import { type DatabaseAccess, databaseOf, wrongDatabase } from './settings/database.js';
import { commaSeparated, readConcurrency } from './settings/lists.js';
import { type AlertChannels, alertChannelsOf, isMailAddress, wrongForMail } from './settings/mail.js';
import { isHostOrNetwork, isOrigin, type RateLimit, readRateLimit, readTrustProxy } from './settings/network.js';
import { packageAbove } from './settings/owner.js';
import { missingRedis, type RedisSettings, readRedisUrl } from './settings/redis.js';
import { withoutSecrets } from './settings/secrets.js';
import { isTimezone } from './timezone.js';

export { type ApiAccess, readApiAddress } from './settings/api-access.js';
export {
  type ApiKey,
  isJobPattern,
  jobPatternExpected,
  readKeysFile,
  type Scope,
  scopes,
} from './settings/api-keys.js';
export { postgresUrlExpected } from './settings/database.js';
export type { RateLimit } from './settings/network.js';
export type { RedisSettings } from './settings/redis.js';

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
  /** Nothing is traced where it is null. */
  readonly collector: Collector | null;
  /** What the environment says of jobs, over what their code does. */
  readonly switches: {
    readonly disabled: readonly string[];
    /** Job names to runs at once in one worker process; `*` for all that are not named. */
    readonly concurrency: ReadonlyMap<string, number>;
  };
  /** What is allowed and yet worth a word, in sentences. */
  readonly warnings: readonly string[];
}

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Reads every setting from the environment: the only place that does.
 *
 * @param api whether the process will serve the API, and so wants keys in production
 * @param redis whether it will use Redis, and so wants its address in production
 * @throws RondoError `config-invalid` with all that is wrong, each with its key; never a secret's value
 */
export function loadConfig(env: Env = process.env, { api = false, redis = true } = {}): Config {
  const { config, ofAll, ofRedis, ofApi } = readSettings(env);
  const problems = [...ofAll, ...(redis ? ofRedis : []), ...(api ? ofApi : [])];
  if (!config || problems.length > 0) throw new RondoError('config-invalid', '', { problems });
  return config;
}

/**
 * What the environment says, right or wrong, for whoever explains it.
 *
 * @returns `config` without the settings that are wrong, null where it cannot do without them; `ofApi` what only a
 * process that serves the API would refuse to start with
 */
export function examineConfig(env: Env = process.env): {
  readonly config: Config | null;
  readonly problems: readonly Problem[];
  readonly ofApi: readonly Problem[];
} {
  const { ofAll, ofRedis, ofApi } = readSettings(env);
  const problems = [...ofAll, ...ofRedis];
  const wrong = new Set(problems.map(({ where }) => /^\w+/.exec(where)?.[0]));
  const rest = readSettings(Object.fromEntries(Object.entries(env).filter(([key]) => !wrong.has(key))));
  // What is missing beside another one, such as SMTP_URL, only switches that off.
  return { config: rest.ofRedis.length > 0 ? null : rest.config, problems, ofApi };
}

/** The settings, where each can be read by itself, and all that is wrong: for every process, or for some. */
function readSettings(env: Env) {
  const given = Object.fromEntries(Object.entries(env).filter(([key, value]) => value && isOurs(key)));
  const { fromFile, problems: ofFile } = givenKeys(given);
  const read = settings.safeParse(given);
  const unknown = Object.keys(given).filter((key) => !(key in settings.shape));
  const alone = [...(read.error ? problemsOf(read.error, withoutSecrets(given)) : []), ...misspelt(unknown), ...ofFile];
  return {
    config: read.data ? configOf(read.data, fromFile, unknown) : null,
    ofAll: [...alone, ...wrongForMail(given), ...wrongDatabase(given), ...wrongForTraces(given)],
    ofRedis: missingRedis(given),
    ofApi: [...(given.RONDO_API_KEYS_FILE ? [] : missingKeys(given)), ...(read.data ? samePort(read.data, given) : [])],
  };
}

function configOf(data: z.output<typeof settings>, fromFile: readonly ApiKey[], unknown: readonly string[]): Config {
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

/** Which API a command works through, by its options and else by the environment. @throws RondoError `config-invalid` */
export function loadApiAccess(
  given: { url?: string | undefined; key?: string | undefined },
  env: Env = process.env,
): ApiAccess | null {
  return readApiAccess(given, env);
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

const plainName = /^[A-Za-z0-9@/._-]{1,100}$/;
const plainNameExpected = 'up to 100 letters, digits and . _ - / @';

const port = z
  .string()
  .regex(/^\d{1,5}$/, { error: 'a port from 0 to 65535' })
  .transform(Number)
  .pipe(z.int().max(65_535));

/** Digits alone are milliseconds: the environment knows no numbers. */
const durationText = (bounds: Parameters<typeof duration>[0]) =>
  z
    .string()
    .transform((text) => (/^\d+$/.test(text) ? Number(text) : text))
    .pipe(duration(bounds));

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
  SHUTDOWN_GRACE: durationText({ max: 3_600_000 }).default(25_000),
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
  DATABASE_STATEMENT_TIMEOUT: durationText({ min: 1, max: 86_400_000 }).default(30_000),
  CREDITS_TIMEZONE: z.string().refine(isTimezone, { error: 'an IANA time zone such as "Europe/Paris"' }).default('UTC'),
  TOKENS_URL: z
    .string()
    .refine(isPlainHttpUrl, { error: 'an http or https URL without a user or a password' })
    .optional(),
  RONDO_PING: z.enum(['on', 'off']).default('off'),
  RONDO_HEALTHCHECK_URL: z.string().refine(isHttpUrl, { error: 'an http or https URL' }).optional(),
  // OpenTelemetry's own names. What else it reads of the environment its SDK reads itself, and only where one of these is set.
  OTEL_EXPORTER_OTLP_ENDPOINT: z.string().refine(isPlainHttpUrl, { error: collectorExpected }).optional(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.string().refine(isPlainHttpUrl, { error: collectorExpected }).optional(),
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

function samePort(
  { PORT, RONDO_METRICS_PORT }: z.output<typeof settings>,
  given: Record<string, string | undefined>,
): Problem[] {
  if (PORT === 0 || PORT !== RONDO_METRICS_PORT) return [];
  return [{ where: 'RONDO_METRICS_PORT', expected: 'another port than PORT', got: show(given.RONDO_METRICS_PORT) }];
}

function misspelt(unknown: readonly string[]): Problem[] {
  return unknown.flatMap((key) => {
    const near = nearest(key, Object.keys(settings.shape), 2);
    return near ? [{ where: key, expected: `no such setting (did you mean ${near}?)`, got: 'a value' }] : [];
  });
}

function isOurs(key: string): boolean {
  return key in settings.shape || key.startsWith('RONDO_');
}
