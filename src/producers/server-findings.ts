import type { Refusal } from '../broker/permissions.js';
import type { ServerFacts } from '../broker/server-facts.js';
import { briefly } from '../jobs/words.js';
import { type Finding, type Severity, some } from './finding.js';

/** What there is to say of a server, or of each master of a cluster. Pure. */
export function judgeServers(
  servers: readonly ServerFacts[],
  { isCluster }: { readonly isCluster: boolean },
): Finding[] {
  return servers.flatMap((server) => {
    const read = reader(server);
    const found = [
      ...judgeRefused(server),
      ...judgeVersion(read),
      ...judgePlace(read, isCluster),
      ...judgeEviction(read),
      ...judgeMemory(read),
      ...judgePersistence(read),
      ...judgeHz(read),
      ...judgeLatency(server),
      ...judgeClock(server),
    ];
    return servers.length === 1 ? found : found.map((it) => ({ ...it, what: `${server.address}: ${it.what}` }));
  });
}

/** What the server would not do for us. Pure. */
export function judgeRefusals(refusals: readonly Refusal[]): Finding[] {
  const causes = new Map<string, Refusal[]>();
  for (const refusal of refusals) {
    const cause = causeOf(refusal);
    causes.set(cause, [...(causes.get(cause) ?? []), refusal]);
  }
  return [...causes].map(([cause, those]) => {
    const commands = [...new Set(those.map(({ command }) => command))];
    const todo = todos[cause] ?? 'See what the server says; Rondo cannot work without these commands';
    const reason = those[0]?.reason ?? '';
    return finding('redis', `redis-${cause}`, 'serious', `${wordsOf[cause] ?? reason}: ${some(commands, 12)}`, todo);
  });
}

function causeOf({ reason }: Refusal): string {
  if (reason.startsWith('NOPERM'))
    return /access (a|one of the) key|keys? used/i.test(reason) ? 'keys-denied' : 'commands-denied';
  if (reason.startsWith('READONLY')) return 'read-only';
  if (reason.startsWith('OOM')) return 'memory-full';
  if (/unknown command|not available|not allowed|unsupported/i.test(reason)) return 'commands-unknown';
  return 'refuses';
}

const wordsOf: Record<string, string> = {
  'keys-denied': 'its access list keeps this user from keys under the prefix',
  'commands-denied': 'its access list keeps this user from commands',
  'commands-unknown': 'it does not know commands, or does not allow them',
  'read-only': 'it is a replica, and takes no writes',
  'memory-full': 'its memory is full, and it refuses writes',
};

const todos: Record<string, string> = {
  'keys-denied': 'Let the user have them: ACL SETUSER <user> ~{<prefix>}:* ~{<prefix>:*',
  'commands-denied': 'Let the user have them: docs/doctor.md has the whole list for ACL SETUSER',
  'commands-unknown': 'Lift rename-command, or use a server that has them',
  'read-only': 'Let REDIS_URL name the master, or the Sentinels (redis+sentinel://…), which know it',
  'memory-full': 'Raise maxmemory, or let jobs keep fewer runs (retention in their definitions)',
};

type Read = ReturnType<typeof reader>;

/** Of a field that `INFO` and `CONFIG` both have, what either says. */
function reader({ info, config }: ServerFacts) {
  const infos = 'fields' in info ? info.fields : new Map<string, string>();
  const configs = 'fields' in config ? config.fields : new Map<string, string>();
  const text = (field: string, setting?: string) => infos.get(field) ?? (setting && configs.get(setting)) ?? null;
  return {
    text,
    number(field: string, setting?: string): number | null {
      const found = text(field, setting);
      return found !== null && /^-?\d+$/.test(found) ? Number(found) : null;
    },
    setting: (name: string) => configs.get(name) ?? null,
  };
}

function judgeRefused({ info, config }: ServerFacts): Finding[] {
  const found: Finding[] = [];
  if ('refused' in info) {
    const what = `INFO is refused (${info.refused}): its version, memory and persistence cannot be looked at`;
    found.push(
      finding('redis', 'redis-info-refused', 'serious', what, 'Allow INFO: BullMQ asks for it at every start'),
    );
  }
  if ('refused' in config) {
    const what = `CONFIG is refused (${config.refused}), as managed servers do: not all of its settings can be looked at`;
    const todo = "See in the provider's console that appendonly is on, and maxmemory-policy noeviction";
    found.push(finding('redis', 'redis-config-refused', 'note', what, todo));
  }
  return found;
}

function judgeVersion({ text }: Read): Finding[] {
  if (text('valkey_version') !== null) return []; // it calls itself Redis 7.2.4
  const version = text('redis_version');
  if (version === null) return [];
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const todo = 'Use Redis 7.0 or newer, or Valkey';
  if (major < 6 || (major === 6 && minor < 2)) {
    return [
      finding('redis', 'redis-version', 'serious', `it is ${version}, which lacks commands that Rondo uses`, todo),
    ];
  }
  return major < 7 ? [finding('redis', 'redis-version', 'warning', `it is ${version}, untried with Rondo`, todo)] : [];
}

function judgePlace({ text, number }: Read, isCluster: boolean): Finding[] {
  const found: Finding[] = [];
  const todo = 'Let REDIS_URL name the master, or the Sentinels (redis+sentinel://…), which know it';
  if (text('role') === 'slave') found.push(finding('redis', 'redis-replica', 'serious', 'it is a replica', todo));
  if (!isCluster && number('cluster_enabled') === 1) {
    const what = 'it is a node of a cluster, and REDIS_URL names it as a server of its own';
    const cluster = 'Write REDIS_URL as redis+cluster://host:port,host:port';
    found.push(finding('redis', 'redis-cluster', 'serious', what, cluster));
  }
  return found;
}

