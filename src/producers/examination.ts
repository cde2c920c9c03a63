import { hostname } from 'node:os';
import { isCluster, type RedisClient } from '../broker/connection.js';
import { findRefusals } from '../broker/permissions.js';
import type { Broker } from '../broker/queues.js';
import { readServers, type ServerFacts } from '../broker/server-facts.js';
import { RondoError } from '../errors.js';
import type { Registry } from '../jobs/registry.js';
import { type Finding, severities } from './finding.js';
import { mend } from './mend.js';
import type { Deployment } from './schedules.js';
import { judgeRefusals, judgeServers } from './server-findings.js';
import { readStoreFacts, type StoreFacts } from './store-facts.js';
import { judgeStore } from './store-findings.js';

/** What is wrong, in plain JSON. */
export interface Diagnosis {
  /** Whether something serious is found, and not fixed. */
  readonly serious: boolean;
  /** What was looked at, and what was seen there. */
  readonly looked: Readonly<Record<string, string>>;
  /** The worst first. */
  readonly findings: readonly Finding[];
}

export interface ServiceExamined {
  readonly registry: Registry;
  readonly deployment: Deployment;
  /** What is odd about the settings of this process. */
  readonly warnings: readonly string[];
  readonly now: () => number;
}

/**
 * What a process that is at work finds about its own settings, Redis and store.
 *
 * @param wanted.fix put right what can be without a risk
 */
export async function diagnose(
  broker: Broker,
  { registry, deployment, warnings, now, fix }: ServiceExamined & { readonly fix: boolean },
): Promise<Diagnosis> {
  const { app, release } = deployment;
  const { prefix } = broker.keys;
  const looked: Record<string, string> = {
    api: `app ${app}, release ${release}, prefix ${prefix}, process ${process.pid} on ${hostname()}, which looked`,
  };
  const findings = warnings.map(oddSetting);
  try {
    const server = await examineServer(broker.client, { address: broker.address, prefix, now });
    looked.redis = server.looked;
    findings.push(...server.findings);
    const store = await examineStore(broker, { registry, app, release, now, fix });
    looked.store = store.looked;
    findings.push(...store.findings);
  } catch (error) {
    // Of a Redis that refuses something there is more to tell; one that is away is the caller's to tell.
    if ((error as Error).name !== 'ReplyError') throw error;
    findings.push(unusable(error, broker.address));
  }
  return diagnosisOf(looked, findings);
}

export function diagnosisOf(looked: Diagnosis['looked'], findings: readonly Finding[]): Diagnosis {
  const rank = ({ severity }: Finding) => severities.indexOf(severity);
  return {
    serious: findings.some(({ severity, fixed }) => severity === 'serious' && !fixed),
    looked,
    findings: [...findings].sort((a, b) => rank(a) - rank(b)),
  };
}

interface Looked {
  /** What was seen, in words. */
  readonly looked: string;
  readonly findings: readonly Finding[];
}

/** @param server.address without credentials */
export async function examineServer(
  client: RedisClient,
  { address, prefix, now }: { readonly address: string; readonly prefix: string; readonly now: () => number },
): Promise<Looked> {
  const servers = await readServers(client, now);
  const refusals = await findRefusals(client, prefix);
  return {
    looked: `${address}: ${servers.map(serverInWords).join('; ')}`,
    findings: [...judgeServers(servers, { isCluster: isCluster(client) }), ...judgeRefusals(refusals)],
  };
}

interface StoreExamined extends Deployment {
  /** Null where the jobs could not be loaded. */
  readonly registry: Registry | null;
  readonly now: () => number;
  readonly fix: boolean;
}

export async function examineStore(broker: Broker, { fix, ...input }: StoreExamined): Promise<Looked> {
  const read = () => readStoreFacts({ ...input, broker });
  const seen = await read();
  const before = judgeStore(seen);
  const done = fix ? await mend(broker, input, seen) : null;
  const findings = done ? merge(before, judgeStore(await read()), done) : before;
  return { looked: storeInWords(seen), findings };
}

/** What was wrong and is no longer is told as fixed, where something was done about it. */
function merge(before: readonly Finding[], after: readonly Finding[], done: ReadonlyMap<string, string>): Finding[] {
  const left = new Set(after.map(({ code, what }) => `${code} ${what}`));
  const mended = before.flatMap((it) => {
    const fixed = done.get(it.code);
    return fixed !== undefined && !left.has(`${it.code} ${it.what}`) ? [{ ...it, fixed }] : [];
  });
  return [...mended, ...after];
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

export function oddSetting(what: string): Finding {
  return { about: 'settings', code: 'setting-odd', severity: 'warning', what, todo: 'Mend or remove it' };
}

/** @param address without credentials */
export function unusable(error: unknown, address: string): Finding {
  const { code } = error as { code?: unknown };
  const known = error instanceof RondoError;
  const what = known ? error.message : `${address}: ${error instanceof Error ? error.message : String(error)}`;
  const todo =
    code === 'store-newer'
      ? 'Use that release, or another RONDO_PREFIX'
      : 'Is it up, is the address right, may this machine connect, are user and password right? See also what is said of Redis here';
  return { about: 'redis', code: known ? error.code : 'redis-unusable', severity: 'serious', what, todo };
}
