import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commandsNeeded } from '../../src/broker/permissions.js';
import type { QueueFacts } from '../../src/broker/queue-facts.js';
import type { ServerFacts } from '../../src/broker/server-facts.js';
import { infoFields } from '../../src/broker/server-facts.js';
import { examineConfig } from '../../src/config.js';
import type { Finding } from '../../src/producers/finding.js';
import type { ProcessView } from '../../src/producers/processes.js';
import { judgeRefusals, judgeServers } from '../../src/producers/server-findings.js';
import type { StoreFacts } from '../../src/producers/store-facts.js';
import { judgeStore } from '../../src/producers/store-findings.js';

const told = (findings: readonly Finding[]) => findings.map(({ severity, code }) => `${severity} ${code}`);

describe('a server is judged', () => {
  const info = `# Server\r\nredis_version:7.2.5\r\nhz:10\r\nconfigured_hz:100\r\n# Memory\r\nused_memory:1048576
maxmemory:104857600\r\ntotal_system_memory:8589934592\r\nmaxmemory_policy:noeviction\r\naof_enabled:1
aof_last_write_status:ok\r\nrdb_last_bgsave_status:ok\r\nrole:master\r\ncluster_enabled:0\r\nevicted_keys:0`;
  const server = (over: Record<string, string> = {}, more: Partial<ServerFacts> = {}): ServerFacts => ({
    address: '10.0.0.1:6379',
    info: { fields: new Map([...infoFields(info), ...Object.entries(over)]) },
    config: { fields: new Map([['appendfsync', 'everysec']]) },
    roundTripMs: 0.4,
    clock: { aheadMs: 3, uncertainMs: 1 },
    ...more,
  });
  const judge = (over?: Record<string, string>, more?: Partial<ServerFacts>) =>
    told(judgeServers([server(over, more)], { isCluster: false }));

  it('as well where all is as it should be', () => {
    expect(judge()).toEqual([]);
  });

  it.each<[string, Record<string, string>, string[]]>([
    ['evicts', { maxmemory_policy: 'allkeys-lru' }, ['serious redis-eviction']],
    [
      'would evict, had it a bound',
      { maxmemory_policy: 'volatile-lru', maxmemory: '0' },
      ['warning redis-eviction', 'note redis-memory-unbounded'],
    ],
    ['has evicted', { evicted_keys: '3' }, ['serious redis-evicted']],
    ['is nearly full', { used_memory: '95000000' }, ['serious redis-memory']],
    ['fills up', { used_memory: '80000000' }, ['warning redis-memory']],
    [
      'nearly fills its machine',
      { maxmemory: '0', used_memory: '8000000000' },
      ['serious redis-memory', 'note redis-memory-unbounded'],
    ],
    ['keeps nothing', { aof_enabled: '0' }, ['warning redis-aof']],
    ['cannot write to its disk', { aof_last_write_status: 'err' }, ['serious redis-disk']],
    ['is too old', { redis_version: '6.0.16' }, ['serious redis-version']],
    ['is untried', { redis_version: '6.2.1' }, ['warning redis-version']],
    ['is Valkey, which calls itself Redis of old', { redis_version: '6.2.1', valkey_version: '9.1.0' }, []],
    ['is a replica', { role: 'slave' }, ['serious redis-replica']],
    ['is a node of a cluster', { cluster_enabled: '1' }, ['serious redis-cluster']],
    ['wakes too seldom', { configured_hz: '10' }, ['note redis-hz']],
    ['has hardly a place for a client', { connected_clients: '95', maxclients: '100' }, ['warning redis-clients']],
  ])('when it %s', (_, over, expected) => {
    expect(judge(over)).toEqual(expected);
  });

  it('by its distance and its clock, in which an answer on its way is no skew', () => {
    expect(judge({}, { roundTripMs: 60 })).toEqual(['warning redis-latency']);
    expect(judge({}, { roundTripMs: 400 })).toEqual(['serious redis-latency']);
    expect(judge({}, { clock: { aheadMs: -900, uncertainMs: 10 } })).toEqual(['warning clock-skew']);
    expect(judge({}, { clock: { aheadMs: 5_000, uncertainMs: 10 } })).toEqual(['serious clock-skew']);
    expect(judge({}, { clock: { aheadMs: 400, uncertainMs: 200 } })).toEqual([]);
    const [behind] = judgeServers([server({}, { clock: { aheadMs: 5_000, uncertainMs: 1 } })], { isCluster: false });
    expect(behind?.what).toBe("this machine's clock is 5s behind that of Redis");
  });

  it('by what is left to see where it refuses INFO or CONFIG', () => {
    const config = { refused: "ERR unknown command 'CONFIG'" };
    expect(judge({}, { config })).toEqual(['note redis-config-refused']);
    expect(judge({ maxmemory_policy: 'allkeys-lfu' }, { config })).toEqual([
      'note redis-config-refused',
      'serious redis-eviction',
    ]);
    const without = judge({}, { info: { refused: 'NOPERM' }, config: { fields: new Map([['appendonly', 'no']]) } });
    expect(without).toEqual(['serious redis-info-refused', 'warning redis-aof']);
  });

  it('of a cluster each master, by its address', () => {
    const servers = [server(), server({ maxmemory_policy: 'allkeys-lru', cluster_enabled: '1' })];
    const found = judgeServers(servers, { isCluster: true });
    expect(told(found)).toEqual(['serious redis-eviction']);
    expect(found[0]?.what).toMatch(/^10\.0\.0\.1:6379: maxmemory-policy is allkeys-lru/);
  });

  it('by the commands that it refuses, those of one cause together', () => {
    const noperm = (command: string) => ({
      command,
      reason: `NOPERM this user has no permissions to run '${command}'`,
    });
    const found = judgeRefusals([
      noperm('ZADD'),
      noperm('EVAL'),
      { command: 'SET', reason: 'NOPERM No permissions to access a key' },
      { command: 'HSET', reason: "OOM command not allowed when used memory > 'maxmemory'." },
      { command: 'RENAME', reason: "ERR unknown command 'RENAME', with args beginning with:" },
    ]);
    expect(told(found)).toEqual([
      'serious redis-commands-denied',
      'serious redis-keys-denied',
      'serious redis-memory-full',
      'serious redis-commands-unknown',
    ]);
    expect(found[0]?.what).toContain('ZADD, EVAL');
  });
});

