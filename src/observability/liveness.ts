import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pid } from 'node:process';
import type { Service } from '../lifecycle.js';

/** What of a process is looked at, by the name of its role. */
export interface Watched {
  readonly role: string;
  /** Resolves to what is wrong with it, or null. */
  trouble(): Promise<string | null>;
}

/** How a process is, as it says itself. */
export interface Health {
  readonly pid: number;
  readonly parts: readonly { readonly role: string; readonly trouble: string | null }[];
}

/** Longer than this, in ms, no part may think about how it is. */
const thinkMs = 2_000;
/** Whoever has not answered after this, in ms, is not well. */
const answerMs = 3_000;

/**
 * Answers `rondo health` on a socket in the file system: a role without a port has one too. Only the process that
 * listens can answer, so neither a file left behind nor a process with the same id is taken for it, and one whose
 * event loop stands still stays silent.
 *
 * @param warn told where there can be no such socket; the service goes on without
 */
export function createLiveness(watched: readonly Watched[], warn: (message: string) => void, folder = ownFolder()) {
  const server = createServer((socket) => {
    socket.on('error', () => {}); // who asked may have left
    Promise.all(watched.map(partOf)).then((parts) => socket.end(JSON.stringify(parts)));
  });
  server.on('error', () => {}); // a connection that could not be accepted gets no answer
  return {
    name: 'liveness',
    async start() {
      try {
        mkdirSync(folder, { recursive: true });
        chmodSync(folder, 0o700); // refuses a folder that is somebody else's
        removeLeftovers(folder);
        server.listen(join(folder, `${pid}.sock`)).unref();
        await once(server, 'listening');
      } catch (error) {
        warn(`rondo health will not find this process: ${(error as Error).message}`);
      }
    },
    async stop() {
      server.close();
    },
  } satisfies Service;
}

/** All processes of this user on this machine, or in this container, that are there or look as if they were. */
export async function askProcesses(folder = ownFolder()): Promise<Health[]> {
  const answers = await Promise.all(
    socketsIn(folder).map((file) => ask(join(folder, file), Number.parseInt(file, 10))),
  );
  return answers.filter((answer) => answer !== null);
}

/** Whether Redis answers on a connection; its own commands may wait for Redis to come back, this does not. */
export async function redisTrouble(client: { readonly status: string; ping(): Promise<unknown> }) {
  if (client.status !== 'ready') return 'Redis is away';
  return client.ping().then(
    () => null,
    (error: Error) => `Redis: ${error.message}`,
  );
}

/** Whether an address answers, and well. */
export async function httpTrouble(url: string): Promise<string | null> {
  const response = await fetch(url, { signal: AbortSignal.timeout(thinkMs) });
  return response.ok ? null : `${new URL(url).pathname} answers ${response.status}: ${await response.text()}`;
}

function ownFolder(): string {
  return join(tmpdir(), `rondo-${process.getuid?.() ?? 'user'}`);
}

function socketsIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((file) => /^\d+\.sock$/.test(file));
  } catch {
    return [];
  }
}

/** Of processes that were killed. In a container, where ids begin anew, one may have had ours. */
function removeLeftovers(folder: string): void {
  for (const file of socketsIn(folder)) {
    const owner = Number.parseInt(file, 10);
    if (owner === pid || !exists(owner)) rmSync(join(folder, file), { force: true });
  }
}

function exists(id: number): boolean {
  try {
    return process.kill(id, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** How one part is, within two seconds. */
export async function partOf({ role, trouble }: Watched) {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, thinkMs, `no answer within ${thinkMs} ms`);
  });
  const found = await Promise.race([trouble(), late]).catch((error: unknown) => String(error));
  clearTimeout(timer);
  return { role, trouble: found };
}

/** Null where nobody listens any more. */
async function ask(path: string, owner: number): Promise<Health | null> {
  const socket = connect(path);
  try {
    return { pid: owner, parts: JSON.parse(await readAll(socket, AbortSignal.timeout(answerMs))) };
  } catch (error) {
    const { code, name, message } = error as NodeJS.ErrnoException;
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return null;
    const trouble = name === 'AbortError' ? `no answer within ${answerMs} ms` : message;
    return { pid: owner, parts: [{ role: 'process', trouble }] };
  } finally {
    socket.destroy();
  }
}

async function readAll(socket: Socket, signal: AbortSignal): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (data: string) => {
    text += data;
  });
  await once(socket, 'end', { signal });
  return text;
}
