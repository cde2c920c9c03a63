import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface RedisOptions {
  /** Default: a free one on loopback. */
  port?: number;
  /** Its file of settings: what a Sentinel cannot do without. */
  file?: string;
  /** Further arguments of `redis-server`; they win over the ones given here. */
  args?: string[];
  /** Where it writes, kept afterwards. Default: a temporary folder of its own, removed by `stop`. */
  dir?: string;
}

export interface RedisProcess {
  readonly url: string;
  readonly port: number;
  readonly dir: string;
  /** Of the process that runs now, or ran last. */
  readonly pid: number;
  /** Sends the signal. Resolves when the process is gone, or at once for a signal that only holds or wakes it. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends it where it still runs, and starts it again on the same port and folder. */
  restart(): Promise<void>;
  /** Ends it and cleans up. May be called again. */
  stop(): Promise<void>;
}

const readyTimeoutMs = 30_000;
const endTimeoutMs = 15_000;
const portAttempts = 10;
const keptLogLines = 10;
const nonEndingSignals: NodeJS.Signals[] = ['SIGSTOP', 'SIGCONT', 'SIGUSR1', 'SIGWINCH'];

/**
 * Starts a `redis-server` from the PATH: no persistence, `noeviction`, `hz 100`. It answers when this resolves, and
 * ends with this process, however that ends.
 */
export async function startRedis(options: RedisOptions = {}): Promise<RedisProcess> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'rondo-redis-'));
  const guard = startGuard(options.dir === undefined ? dir : undefined);
  try {
    const { port, child } = await launchOnFreePort(options, dir, guard);
    return handle(port, child, dir, options, guard);
  } catch (error) {
    guard.dismiss();
    throw error;
  }
}

export function hasRedisServer(): boolean {
  return spawnSync('redis-server', ['--version'], { stdio: 'ignore' }).status === 0;
}

interface Guard {
  /** Names the process that must not outlive this one. */
  watch(pid: number | undefined): void;
  /** Ends the guard, and removes the temporary folder. */
  dismiss(): void;
}

/**
 * A test runner that is killed runs no handler. So a shell waits for its end, which closes the pipe between them,
 * and then ends the server and removes its folder.
 */
function startGuard(temporaryDir: string | undefined): Guard {
  const script = `pid=''
    while read -r word; do pid=$word; [ "$pid" = done ] && exit; done
    [ -n "$pid" ] && kill -9 "$pid"
    [ -n "$1" ] && rm -rf "$1"`;
  const shell = spawn('sh', ['-c', script, 'guard', temporaryDir ?? ''], {
    detached: true, // a Ctrl-C must not end the guard before the guarded
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.unref();
  shell.stdin.on('error', () => {});
  return {
    watch: (pid) => void shell.stdin.write(`${pid ?? ''}\n`),
    dismiss() {
      shell.stdin.end('done\n');
      if (temporaryDir) rmSync(temporaryDir, { recursive: true, force: true });
    },
  };
}

async function launchOnFreePort(options: RedisOptions, dir: string, guard: Guard) {
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await findFreePort());
    try {
      return { port, child: await launch(port, dir, options, guard) };
    } catch (error) {
      const lostRace = String(error).includes('Address already in use');
      if (options.port !== undefined || !lostRace || attempt === portAttempts) throw error;
    }
  }
}

export async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

async function launch(
  port: number,
  dir: string,
  { args = [], file }: RedisOptions,
  guard: Guard,
): Promise<ChildProcess> {
  const defaults = `--port ${port} --bind 127.0.0.1 --appendonly no --hz 100 --maxmemory-policy noeviction`;
  const child = spawn(
    'redis-server',
    [...(file ? [file] : []), ...defaults.split(' '), '--dir', dir, '--save', '', ...args],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  guard.watch(child.pid);
  child.once('exit', () => guard.watch(undefined));
  try {
    await saysReady(child);
    await answersPing(port);
    return child;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/** Waits for its own word: an answer on the port alone may come from another server. */
function saysReady(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let log = '';
    const fail = (reason: string) => {
      clearTimeout(timer);
      reject(new Error(`redis-server ${reason}\n${log}`));
    };
    const timer = setTimeout(() => fail(`was not ready within ${readyTimeoutMs / 1000} s`), readyTimeoutMs);
    child.once('error', (error) => fail(`could not be started: ${error.message}`));
    child.once('close', (code, signal) => fail(`ended with ${signal ?? `code ${code}`}`));
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        log = (log + text).split('\n').slice(-keptLogLines).join('\n');
        if (!/Ready to accept connections|Sentinel ID is/.test(log)) return;
        clearTimeout(timer);
        resolve();
      });
    }
  });
}

/** Any answer counts: a server with a password refuses, and is there. */
async function answersPing(port: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    const signal = AbortSignal.timeout(readyTimeoutMs);
    await once(socket, 'connect', { signal });
    socket.write('PING\r\n');
    await once(socket, 'data', { signal });
  } finally {
    socket.destroy();
  }
}

function handle(port: number, first: ChildProcess, dir: string, options: RedisOptions, guard: Guard): RedisProcess {
  let child = first;
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    dir,
    get pid() {
      return child.pid as number;
    },
    async kill(signal) {
      const gone = nonEndingSignals.includes(signal) || hasEnded(child) ? undefined : once(child, 'exit');
      child.kill(signal);
      await gone;
    },
    async restart() {
      await end(child);
      child = await launch(port, dir, options, guard);
    },
    async stop() {
      await end(child);
      guard.dismiss();
    },
  };
}

/** In order, so that what was asked to be persisted is; by force where that takes too long. */
async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  child.kill('SIGCONT'); // a process under SIGSTOP acts on no other signal
  const timer = setTimeout(() => child.kill('SIGKILL'), endTimeoutMs);
  await gone;
  clearTimeout(timer);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
