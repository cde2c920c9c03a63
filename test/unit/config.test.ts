import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { RondoError } from '../../src/errors.js';

type Env = Record<string, string | undefined>;

function refused(env: Env, process: { api?: boolean } = {}): RondoError {
  try {
    loadConfig(env, process);
  } catch (error) {
    if (error instanceof RondoError && error.code === 'config-invalid') return error;
    throw error;
  }
  throw new Error('the settings are taken');
}

describe('the settings', () => {
  test('have a default each', () => {
    expect(loadConfig({})).toEqual({
      redis: { kind: 'embedded', shown: 'the embedded server' },
      prefix: 'rondo',
      jobsModule: null,
      app: 'rondo',
      release: expect.stringMatching(/^\d+\.\d+\.\d+/),
      logLevel: 'info',
      shutdownGrace: 25_000,
      http: {
        ...{ host: '127.0.0.1', port: 3_000, keys: [], keysFile: null },
        ...{ rateLimit: null, trustProxy: false, corsOrigins: [], metricsPort: null },
      },
      catalog: {
        httpRequest: { allow: [] },
        email: { smtpUrl: undefined, from: undefined, templates: null },
        alert: { webhook: null, email: null },
        processData: { folder: null, maxBytes: 10 * 2 ** 30, importTables: [] },
        database: null,
        creditsTimezone: 'UTC',
        ping: { on: false },
        tokensUrl: null,
      },
      healthcheckUrl: null,
      collector: null,
      switches: { disabled: [], concurrency: new Map() },
      warnings: [],
    });
  });

  test('say where alerts go, in which format, and by which server', () => {
    const alertOf = (env: Record<string, string>) => loadConfig(env).catalog.alert;
    const slack = 'https://hooks.slack.com/services/T/B/x';
    expect(alertOf({ RONDO_ALERT_WEBHOOK: slack }).webhook).toEqual({ url: slack, format: 'slack' });
    const own = 'https://chat.example.com/hooks/x';
    expect(alertOf({ RONDO_ALERT_WEBHOOK: own }).webhook).toEqual({ url: own, format: 'json' });
    const set = { RONDO_ALERT_WEBHOOK: own, RONDO_ALERT_WEBHOOK_FORMAT: 'slack' };
    expect(alertOf(set).webhook?.format).toBe('slack');
    const mail = { SMTP_URL: 'smtp://u:p@mail:587', MAIL_FROM: 'Rondo <rondo@example.com>' };
    expect(alertOf(mail).email).toBeNull();
    expect(alertOf({ ...mail, RONDO_ALERT_EMAIL: 'a@example.com, b@example.com' }).email).toEqual({
      smtpUrl: mail.SMTP_URL,
      from: mail.MAIL_FROM,
      to: ['a@example.com', 'b@example.com'],
    });
  });

  test('take the address of a Postgres, in each of its forms, and how much of it a process may take', () => {
    const databaseOf = (env: Record<string, string>) => loadConfig(env).catalog.database;
    for (const url of [
      'postgres://db.example/app',
      'postgresql://app:p%40ss@db.example:6432/app?sslmode=verify-full',
      'postgres://app:secret@/app?host=/run/postgresql',
      'postgres:///app?host=/run/postgresql',
    ]) {
      expect(databaseOf({ DATABASE_URL: url })).toEqual({ url, poolSize: 10, statementTimeout: 30_000 });
    }
    const given = { DATABASE_URL: 'postgres:///', DATABASE_POOL_SIZE: '3', DATABASE_STATEMENT_TIMEOUT: '2m' };
    expect(databaseOf(given)).toMatchObject({ poolSize: 3, statementTimeout: 120_000 });
    expect(databaseOf({ ...given, DATABASE_STATEMENT_TIMEOUT: '30000' })?.statementTimeout).toBe(30_000);
    expect(loadConfig({ CREDITS_TIMEZONE: 'Asia/Tokyo' }).catalog.creditsTimezone).toBe('Asia/Tokyo');
  });

  test('of the database are refused where they are wrong, and the password is not shown', () => {
    const { message, problems } = refused({
      DATABASE_URL: 'mysql://app:secret@db.example/app',
      DATABASE_POOL_SIZE: '0',
      DATABASE_STATEMENT_TIMEOUT: '0',
      CREDITS_TIMEZONE: '+02:00',
    });
    expect(message).not.toContain('secret');
    const wrong = ['CREDITS_TIMEZONE', 'DATABASE_POOL_SIZE', 'DATABASE_STATEMENT_TIMEOUT', 'DATABASE_URL'];
    expect(problems.map(({ where }) => where).sort()).toEqual(wrong);
    expect(refused({ DATABASE_URL: 'postgres://app:100%@db.example/app' }).message).not.toContain('100%');
  });

  test('leave a database of another kind to the jobs of a user', () => {
    const env = { DATABASE_URL: 'mysql://app:secret@db.example/app', RONDO_JOBS: './jobs.mjs' };
    expect(loadConfig(env).catalog.database).toBeNull();
  });

  test('of alerts are refused where they are wrong or incomplete, and none of their addresses is shown', () => {
    const env = {
      RONDO_ALERT_WEBHOOK: 'ftp://hooks.example.com/secret',
      RONDO_HEALTHCHECK_URL: 'hc-ping.com/secret',
      RONDO_ALERT_WEBHOOK_FORMAT: 'teams',
      RONDO_ALERT_EMAIL: 'ops',
      SMTP_URL: 'mail.example.com/secret',
    };
    const { message, problems } = refused(env);
    expect(message).not.toContain('secret');
    expect(problems.map(({ where }) => where).sort()).toEqual([
      'MAIL_FROM',
      'RONDO_ALERT_EMAIL[0]',
      'RONDO_ALERT_WEBHOOK',
      'RONDO_ALERT_WEBHOOK_FORMAT',
      'RONDO_HEALTHCHECK_URL',
      'SMTP_URL',
    ]);
  });

  test('of a collector of traces are those of OpenTelemetry', () => {
    const collectorOf = (env: Record<string, string>) => loadConfig(env).collector;
    const base = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/' };
    expect(collectorOf(base)?.url).toBe('http://collector:4318/v1/traces');
    expect(collectorOf({ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://host/otlp?token=secret' })).toEqual({
      url: 'https://host/otlp/v1/traces?token=secret',
      shown: 'https://host/otlp/v1/traces?***',
    });
    const own = { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://traces:4318/in' };
    expect(collectorOf({ ...base, ...own })?.url).toBe('http://traces:4318/in');
    expect(collectorOf({ ...base, OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' })).toBeNull();
    expect(collectorOf({ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }), 'which others may have set').toBeNull();
    const { problems } = refused({ ...base, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' });
    const expected = 'http/protobuf, with a collector';
    expect(problems).toEqual([{ where: 'OTEL_EXPORTER_OTLP_PROTOCOL', expected, got: '"grpc"' }]);
  });

  test.each(['collector:4318', 'grpc://collector:4317', 'https://user:secret@collector', 'secret'])(
    'of a collector are refused where they are wrong, and not shown: %s',
    (address) => {
      const keys = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];
      const { problems } = refused(Object.fromEntries(keys.map((key) => [key, address])));
      expect(problems).toMatchObject(keys.map((where) => ({ where, got: '"(not shown)"' })));
    },
  );

  test('of mail are refused where the catalog uses them, are missing where one is, and are a user’s own beside RONDO_JOBS', () => {
    const wrong = { SMTP_URL: 'smtp:hush', MAIL_FROM: 'Shop', MAIL_TEMPLATES: '/nowhere/at/all' };
    const { message, problems } = refused(wrong);
    expect(problems.map(({ where }) => where)).toEqual(['SMTP_URL', 'MAIL_FROM', 'MAIL_TEMPLATES']);
    expect(message).not.toContain('hush');
    expect(refused({ MAIL_TEMPLATES: 'x'.repeat(5_000) }).problems, 'that stat refuses').toMatchObject([
      { where: 'MAIL_TEMPLATES', expected: 'a folder that can be read' },
    ]);
    expect(loadConfig({ ...wrong, RONDO_JOBS: 'jobs.mjs' }).catalog.email.from).toBe('Shop');
    expect(loadConfig({ SMTP_URL: 'smtp://mail', MAIL_TEMPLATES: 'src' }).catalog.email).toEqual({
      smtpUrl: 'smtp://mail',
      from: undefined,
      templates: resolve('src'),
    });
  });

  test('are as the environment says', () => {
    const env = {
      NODE_ENV: 'production',
      REDIS_URL: 'redis://localhost:6379',
      RONDO_PREFIX: 'staging.2',
      RONDO_APP: '@acme/mailer',
      RONDO_RELEASE: '2026-11-21_1',
      LOG_LEVEL: 'debug',
      SHUTDOWN_GRACE: '2m',
    };
    expect(loadConfig(env)).toMatchObject({
      redis: { kind: 'single', url: 'redis://localhost:6379' },
      prefix: 'staging.2',
      app: '@acme/mailer',
      release: '2026-11-21_1',
      logLevel: 'debug',
      shutdownGrace: 120_000,
    });
  });

  test('that are empty count as not set', () => {
    const empty = { REDIS_URL: '', RONDO_PREFIX: '', LOG_LEVEL: '', SHUTDOWN_GRACE: '', RONDO_JOBS: '', RONDO_FOO: '' };
    expect(loadConfig(empty)).toEqual(loadConfig({}));
  });

  test('of others are none of our business', () => {
    expect(loadConfig({ PATH: '/bin', LOG_LEVELS: 'x', REDIS_URLS: 'x' })).toEqual(loadConfig({}));
  });

  test.each([
    ['0', 0],
    ['1500', 1_500],
    ['250ms', 250],
    ['1h', 3_600_000],
  ])('take SHUTDOWN_GRACE=%s', (text, ms) => {
    expect(loadConfig({ SHUTDOWN_GRACE: text }).shutdownGrace).toBe(ms);
  });

  test.each([
    ['SHUTDOWN_GRACE', '30 s', /'10s'.*at most 1h/],
    ['SHUTDOWN_GRACE', '-1', /a duration/],
    ['SHUTDOWN_GRACE', '1.5', /a duration/],
    ['SHUTDOWN_GRACE', '2h', /at most 1h/],
    ['LOG_LEVEL', 'verbose', /"fatal", "error", "warn", "info", "debug", "trace", "silent"/],
    ['RONDO_PREFIX', '{rondo}', /up to 50 letters/],
    ['RONDO_PREFIX', 'x'.repeat(51), /up to 50 letters/],
    ['RONDO_APP', 'my app', /up to 100 letters/],
    ['RONDO_RELEASE', 'x'.repeat(101), /up to 100 letters/],
  ])('refuse %s=%s, and say what is expected', (key, value, expected) => {
    const { problems } = refused({ [key]: value });
    expect(problems).toEqual([
      { where: key, expected: expect.stringMatching(expected), got: expect.stringContaining(value.slice(0, 70)) },
    ]);
  });

  test('tell everything that is wrong at once, in the message too', () => {
    const error = refused({
      NODE_ENV: 'production',
      RONDO_PREFIX: 'a b',
      RONDO_APPS: 'x',
      LOG_LEVEL: 'loud',
      SHUTDOWN_GRACE: 'soon',
    });
    const wrong = ['LOG_LEVEL', 'REDIS_URL', 'RONDO_APPS', 'RONDO_PREFIX', 'SHUTDOWN_GRACE'];
    expect(error.problems.map(({ where }) => where).sort()).toEqual(wrong);
    for (const key of wrong) expect(error.message).toContain(`${key}: expected`);
  });

  test('refuse a misspelt one, with the right one', () => {
    expect(refused({ RONDO_JOB: './jobs.mjs' }).problems).toEqual([
      { where: 'RONDO_JOB', expected: 'no such setting (did you mean RONDO_JOBS?)', got: 'a value' },
    ]);
    expect(refused({ RONDO_REALEASE: '1' }).message).toContain('RONDO_RELEASE');
  });

  test('take an unrelated RONDO_ one for unknown, to be warned of', () => {
    expect(loadConfig({ RONDO_DASHBOARD_COLOUR: 'red' }).warnings).toEqual([
      'RONDO_DASHBOARD_COLOUR is no setting of this release and is ignored',
    ]);
  });

  test('of production include REDIS_URL', () => {
    expect(refused({ NODE_ENV: 'production' }).problems).toEqual([
      { where: 'REDIS_URL', expected: expect.stringContaining('NODE_ENV=production'), got: 'nothing' },
    ]);
    expect(loadConfig({ NODE_ENV: 'development' }).redis.kind).toBe('embedded');
    expect(loadConfig({ NODE_ENV: 'production' }, { redis: false }).redis.kind, 'where none is used').toBe('embedded');
  });
});

describe('REDIS_URL', () => {
  test.each([
    'redis://localhost',
    'redis://localhost:6380/3',
    'redis://:secret@localhost/',
    'rediss://user:p%40ss@redis.example.com:6379/0',
    'redis://[::1]:6379',
  ])('takes %s as it is', (url) => {
    expect(loadConfig({ REDIS_URL: url }).redis).toMatchObject({ kind: 'single', url });
  });

  test('reads the nodes, the name and the credentials of a set with Sentinels', () => {
    expect(loadConfig({ REDIS_URL: 'redis+sentinel://user:p%40ss@h1:26380,h2/main' }).redis).toEqual({
      kind: 'sentinel',
      nodes: [
        { host: 'h1', port: 26380 },
        { host: 'h2', port: 26379 },
      ],
      name: 'main',
      username: 'user',
      password: 'p@ss',
      shown: 'redis+sentinel://***@h1:26380,h2/main',
    });
  });

  test('reads the nodes and the credentials of a cluster', () => {
    expect(loadConfig({ REDIS_URL: 'redis+cluster://user:p%40ss@h1:7000,h2' }).redis).toEqual({
      kind: 'cluster',
      nodes: [
        { host: 'h1', port: 7_000 },
        { host: 'h2', port: 6_379 },
      ],
      username: 'user',
      password: 'p@ss',
      shown: 'redis+cluster://***@h1:7000,h2',
    });
    expect(loadConfig({ REDIS_URL: 'redis+cluster://127.0.0.1:7000/' }).redis).toEqual({
      kind: 'cluster',
      nodes: [{ host: '127.0.0.1', port: 7_000 }],
      shown: 'redis+cluster://127.0.0.1:7000/',
    });
  });

  test.each([
    'localhost:6379',
    'http://localhost:6379',
    'redis://',
    'redis://localhost:notaport',
    'redis://localhost:99999',
    'redis://localhost/db0',
    'redis://:100%@localhost',
    'redis+cluster://',
    'redis+cluster://h1:7000,',
    'redis+cluster://h1:0',
    'redis+cluster://h1:70000',
    'redis+cluster://h1?tls=1',
    'redis+cluster://:100%@h1:7000',
  ])('refuses %s, and says how it is written', (url) => {
    expect(refused({ REDIS_URL: url }).problems).toEqual([
      {
        where: 'REDIS_URL',
        expected: expect.stringContaining('redis://[[user]:password@]host'),
        got: expect.any(String),
      },
    ]);
  });

  test.each([
    ['redis://user:hunter2@host:6379/0', 'redis://***@host:6379/0'],
    ['redis://:hunt@er2@host', 'redis://***@host'],
    ['redis://host:6379/0?password=hunter2', 'redis://host:6379/0?***'],
    ['redis://host:6379/0?password=hunt@er2', 'redis://***'],
    ['redis+cluster://user:hunter2@h1:7000,h2:7001', 'redis+cluster://***@h1:7000,h2:7001'],
  ])('shows %s without what is secret', (url, shown) => {
    expect(loadConfig({ REDIS_URL: url }).redis.shown).toBe(shown);
  });

  test.each([
    'redis://user:hunter2@host:6379/notadatabase',
    'redis://user:hunter2@host:notaport',
    'redis://:hunt?hunter2@host:port',
    'redis://:hunt#hunter2@host:port',
    'redis://:hunt/hunter2@host:port',
    'redis://:hunter2%@host',
    'redis://host:port?password=hunter2',
    'redis://host:port?password=hunt@hunter2',
    'redis://host:port#hunter2',
    'redis+cluster://user:hunter2@h1:port',
    'redis+cluster://user:hunter2%@h1:7000',
    'redis+cluster://h1:7000?password=hunter2',
    'redis+sentinel://user:hunter2@h1:26379',
    'redis+sentinel://user:hunter2@h1:port/main',
    'REDIS://user:hunter2@host:port',
    'redis:/user:hunter2@host',
    'user:hunter2@host',
    'hunter2',
    'redis://user:hunter2@host:po\nrt',
  ])('never shows what is secret in %j where it is refused', (url) => {
    const error = refused({ REDIS_URL: url, LOG_LEVEL: 'loud' });
    expect(error.problems).toHaveLength(2);
    expect(JSON.stringify([error.message, error.problems, error.stack, String(error.cause)])).not.toContain('hunter2');
  });
});

describe('the switches of jobs', () => {
  test('are lists of names, and of names with a count', () => {
    const { switches } = loadConfig({ RONDO_DISABLED_JOBS: 'a, b-2', RONDO_CONCURRENCY: 'send-email=10,*=5' });
    expect(switches.disabled).toEqual(['a', 'b-2']);
    expect([...switches.concurrency]).toEqual([
      ['send-email', 10],
      ['*', 5],
    ]);
  });

  test.each(['a', 'a=0', 'a=-1', 'a=1.5', 'a=10001', 'a=1,a=2', '=5', 'A=5'])(
    'refuse the concurrency %s, naming the setting',
    (given) => {
      expect(refused({ RONDO_CONCURRENCY: given }).problems).toMatchObject([{ where: 'RONDO_CONCURRENCY' }]);
    },
  );
});

describe('the app and its release', () => {
  let root = '';

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'rondo-config-'));
    mkdirSync(join(root, 'acme', 'src', 'jobs'), { recursive: true });
    writeFileSync(join(root, 'acme', 'package.json'), JSON.stringify({ name: 'acme', version: '7.8.9' }));
    mkdirSync(join(root, 'bare'));
    writeFileSync(join(root, 'bare', 'package.json'), '{}');
  });

  afterAll(() => rmSync(root, { recursive: true }));

  const identity = (env: Env) => {
    const { app, release } = loadConfig(env);
    return { app, release };
  };

  test('are those of the package that the jobs module lies in', () => {
    const module = join(root, 'acme', 'src', 'jobs', 'index.mjs');
    expect(identity({ RONDO_JOBS: module })).toEqual({ app: 'acme', release: '7.8.9' });
    expect(loadConfig({ RONDO_JOBS: module }).jobsModule).toBe(module);
  });

  test('are as the settings say, whatever the package is', () => {
    const env = { RONDO_JOBS: join(root, 'acme', 'jobs.mjs'), RONDO_APP: 'other', RONDO_RELEASE: '1' };
    expect(identity(env)).toEqual({ app: 'other', release: '1' });
  });

  test('have names where the package has none', () => {
    expect(identity({ RONDO_JOBS: join(root, 'bare', 'jobs.mjs') })).toEqual({ app: 'rondo', release: '0.0.0' });
  });

  test('a jobs module is found from the folder that the program was started in', () => {
    expect(loadConfig({ RONDO_JOBS: './my-jobs.mjs' }).jobsModule).toBe(resolve('my-jobs.mjs'));
  });
});

describe('the API', () => {
  const secret = 'hunter2-hunter2-hunter2';
  const keysOf = (text: string) =>
    loadConfig({ RONDO_API_KEYS: text }).http.keys.map(({ name, scopes }) => ({ name, scopes }));

  test('listens where HOST and PORT say', () => {
    const env = { HOST: '0.0.0.0', PORT: '80', RONDO_API_KEYS: `ops:${secret}:admin` };
    expect(loadConfig(env, { api: true }).http).toMatchObject({ host: '0.0.0.0', port: 80 });
    expect(loadConfig({ PORT: '0' }).http.port).toBe(0);
    expect(loadConfig({ PORT: '65535' }).http.port).toBe(65_535);
  });

  test("has a port for metrics and probes where RONDO_METRICS_PORT says so, which is not the API's", () => {
    expect(loadConfig({}).http.metricsPort).toBeNull();
    expect(loadConfig({ RONDO_METRICS_PORT: '0' }).http.metricsPort).toBe(0);
    expect(loadConfig({ RONDO_METRICS_PORT: '9464' }).http.metricsPort).toBe(9_464);
    expect(refused({ RONDO_METRICS_PORT: 'on' }).problems).toEqual([
      { where: 'RONDO_METRICS_PORT', expected: 'a port from 0 to 65535', got: '"on"' },
    ]);
    const same = { PORT: '9464', RONDO_METRICS_PORT: '9464' };
    expect(refused(same, { api: true }).problems).toEqual([
      { where: 'RONDO_METRICS_PORT', expected: 'another port than PORT', got: '"9464"' },
    ]);
    expect(loadConfig(same).http.metricsPort).toBe(9_464); // a worker listens on no other
    expect(loadConfig({ PORT: '0', RONDO_METRICS_PORT: '0' }, { api: true }).http).toMatchObject({ port: 0 });
  });

  test.each(['65536', '99999', '-1', '1.5', '80a', '0x50', ' 80', '808080'])('refuses PORT=%s', (PORT) => {
    expect(refused({ PORT }).problems).toMatchObject([{ where: 'PORT', expected: expect.stringContaining('65535') }]);
  });

  test('takes keys with a name, a secret and scopes each', () => {
    const text = `shop:${secret}-1:enqueue, ops-2:${secret}_2:read|operate,,`;
    expect(keysOf(text)).toEqual([
      { name: 'shop', scopes: ['enqueue'] },
      { name: 'ops-2', scopes: ['read', 'operate'] },
    ]);
  });

  test.each([
    ['ops', 'name:secret:scope|scope'],
    [`ops:${secret}`, 'name:secret:scope|scope'],
    [`ops:${secret}:`, 'name:secret:scope|scope'],
    [`ops:${secret}:read:more:still`, 'name:secret:scope|scope'],
    ['ops::read', 'name:secret:scope|scope'],
    [`:${secret}:read`, 'a name of small letters'],
    [`Ops:${secret}:read`, 'a name of small letters'],
    [`${'x'.repeat(65)}:${secret}:read`, 'a name of small letters'],
    [`ops:${secret}!:read`, "base64url's letters"],
    [`ops:${secret}:write`, 'scopes among read, enqueue, operate, admin'],
    [`ops:${secret}:read|`, 'scopes among'],
    [`ops:${secret}:read|hunter2-hunter2-hunter2`, 'scopes among'],
    ['ops:hunter2:read', 'at least 16 characters'],
  ])('refuses the key %s, without showing it', (text, expected) => {
    const error = refused({ RONDO_API_KEYS: `${text},fine:${secret}-fine:read` });
    expect(error.problems).toEqual([
      { where: 'RONDO_API_KEYS[0]', expected: expect.stringContaining(expected), got: '"(not shown)"' },
    ]);
    expect(JSON.stringify([error.message, error.stack, error.problems, String(error.cause)])).not.toContain('hunter2');
  });

  test('refuses two keys of one name, and two of one secret', () => {
    const twice = refused({ RONDO_API_KEYS: `a:${secret}-1:read,a:${secret}-2:read` });
    expect(twice.problems).toMatchObject([{ where: 'RONDO_API_KEYS[1]', expected: 'a name of its own' }]);
    const shared = refused({ RONDO_API_KEYS: `a:${secret}:read,b:${secret}:admin` });
    expect(shared.problems).toMatchObject([{ where: 'RONDO_API_KEYS[1]', expected: 'a secret of its own' }]);
  });

  test('says all that is wrong with keys at once, and shows nothing of a misspelt setting', () => {
    const error = refused({ RONDO_API_KEYS: 'a:hunter2:read,hunter2', RONDO_API_KEY: `a:${secret}:read`, PORT: 'x' });
    const wrong = ['PORT', 'RONDO_API_KEY', 'RONDO_API_KEYS[0]', 'RONDO_API_KEYS[1]'];
    expect(error.problems.map(({ where }) => where).toSorted()).toEqual(wrong);
    expect(JSON.stringify([error.message, error.problems])).not.toContain('hunter2');
  });

  test('may keep a key to some jobs', () => {
    const { keys } = loadConfig({
      RONDO_API_KEYS: `shop:${secret}:enqueue|read:mail-*|report,ops:${secret}-2:admin`,
    }).http;
    expect(keys.map(({ jobs }) => jobs)).toEqual([['mail-*', 'report'], undefined]);
    for (const patterns of ['', 'Mail', 'mail.*', 'a|', '|']) {
      const error = refused({ RONDO_API_KEYS: `shop:${secret}:read:${patterns}` });
      const [problem] = error.problems;
      expect(problem?.expected, patterns).toContain('patterns of job names');
      expect(problem?.got).toBe('"(not shown)"');
    }
  });

  describe('with a file of keys', () => {
    const hash = createHash('sha256').update(secret).digest('hex');
    const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
    const write = (text: string) => {
      const file = join(mkdtempSync(join(tmpdir(), 'rondo-keys-')), 'keys');
      writeFileSync(file, text);
      onTestFinished(() => rmSync(dirname(file), { recursive: true }));
      return file;
    };

    test('takes a hash a line, and leaves out what is for people', () => {
      const text = `# who may\r\na:${hash}:read\r\n\n  b:${hashOf('two').toUpperCase()}:admin:mail-*|report\n# c:x:y\n`;
      const RONDO_API_KEYS_FILE = write(text);
      const { keys, keysFile } = loadConfig(
        { RONDO_API_KEYS_FILE, NODE_ENV: 'production', REDIS_URL: 'redis://x' },
        { api: true },
      ).http;
      expect(keysFile).toBe(RONDO_API_KEYS_FILE);
      expect(keys).toEqual([
        { name: 'a', scopes: ['read'], digest: Buffer.from(hash, 'hex') },
        { name: 'b', scopes: ['admin'], digest: Buffer.from(hashOf('two'), 'hex'), jobs: ['mail-*', 'report'] },
      ]);
    });

    test('refuses a plain secret in it, says how to make a line, and shows nothing of it', () => {
      const error = refused({ RONDO_API_KEYS_FILE: write(`# keys\na:${secret}:read\nb:${hash.slice(1)}:read`) });
      expect(error.problems).toEqual(
        [2, 3].map((line) => ({
          where: `RONDO_API_KEYS_FILE line ${line}`,
          expected: expect.stringMatching(/SHA-256 .* never the secret: `rondo keys new` makes both/),
          got: '(not shown)',
        })),
      );
      expect(JSON.stringify([error.message, error.problems])).not.toMatch(/hunter2|[0-9a-f]{32}/);
    });

    test('refuses what else is wrong in it as in the setting', () => {
      const text = [
        `A:${hash}:read`,
        `a:${hash}:write`,
        `b:${hash}:read`,
        `b:${hashOf('two')}:read`,
        'c',
        `d:${hash}:read`,
      ];
      const error = refused({ RONDO_API_KEYS_FILE: write(text.join('\n')) });
      expect(error.problems.map(({ where, expected }) => [Number(where.split(' ').at(-1)), expected])).toEqual([
        [1, 'a name of small letters, digits and hyphens'],
        [2, expect.stringContaining('scopes among')],
        [3, 'a secret of its own'],
        [4, 'a name of its own'],
        [5, expect.stringContaining('name:sha256:scope|scope')],
        [6, 'a secret of its own'],
      ]);
    });

    test('refuses one that cannot be read, or stands beside the setting, and never shows what was given', () => {
      const missing = refused({ RONDO_API_KEYS_FILE: `/nowhere/ops:${secret}:admin` }, { api: true });
      const both = refused({ RONDO_API_KEYS_FILE: write(''), RONDO_API_KEYS: `a:${secret}:read` });
      const where = 'RONDO_API_KEYS_FILE';
      expect(missing.problems).toEqual([{ where, expected: 'a file that can be read', got: 'ENOENT' }]);
      expect(both.problems).toEqual([{ where, expected: 'either RONDO_API_KEYS or a file of them', got: 'both' }]);
    });

    test('wants a key in it, in production and elsewhere', () => {
      for (const env of [{}, { HOST: '0.0.0.0' }, { NODE_ENV: 'production', REDIS_URL: 'redis://x' }]) {
        const error = refused({ ...env, RONDO_API_KEYS_FILE: write('\n#\n') }, { api: true });
        expect(error.problems).toEqual([
          { where: 'RONDO_API_KEYS_FILE', expected: 'a file with a key in it', got: 'none' },
        ]);
      }
    });
  });

  test('counts requests where RONDO_RATE_LIMIT says how many', () => {
    const limitOf = (RONDO_RATE_LIMIT: string) => loadConfig({ RONDO_RATE_LIMIT }).http.rateLimit;
    expect(limitOf('1000/1m')).toEqual({ max: 1_000, perMs: 60_000 });
    expect(limitOf('1/24h')).toEqual({ max: 1, perMs: 86_400_000 });
    for (const RONDO_RATE_LIMIT of ['1000', '0/1m', '10/0s', '10/999ms', '10/25h', '-1/1m', '1.5/1m', 'x/1m', '10/m']) {
      expect(refused({ RONDO_RATE_LIMIT }).problems).toEqual([
        { where: 'RONDO_RATE_LIMIT', expected: expect.stringContaining('1000/1m'), got: `"${RONDO_RATE_LIMIT}"` },
      ]);
    }
  });

  test('believes the proxies that RONDO_TRUST_PROXY names', () => {
    const trusted = (RONDO_TRUST_PROXY: string) => loadConfig({ RONDO_TRUST_PROXY }).http.trustProxy;
    expect(trusted('0')).toBe(false);
    expect(trusted('2')).toBe(2);
    expect(trusted('10.0.0.0/8, ::1,Loopback')).toEqual(['10.0.0.0/8', '::1', 'loopback']);
    for (const RONDO_TRUST_PROXY of ['true', '10', '-1', '*', 'proxy.example', '10.0.0.0/33', '10.0.0', ',', '0.5']) {
      expect(refused({ RONDO_TRUST_PROXY }).problems).toMatchObject([{ where: 'RONDO_TRUST_PROXY' }]);
    }
  });

  test('lets the origins call that RONDO_CORS_ORIGINS names', () => {
    const origins = (RONDO_CORS_ORIGINS: string) => loadConfig({ RONDO_CORS_ORIGINS }).http.corsOrigins;
    expect(origins('https://a.example, http://localhost:8080,')).toEqual([
      'https://a.example',
      'http://localhost:8080',
    ]);
    for (const wrong of [
      '*',
      'null',
      'a.example',
      'https://a.example/',
      'https://a.example/x',
      'https://*.a.example',
    ]) {
      expect(refused({ RONDO_CORS_ORIGINS: `https://b.example,${wrong}` }).problems, wrong).toMatchObject([
        { where: 'RONDO_CORS_ORIGINS[1]', expected: expect.stringContaining('an origin such as') },
      ]);
    }
  });

  test.each(['127.0.0.1', '127.1.2.3', 'localhost', '::1'])('without keys may listen on HOST=%s', (HOST) => {
    expect(loadConfig({ HOST }, { api: true }).http).toMatchObject({ host: HOST, port: 3_000, keys: [] });
  });

  test.each([
    '0.0.0.0',
    '::',
    '10.0.0.1',
    'example.com',
    '127.0.0.1.example.com',
    '127.example.com',
    'localhost.example.com',
  ])('without keys refuses to listen on HOST=%s', (HOST) => {
    for (const RONDO_API_KEYS of [undefined, ' , ']) {
      expect(refused({ HOST, RONDO_API_KEYS }, { api: true }).problems).toEqual([
        { where: 'RONDO_API_KEYS', expected: `at least one key, with HOST=${HOST}`, got: 'nothing' },
      ]);
    }
  });

  test('in production refuses to start without keys, while other roles do not want any', () => {
    const env = { NODE_ENV: 'production', REDIS_URL: 'redis://redis:6379' };
    for (const RONDO_API_KEYS of [undefined, ',']) {
      expect(refused({ ...env, RONDO_API_KEYS }, { api: true }).problems).toEqual([
        { where: 'RONDO_API_KEYS', expected: 'at least one key, with NODE_ENV=production', got: 'nothing' },
      ]);
    }
    expect(loadConfig(env).http.keys).toEqual([]);
    expect(loadConfig({ ...env, RONDO_API_KEYS: `a:${secret}:read` }, { api: true }).http.keys).toHaveLength(1);
  });
});

describe('settings of process-data', () => {
  test('are a folder, of which the absolute path is known, the tables to fill, and a bound', () => {
    const env = { DATA_FOLDER: 'some/data/', DATA_IMPORT_TABLES: 'orders, sales.orders', DATA_MAX_MB: '1' };
    const folder = join(process.cwd(), 'some/data');
    const importTables = ['orders', 'sales.orders'];
    expect(loadConfig(env).catalog.processData).toEqual({ folder, importTables, maxBytes: 1_048_576 });
  });

  test.each([
    ['DATA_FOLDER', '/', 'a folder of its own, not the root of all'],
    ['DATA_IMPORT_TABLES', 'a.b.c', 'a table, such as orders or sales.orders'],
    ['DATA_MAX_MB', '0', 'a whole number of MiB from 1'],
  ])('are refused: %s=%s', (key, value, expected) => {
    expect(refused({ [key]: value }).problems).toMatchObject([{ where: expect.stringContaining(key), expected }]);
  });
});

describe('HTTP_REQUEST_ALLOW', () => {
  const allowed = (text: string) => loadConfig({ HTTP_REQUEST_ALLOW: text }).catalog.httpRequest.allow;

  test('takes hosts, addresses and networks', () => {
    const text = 'Intranet, my_service,api.internal,10.1.2.3,10.0.0.0/8,::1,fd00::/8,192.168.0.0/0,';
    expect(allowed(text)).toEqual([
      'intranet',
      'my_service',
      'api.internal',
      '10.1.2.3',
      '10.0.0.0/8',
      '::1',
      'fd00::/8',
      '192.168.0.0/0',
    ]);
    expect(allowed(' , ')).toEqual([]);
  });

  test.each([
    'http://intranet',
    'intranet:8080',
    '*',
    '*.internal',
    '10.0.0.0/33',
    '::/129',
    'intranet/8',
    '10.0.0.0/',
    '[::1]',
    'a b',
  ])('refuses %s, which would match nothing', (entry) => {
    expect(refused({ HTTP_REQUEST_ALLOW: `10.0.0.1,${entry}` }).problems).toMatchObject([
      { where: 'HTTP_REQUEST_ALLOW[1]', expected: expect.stringContaining('a host, an address or a network') },
    ]);
  });
});