describe('what Redis holds is judged', () => {
  const now = 1_795_300_000_000;
  const queue = (over: Partial<QueueFacts> = {}): QueueFacts => ({
    ...{ job: 'mail', waiting: 0, delayed: 0, failed: 0, paused: false, active: [], schedulers: [] },
    ...over,
  });
  const worker = (over: Partial<ProcessView> = {}) =>
    ({
      host: 'h1',
      pid: 7,
      roles: ['worker'],
      state: 'working',
      clockAheadMs: 2,
      jobs: [{ name: 'mail' }],
      ...over,
    }) as ProcessView;
  const facts = (over: Partial<StoreFacts> = {}): StoreFacts => ({
    ...{ now, app: 'shop', schedules: [], unreadable: [], conflicts: [], strays: [], complete: true },
    leads: [{ app: 'shop', led: true, leader: null, producers: 1 }],
    queues: [queue()],
    declared: new Map([['mail', true]]),
    known: new Set(['mail']),
    processes: [worker()],
    ...over,
  });
  const judge = (over?: Partial<StoreFacts>) => told(judgeStore(facts(over)));
  const broken = {
    id: 'nightly',
    job: 'mail',
    owner: 'code:shop',
    health: 'broken',
    why: 'its next run is gone',
  } as const;
  const unled = [{ app: 'shop', led: false, leader: null, producers: 0 }];

  it('as well where all is as it should be', () => {
    expect(judge()).toEqual([]);
    expect(judge({ queues: [queue({ waiting: 5, active: [{ run: '1', since: now, lock: 'ends' }] })] })).toEqual([]);
  });

  it('a broken schedule by whether somebody is there who heals it', () => {
    expect(judge({ schedules: [broken] })).toEqual(['warning schedule-broken']);
    expect(judge({ schedules: [broken], leads: unled })).toEqual(['serious no-producer', 'serious schedule-broken']);
    expect(judge({ schedules: [{ ...broken, owner: 'code:other' }] })).toEqual(['serious schedule-broken']);
    expect(judge({ schedules: [{ ...broken, owner: 'api' }] })).toEqual(['warning schedule-broken']);
  });

  it('what waits by whether somebody takes it', () => {
    const waiting = { queues: [queue({ waiting: 3 })] };
    const other = worker({ jobs: [{ name: 'report', concurrency: 1, timeoutMs: 1 }] });
    expect(judge({ ...waiting, processes: [] })).toEqual(['serious no-worker']);
    expect(judge({ ...waiting, processes: [other] })).toEqual(['serious no-worker']);
    expect(judge({ queues: [queue({ waiting: 3, paused: true })], processes: [] })).toEqual([]);
    expect(judge({ ...waiting, declared: new Map([['mail', false]]) })).toEqual(['note job-disabled']);
    expect(judge({ ...waiting, known: new Set() })).toEqual(['warning queue-unknown']);
  });

  it('runs without a holder by how long, and whether another takes them', () => {
    const left = (since: number) => ({ queues: [queue({ active: [{ run: '1', since, lock: 'none' as const }] })] });
    expect(judge(left(now - 20_000))).toEqual(['note run-abandoned']);
    expect(judge(left(now - 300_000))).toEqual(['serious run-abandoned']);
    expect(judge({ ...left(now - 20_000), processes: [] })).toEqual(['serious run-abandoned']);
    expect(judge({ queues: [queue({ active: [{ run: '1', since: now, lock: 'endless' }] })] })).toEqual([
      'serious lock-endless',
    ]);
  });

  it('what nobody knows, cannot be read, or waits for a word', () => {
    expect(judge({ strays: [{ job: 'mail', scheduler: 'by-hand' }] })).toEqual(['warning scheduler-stray']);
    expect(judge({ unreadable: ['odd'] })).toEqual(['serious schedules-unreadable']);
    expect(judge({ schedules: [{ ...broken, health: 'held' }] })).toEqual(['warning schedules-held']);
    expect(judge({ schedules: [{ ...broken, health: 'late' }] })).toEqual(['warning schedules-late']);
    expect(judge({ conflicts: [{ id: 'nightly', reason: 'it belongs to api' }] })).toEqual([
      'serious schedule-conflict',
    ]);
    expect(judge({ declared: null, complete: false })).toEqual(['note queues-unseen', 'note jobs-unseen']);
  });

  it('processes by their clocks and their silence', () => {
    expect(judge({ processes: [worker({ clockAheadMs: -900 })] })).toEqual(['warning clock-skew']);
    expect(judge({ processes: [worker({ clockAheadMs: 4_000 })] })).toEqual(['serious clock-skew']);
    expect(judge({ processes: [worker({ state: 'silent' })] })).toEqual(['warning process-silent']);
  });
});

