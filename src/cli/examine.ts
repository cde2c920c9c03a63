import { connect, disconnect, type RedisClient } from '../broker/connection.js';
import { findRefusals } from '../broker/permissions.js';
import { endLock, findPrefixes } from '../broker/queue-facts.js';
import { type Broker, openBroker } from '../broker/queues.js';
import { readServers, type ServerFacts } from '../broker/server-facts.js';
import { type Config, examineConfig } from '../config.js';
import { type Problem, RondoError } from '../errors.js';
import { createRegistry, type Registry } from '../jobs/registry.js';
import { briefly } from '../jobs/words.js';
import { type Finding, severities, some } from '../producers/finding.js';
import { wantedOf } from '../producers/plan.js';
import { heal } from '../producers/schedules.js';
import { judgeRefusals, judgeServers } from '../producers/server-findings.js';
import { readStoreFacts, type StoreFacts } from '../producers/store-facts.js';
import { judgeStore } from '../producers/store-findings.js';
import { audited } from './audited.js';
import { registryOf } from './session.js';

export interface Examination {
  /** What was looked at, and what was seen there. */
  readonly looked: Readonly<Record<string, string>>;
  /** The worst first. */
  readonly findings: readonly Finding[];
}

interface Wanted {
  /** Put right what can be without a risk. */
  readonly fix: boolean;
  /** In ms since the epoch. */
  readonly now: () => number;
}

/** Looks at everything that can be looked at: what is wrong in one place keeps it from no other. */
export async function examine(wanted: Wanted): Promise<Examination> {
  const { config, problems, ofApi } = examineConfig();
  const looked: Record<string, string> = {};
  const findings = [...problems.map(wrongSetting), ...ofApi.map(wrongForApi)];
  if (config) {
    findings.push(...config.warnings.map(oddSetting));
    looked.settings = settingsInWords(config);
    const registry = await registryOf(config).catch((error: unknown) => {
      findings.push(wrongJobs(error));
      return null;
    });
    if (config.redis.kind === 'embedded') findings.push(noRedis);
    else await examineRedis({ ...wanted, config, redis: config.redis, registry, looked, findings });
  }
  findings.sort((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity));
  return { looked, findings };
}

interface Patient extends Wanted {
  readonly config: Config;
  readonly redis: Exclude<Config['redis'], { kind: 'embedded' }>;
  readonly registry: Registry | null;
  readonly looked: Record<string, string>;
  readonly findings: Finding[];
}

/** How long a look through all keys may take, in ms. */
const searchMs = 5_000;

async function examineRedis(patient: Patient): Promise<void> {
  const { config, redis, looked, findings, now } = patient;
  let client: RedisClient | undefined;
  try {
    client = await connect(redis, 'fail-fast', () => {});
    const servers = await readServers(client, now);
    looked.redis = `${redis.shown}: ${servers.map(serverInWords).join('; ')}`;
    findings.push(...judgeServers(servers, { isCluster: redis.kind === 'cluster' }));
    findings.push(...judgeRefusals(await findRefusals(client, config.prefix)));
    const strange = await judgePrefix(client, config.prefix);
    if (strange) findings.push(strange);
    else await examineStore(patient);
  } catch (error) {
    findings.push(unusable(error, redis.shown));
  } finally {
    if (client) await disconnect(client);
  }
}

/** A misspelt prefix looks like a service that nobody uses: nothing is written there, and it is said. */
async function judgePrefix(client: RedisClient, prefix: string): Promise<Finding | null> {
  if ((await client.exists(`{${prefix}}:version`)) === 1) return null;
  const { names } = await findPrefixes(client, searchMs);
  const others = names.length > 0 ? `. There is something under: ${some(names)}` : '';
  const what = `under the prefix ${prefix} there is nothing${others}`;
  const todo =
    names.length > 0 ? 'Is RONDO_PREFIX the same everywhere?' : 'Nothing, where the service has not been started yet';
  return { about: 'settings', code: 'prefix-unused', severity: names.length > 0 ? 'warning' : 'note', what, todo };
}

async function examineStore(patient: Patient): Promise<void> {
  const { config, redis, registry, findings, looked, now } = patient;
  const ruleOf = (id: string) => registry?.findSchedule(id)?.schedule.next;
  const jobOf = (name: string) => registry?.find(name);
  const { prefix } = config;
  const broker = await openBroker({ redis, profile: 'fail-fast', prefix, ruleOf, jobOf, emit: () => {} });
  try {
    const input = { broker, registry, prefix: config.prefix, app: config.app, release: config.release, now, searchMs };
    const seen = await readStoreFacts(input);
    looked.store = storeInWords(seen);
    const before = judgeStore(seen);
    const done = patient.fix ? await fix(patient, broker, seen) : null;
    findings.push(...(done ? merge(before, judgeStore(await readStoreFacts(input)), done) : before));
  } finally {
    await broker.close();
  }
}

