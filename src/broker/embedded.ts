import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { RondoError } from '../errors.js';

/** What the child says, once: where it listens, or why it cannot. */
export type EmbeddedMessage = { port: number } | { error: string };

export interface EmbeddedServer {
  /** `redis://127.0.0.1:<port>` */
  readonly url: string;
  /** The process that serves it. */
  readonly pid: number;
  /** Tells, at most once, that the server ended though nobody called `stop`. At once if it already has. */
  onExit(listener: (detail: string) => void): void;
  /** Ends the server, and what it holds with it. Resolves when its process is gone; may be called again. */
  stop(): Promise<void>;
}

const startTimeoutMs = 10_000;
const keptErrorLines = 5;

/**
 * Starts Valkey, in memory and in a process of its own, for development and tests. It ends with this process.
 *
 * @throws RondoError `embedded-unavailable`, within 10 s.
 */
export async function startEmbedded(): Promise<EmbeddedServer> {
  const child = forkServer(locateServer());
  const lastLines = keepLastLines(child);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`its process could not be started: ${error.message}`));
    child.once('close', (code, signal) => resolve(describeEnd(code, signal, lastLines())));
  });

  try {
    const port = await awaitPort(child, ended);
    return handle(child, port, ended);
  } catch (error) {
    child.kill('SIGKILL');
    await ended;
    const detail = error instanceof Error ? error.message : String(error);
    throw new RondoError('embedded-unavailable', `${detail}. A Redis of your own will do: set REDIS_URL`, {
      cause: error,
    });
  }
}

/** A program run from its TypeScript sources has no built sibling, and Node.js 20 reads no TypeScript. */
function locateServer(): string {
  const candidates = ['./embedded-server.js', '../../dist/broker/embedded-server.js'];
  const found = candidates
    .map((path) => fileURLToPath(new URL(path, import.meta.url)))
    .find((path) => existsSync(path));
  if (!found) throw new RondoError('embedded-unavailable', 'the program is not built. Run: npm run build');
  return found;
}

function forkServer(path: string): ChildProcess {
  // What NODE_OPTIONS asks of the program (an inspector, a loader) would break the child or fight over a port.
  const { NODE_OPTIONS: _, VALKEY_DEBUG: __, ...env } = process.env;
  return fork(path, [], { execArgv: ['--no-warnings'], env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
}

/** Reads the child's stderr, Valkey's banner included, so that none of it reaches the terminal. */
function keepLastLines(child: ChildProcess): () => string {
  let kept = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    kept = (kept + text)
      .split('\n')
      .slice(-keptErrorLines - 1)
      .join('\n');
  });
  return () => kept.trim();
}

function describeEnd(code: number | null, signal: NodeJS.Signals | null, lastLines: string): string {
  const how = signal ? `was ended by ${signal}` : `exited with code ${code}`;
  return `its process ${how}${lastLines && `; the last it said:\n${lastLines}\n`}`;
}

async function awaitPort(child: ChildProcess, ended: Promise<string>): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('message', (message: EmbeddedMessage) => {
        if ('port' in message) resolve(message.port);
        else reject(new Error(message.error));
      });
      void ended.then((detail) => reject(new Error(detail)));
      const late = () => reject(new Error(`it did not answer within ${startTimeoutMs / 1000} s`));
      timer = setTimeout(late, startTimeoutMs);
    });
  } finally {
    clearTimeout(timer);
  }
}

function handle(child: ChildProcess, port: number, ended: Promise<string>): EmbeddedServer {
  let stopping = false;
  return {
    url: `redis://127.0.0.1:${port}`,
    pid: child.pid as number,
    onExit(listener) {
      void ended.then((detail) => {
        if (!stopping) listener(detail);
      });
    },
    async stop() {
      stopping = true;
      // It holds nothing that outlives it. Closing the channel would do too, but then Node.js emits no `close`.
      child.kill('SIGKILL');
      await ended;
    },
  };
}