describe('settings are examined', () => {
  it('with all that is wrong, and go on without it', () => {
    const env = { REDIS_URL: 'redis://h', RONDO_PREFIX: 'a b', RONDO_API_KEYS: 'ops:short:read', PORT: '3001' };
    const { config, problems, ofApi } = examineConfig(env);
    expect(problems.map(({ where }) => where)).toEqual(['RONDO_PREFIX', 'RONDO_API_KEYS[0]']);
    expect(JSON.stringify(problems)).not.toContain('short:');
    expect(config).toMatchObject({ prefix: 'rondo', http: { port: 3001, keys: [] }, redis: { url: 'redis://h' } });
    expect(ofApi).toEqual([]);
  });

  it('in production: what is missing for all, and what for the api alone', () => {
    const { config, problems, ofApi } = examineConfig({ NODE_ENV: 'production' });
    expect(config).toBeNull();
    expect(problems.map(({ where }) => where)).toEqual(['REDIS_URL']);
    expect(ofApi.map(({ where }) => where)).toEqual(['RONDO_API_KEYS']);
  });

  it('each for what it is, whatever else is wrong', () => {
    const env = { NODE_ENV: 'production', REDIS_URL: 'redis://h', DATABASE_URL: 'mysql://db/app', MAIL_FROM: 'Shop' };
    const { problems, ofApi } = examineConfig(env);
    expect(problems.map(({ where }) => where)).toEqual(['MAIL_FROM', 'DATABASE_URL']);
    expect(ofApi.map(({ where }) => where)).toEqual(['RONDO_API_KEYS']);
  });

  it('where one is missing beside another, and go on without both', () => {
    const { config, problems } = examineConfig({ REDIS_URL: 'redis://h', RONDO_ALERT_EMAIL: 'ops@example.com' });
    expect(problems.map(({ where }) => where)).toEqual(['SMTP_URL', 'MAIL_FROM']);
    expect(config).toMatchObject({ redis: { url: 'redis://h' }, catalog: { alert: { email: null } } });
  });
});

it('the list of commands has every one of our scripts and of BullMQ’s', () => {
  const sources = ['src', 'node_modules/bullmq/dist/cjs/scripts'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.[jt]s$/.test(file))
      .map((file) => join(folder, file)),
  );
  const used = new Set(
    sources.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/\b(?:rcall|redis\.p?call)\(\s*["']([A-Za-z]+)["']/g)].map(
        ([, name = '']) => name.toLowerCase(),
      ),
    ),
  );
  expect(used.size).toBeGreaterThan(50);
  // Without it a sweep and the doctor see less, and say so.
  const doneWithout = ['scan'];
  expect([...used].filter((name) => ![...commandsNeeded, ...doneWithout].includes(name))).toEqual([]);
});

it('the list of commands in the docs is this one', () => {
  const [rule = ''] = /ACL SETUSER[^`]+/.exec(readFileSync('docs/doctor.md', 'utf8')) ?? [];
  expect([...rule.matchAll(/\+(\w+)/g)].map(([, name]) => name)).toEqual(commandsNeeded);
});