/** What was done for findings of a code. */
type Done = ReadonlyMap<string, string>;

/** What cannot lose anything: heals what a producer would heal, and lets locks end that would not. */
async function fix({ config, registry, now }: Patient, broker: Broker, seen: StoreFacts): Promise<Done> {
  const done = new Map<string, string>();
  const deployment = { app: config.app, release: config.release, now };
  if (seen.schedules.some(({ health }) => health === 'broken')) {
    const wanted = registry ? wantedOf(registry) : [];
    const { healed } = await audited(
      { broker, registry: registry ?? createRegistry([]) },
      { action: 'doctor --fix' },
      () => heal(broker, { ...deployment, wanted }, () => {}),
    );
    if (healed.length > 0) done.set('schedule-broken', 'its chain is begun anew, and its ledger accounts for the gap');
  }
  for (const { job, active } of seen.queues) {
    for (const { run, lock } of active) {
      if (lock !== 'endless') continue;
      await endLock(broker, job, run, lockMs);
      done.set('lock-endless', `the locks end in ${briefly(lockMs)}, unless their worker renews them`);
    }
  }
  return done;
}

/** As long as a worker's own lasts. */
const lockMs = 30_000;

/** What was wrong and is no longer is told as fixed, where something was done about it. */
function merge(before: readonly Finding[], after: readonly Finding[], done: Done): Finding[] {
  const left = new Set(after.map(({ code, what }) => `${code} ${what}`));
  const mended = before.flatMap((it) => {
    const fixed = done.get(it.code);
    return fixed !== undefined && !left.has(`${it.code} ${it.what}`) ? [{ ...it, fixed }] : [];
  });
  return [...mended, ...after];
}

function settingsInWords({ app, release, prefix, http }: Config): string {
  const keys = http.keys.length === 0 ? 'no keys' : `${http.keys.length} keys`;
  return `app ${app}, release ${release}, prefix ${prefix}, ${keys}${http.keysFile ? ` in ${http.keysFile}` : ''}`;
}

function serverInWords({ info, roundTripMs, clock }: ServerFacts): string {
  const fields = 'fields' in info ? info.fields : new Map<string, string>();
  const name = fields.has('valkey_version') ? 'Valkey' : 'Redis';
  const version = fields.get('valkey_version') ?? fields.get('redis_version') ?? '(version unknown)';
  const ahead = Math.round(clock.aheadMs);
  const apart = `clock ${Math.abs(ahead)} ms ${ahead < 0 ? 'behind' : 'ahead of'} ours`;
  return `${name} ${version}, answers in ${roundTripMs.toFixed(1)} ms, ${apart}`;
}

function storeInWords({ schedules, queues, processes, leads }: StoreFacts): string {
  const led = leads.filter((it) => it.led).map(({ app }) => app);
  const workers = processes.filter(({ roles }) => roles.includes('worker')).length;
  return [
    `${schedules.length} schedules`,
    `${queues.length} queues`,
    `${workers} workers`,
    led.length > 0 ? `a producer leads for ${led.join(', ')}` : 'no producer leads',
  ].join(', ');
}

const noRedis: Finding = {
  about: 'settings',
  code: 'redis-unset',
  severity: 'serious',
  what: 'REDIS_URL is not set: there is nothing to look at. An embedded server is for development, and keeps nothing',
  todo: 'Set REDIS_URL. An embedded server prints its address when it starts',
};

function wrongSetting({ where, expected, got }: Problem): Finding {
  const what = `${where}: expected ${expected}; got ${got}`;
  return {
    about: 'settings',
    code: 'setting-wrong',
    severity: 'serious',
    what,
    todo: 'Mend it: nothing starts with it',
  };
}

function wrongForApi({ where, expected, got }: Problem): Finding {
  const what = `${where}: expected ${expected}; got ${got}`;
  const todo = 'Set it where the api runs, which refuses to start without; other roles do';
  return { about: 'settings', code: 'keys-missing', severity: 'warning', what, todo };
}

function oddSetting(what: string): Finding {
  return { about: 'settings', code: 'setting-odd', severity: 'warning', what, todo: 'Mend or remove it' };
}

function wrongJobs(error: unknown): Finding {
  if (!(error instanceof RondoError)) throw error;
  return {
    about: 'settings',
    code: error.code,
    severity: 'serious',
    what: error.message,
    todo: 'Mend the jobs module',
  };
}

function unusable(error: unknown, shown: string): Finding {
  const { code } = error as { code?: unknown };
  const known = error instanceof RondoError;
  const what = known ? error.message : `${shown}: ${error instanceof Error ? error.message : String(error)}`;
  const todo =
    code === 'store-newer'
      ? 'Use that release, or another RONDO_PREFIX'
      : 'Is it up, is the address right, may this machine connect, are user and password right? See also what is said of Redis here';
  return { about: 'redis', code: known ? error.code : 'redis-unusable', severity: 'serious', what, todo };
}