function judgeEviction({ text, number }: Read): Finding[] {
  const found: Finding[] = [];
  const policy = text('maxmemory_policy', 'maxmemory-policy');
  if (policy !== null && policy !== 'noeviction') {
    const bounded = number('maxmemory') !== 0;
    const when = bounded ? 'when its memory is full' : 'as soon as a maxmemory is set';
    const what = `maxmemory-policy is ${policy}: ${when}, runs are lost and schedules end without a word`;
    const todo = 'Set maxmemory-policy noeviction, in its configuration and now (CONFIG SET)';
    found.push(finding('redis', 'redis-eviction', bounded ? 'serious' : 'warning', what, todo));
  }
  const evicted = number('evicted_keys') ?? 0;
  if (evicted > 0) {
    const what = `it has evicted ${evicted} keys since it was started`;
    const todo = 'See the ledgers (rondo schedules list) for what is unknown; give it more memory and noeviction';
    found.push(finding('redis', 'redis-evicted', 'serious', what, todo));
  }
  return found;
}

function judgeMemory({ number }: Read): Finding[] {
  const used = number('used_memory');
  const most = number('maxmemory');
  const ofMachine = number('total_system_memory');
  if (used === null || most === null) return [];
  const bound = most > 0 ? most : (ofMachine ?? 0);
  const found: Finding[] = [];
  const share = bound > 0 ? used / bound : 0;
  if (share >= 0.75) {
    const of = most > 0 ? 'maxmemory' : "its machine's memory";
    const what = `it uses ${Math.round(share * 100)} % of ${of} (${mebibytes(used)} of ${mebibytes(bound)})`;
    const todo = 'Give it more memory, or let jobs keep fewer runs; when it is full, nothing can be enqueued';
    found.push(finding('redis', 'redis-memory', share >= 0.9 ? 'serious' : 'warning', what, todo));
  }
  if (most === 0) {
    const what = 'it has no maxmemory: when the memory of its machine is full, the system may kill it';
    found.push(finding('redis', 'redis-memory-unbounded', 'note', what, 'Set maxmemory below what its machine has'));
  }
  return found;
}

const mebibytes = (bytes: number) => `${Math.round(bytes / 1_048_576)} MiB`;

function judgePersistence({ text, number, setting }: Read): Finding[] {
  const found: Finding[] = [];
  const appendOnly = text('aof_enabled') ?? { yes: '1', no: '0' }[setting('appendonly') ?? ''];
  if (appendOnly === '0') {
    const what =
      'appendonly is off: when it crashes, what came since its last snapshot is lost, or all where it makes none';
    const todo = 'Set appendonly yes, in its configuration and now (CONFIG SET)';
    found.push(finding('redis', 'redis-aof', 'warning', what, todo));
  }
  if (appendOnly === '1' && setting('appendfsync') === 'no') {
    const what = 'appendfsync is no: when its machine crashes, up to half a minute is lost';
    found.push(finding('redis', 'redis-fsync', 'warning', what, 'Set appendfsync everysec, or always'));
  }
  const failed = ['aof_last_write_status', 'aof_last_bgrewrite_status', 'rdb_last_bgsave_status'].filter(
    (field) => (text(field) ?? 'ok') !== 'ok',
  );
  if (failed.length > 0) {
    const what = `its last write to the disk failed (${failed.join(', ')})`;
    const todo = 'See its log, and the room on its disk: it may refuse writes until one succeeds';
    found.push(finding('redis', 'redis-disk', 'serious', what, todo));
  }
  const clients = number('connected_clients');
  const most = number('maxclients');
  if (clients !== null && most !== null && clients > 0.9 * most) {
    const what = `${clients} of at most ${most} clients are connected`;
    found.push(
      finding('redis', 'redis-clients', 'warning', what, 'Raise maxclients: a worker has a connection for each job'),
    );
  }
  return found;
}

function judgeHz({ number }: Read): Finding[] {
  const hz = number('configured_hz', 'hz') ?? number('hz');
  if (hz === null || hz >= 100) return [];
  const what = `hz is ${hz}: a tick on an idle worker may be ${Math.round(1_000 / hz)} ms late`;
  return [finding('redis', 'redis-hz', 'note', what, 'Set hz 100')];
}

function judgeLatency({ roundTripMs }: ServerFacts): Finding[] {
  if (roundTripMs < 20) return [];
  const severity = roundTripMs < 250 ? 'warning' : 'serious';
  const what = `an answer takes ${briefly(roundTripMs)} from here: each run wants some, one after the other`;
  return [finding('redis', 'redis-latency', severity, what, 'Run the service near its Redis; see SLOWLOG GET there')];
}

/** Less than this apart, in ms, is no matter. */
const skewAllowedMs = 250;
/** More than this, and ticks run that ran already, or long before their time. */
const skewSeriousMs = 2_000;

function judgeClock({ clock: { aheadMs, uncertainMs } }: ServerFacts): Finding[] {
  const sure = Math.abs(aheadMs) - uncertainMs;
  if (sure <= skewAllowedMs) return [];
  const what = `this machine's clock is ${briefly(Math.abs(aheadMs))} ${aheadMs > 0 ? 'behind' : 'ahead of'} that of Redis`;
  const todo = 'Keep the clocks of all machines in line (NTP): ticks are judged by them';
  return [finding('clock', 'clock-skew', sure > skewSeriousMs ? 'serious' : 'warning', what, todo)];
}

function finding(about: Finding['about'], code: string, severity: Severity, what: string, todo: string): Finding {
  return { about, code, severity, what, todo };
}
