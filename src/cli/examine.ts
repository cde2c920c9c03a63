import { connect, disconnect, type RedisClient } from '../broker/connection.js';
import { findPrefixes } from '../broker/queue-facts.js';
import { openBroker } from '../broker/queues.js';
import { type Config, examineConfig } from '../config.js';
import { type Problem, RondoError } from '../errors.js';
import { createRegistry, type Registry } from '../jobs/registry.js';
import {
  type Diagnosis,
  diagnosisOf,
  examineServer,
  examineStore,
  oddSetting,
  unusable,
} from '../producers/examination.js';
import { type Finding, some } from '../producers/finding.js';
import { audited } from './audited.js';
import { registryOf } from './session.js';

interface Wanted {
  /** Put right what can be without a risk. */
  readonly fix: boolean;
  /** In ms since the epoch. */
  readonly now: () => number;
}

/** Looks at everything that can be looked at: what is wrong in one place keeps it from no other. */
export async function examine(wanted: Wanted): Promise<Diagnosis> {
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
  return diagnosisOf(looked, findings);
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
    const server = await examineServer(client, { address: redis.shown, prefix: config.prefix, now });
    looked.redis = server.looked;
    findings.push(...server.findings);
    const strange = await judgePrefix(client, config.prefix);
    if (strange) findings.push(strange);
    else await lookIntoStore(patient);
  } catch (error) {
    findings.push(unusable(error, redis.shown));
  } finally {
    if (client) await disconnect(client);
  }
}

/** A misspelt prefix looks like a service that nobody uses: nothing is written there, and it is said. */
async function judgePrefix(client: RedisClient, prefix: string): Promise<Finding | null> {
  // A process leaves its mark, and a command that puts a schedule leaves that.
  if ((await client.exists(`{${prefix}}:version`, `{${prefix}}:schedules`)) > 0) return null;
  const { names } = await findPrefixes(client, searchMs);
  const others = names.length > 0 ? `. There is something under: ${some(names)}` : '';
  const what = `under the prefix ${prefix} there is no schedule, and no process was ever there${others}`;
  const todo =
    names.length > 0 ? 'Is RONDO_PREFIX the same everywhere?' : 'Nothing, where the service has not been started yet';
  return { about: 'settings', code: 'prefix-unused', severity: names.length > 0 ? 'warning' : 'note', what, todo };
}

async function lookIntoStore({ config, redis, registry, findings, looked, now, fix }: Patient): Promise<void> {
  const ruleOf = (id: string) => registry?.findSchedule(id)?.schedule.next;
  const jobOf = (name: string) => registry?.find(name);
  const { prefix, app, release } = config;
  const input = { redis, profile: 'fail-fast', prefix, ruleOf, jobOf, emit: () => {} } as const;
  const broker = await openBroker({ ...input, marks: false });
  const look = () => examineStore(broker, { registry, app, release, now, fix });
  try {
    const operator = { broker, registry: registry ?? createRegistry([]) };
    const store = fix ? await audited(operator, { action: 'doctor --fix' }, look) : await look();
    looked.store = store.looked;
    findings.push(...store.findings);
  } finally {
    await broker.close();
  }
}

function settingsInWords({ app, release, prefix, http }: Config): string {
  const keys = http.keys.length === 0 ? 'no keys' : `${http.keys.length} keys`;
  return `app ${app}, release ${release}, prefix ${prefix}, ${keys}${http.keysFile ? ` in ${http.keysFile}` : ''}`;
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
