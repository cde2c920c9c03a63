import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { inject, onTestFinished } from 'vitest';
import { eventually } from './harness.js';

const ownEntry = fileURLToPath(new URL('../../bin/rondo', import.meta.url));

export type Line = Record<string, unknown> & { readonly event?: string; readonly msg?: string };

/** A `rondo` of its own process, and the log lines that it wrote. */
export interface Program {
  readonly child: ChildProcess;
  readonly lines: readonly Line[];
  /** What it wrote that is no JSON line, and its standard error. */
  readonly text: () => string;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** The first line that matches, written already or to come. */
  line(matches: (line: Line) => boolean, timeoutMs?: number): Promise<Line>;
  /** Resolves to how it ended. */
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  kill(signal: NodeJS.Signals): void;
}

export interface ProgramOptions {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly execPath?: string;
  /** The script that it is; this repository's own `rondo` unless told. */
  readonly entry?: string;
}

/** Starts `rondo` with arguments, against the tests' server unless told; ended when the test is over. */
export function startProgram(
  args: readonly string[],
  { env = {}, cwd, execPath = process.execPath, entry = ownEntry }: ProgramOptions = {},
): Program {
  const child = spawn(execPath, [entry, ...args], {
    cwd,
    env: programEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const lines: Line[] = [];
  const text: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    try {
      lines.push(JSON.parse(line) as Line);
    } catch {
      text.push(line);
    }
  });
  createInterface({ input: child.stderr }).on('line', (line) => text.push(line));
  const exit = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  onTestFinished(async () => {
    if (!hasEnded(child)) child.kill('SIGKILL');
    child.kill('SIGCONT');
    await exit;
  });
  return {
    child,
    lines,
    text: () => text.join('\n'),
    stdout,
    stderr,
    async line(matches, timeoutMs = 30_000) {
      let found: Line | undefined;
      const look = () => {
        found = lines.find(matches);
        return found !== undefined || hasEnded(child);
      };
      await eventually(look, timeoutMs).catch((error) => {
        throw new Error(`${error.message}\n${text.join('\n')}\n${lines.map((line) => line.msg).join('\n')}`);
      });
      if (!found) throw new Error(`it ended with ${child.exitCode ?? child.signalCode}: ${text.join('\n')}`);
      return found;
    },
    exit,
    kill: (signal) => void child.kill(signal),
  };
}

/** Runs one command to its end. */
export async function runProgram(args: readonly string[], options: ProgramOptions = {}) {
  const program = startProgram(args, options);
  const { code, signal } = await program.exit;
  return { code, signal, stdout: program.stdout(), stderr: program.stderr() };
}

/**
 * Runs one command of a program that is loaded already, which takes a tenth of the time. What loads a jobs module again
 * after it has changed, or is about the process itself, wants a process of its own: `runProgram`.
 */
export async function runWarm(args: readonly string[], { env = {} }: Pick<ProgramOptions, 'env'> = {}) {
  const done = warmTurn.then(async () => {
    warm ??= startWarm();
    try {
      return await answerOf(await warm, { args, env: programEnvironment(env) });
    } catch (error) {
      warm = undefined; // or each command after this one would wait for it as well
      throw error;
    }
  });
  warmTurn = done.catch(() => {});
  return done;
}

let warm: Promise<ChildProcess> | undefined;
/** One command at a time, since what it writes is told by nothing but the time. */
let warmTurn: Promise<unknown> = Promise.resolve();
const warmAnswerMs = 45_000;

async function startWarm(): Promise<ChildProcess> {
  const host = fork(fileURLToPath(new URL('warm-program.mjs', import.meta.url)), { stdio: 'inherit' });
  await once(host, 'message');
  host.unref();
  host.channel?.unref();
  return host;
}

async function answerOf(host: ChildProcess, command: { args: readonly string[]; env: NodeJS.ProcessEnv }) {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(new Error(`no end within ${warmAnswerMs} ms`)), warmAnswerMs);
  host.once('exit', fail);
  try {
    const answer = once(host, 'message', { signal: over.signal });
    host.send(command);
    return (await answer)[0] as { code: number | null; stdout: string; stderr: string };
  } catch (error) {
    host.kill('SIGKILL');
    throw new Error(`rondo ${command.args.join(' ')}: ${over.signal.reason ?? error}`);
  } finally {
    clearTimeout(timer);
    host.off('exit', fail);
  }

  function fail(code: number | null, signal: NodeJS.Signals | null) {
    over.abort(new Error(`its process ended with ${signal ?? code}`));
  }
}

/** Runs a script of this folder, which may kill itself. @returns how it ended, and the JSON that it printed, if any */
export async function runScript(file: string, env: Record<string, string>) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stdout = collect(child.stdout);
  const [code, signal] = await once(child, 'close');
  return { code, signal, done: stdout() ? JSON.parse(stdout()) : null };
}

/** Runs a line of shell in which `$rondo` is the program. */
export async function runShell(script: string, { env = {}, cwd }: ProgramOptions = {}) {
  const rondo = `'${process.execPath}' '${ownEntry}'`;
  const child = spawn('sh', ['-c', script.replaceAll('$rondo', rondo)], {
    cwd,
    env: programEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const [code] = await once(child, 'close');
  return { code, stdout: stdout(), stderr: stderr() };
}

/**
 * Starts `rondo` on a terminal of its own, through the `script` of util-linux.
 *
 * @returns what the terminal shows, and a way to type
 */
export function startOnTerminal(command: string, { env = {}, cwd }: ProgramOptions = {}) {
  // With `exec`, since a shell that stays between (dash does, bash does not) would report the Ctrl-C as its own end.
  const child = spawn('script', ['-qec', `exec '${process.execPath}' '${ownEntry}' ${command}`, '/dev/null'], {
    cwd,
    env: programEnvironment({ TERM: 'xterm', ...env }),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const screen = collect(child.stdout);
  const exit = once(child, 'close').then(([code]) => code as number | null);
  onTestFinished(async () => {
    child.stdin.destroy();
    if (!hasEnded(child)) child.kill('SIGTERM');
    await exit;
  });
  return { screen, exit, type: (keys: string) => void child.stdin.write(keys) };
}

export function hasTerminal(): boolean {
  return spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux') ?? false;
}

/** Ours without the settings that the developer's own shell may hold, and with the tests' server. */
function programEnvironment(env: Record<string, string>): NodeJS.ProcessEnv {
  // With CI, Node.js takes a terminal for one without colours.
  const foreign = [
    'REDIS_URL',
    'DATABASE_URL',
    'NODE_ENV',
    'LOG_LEVEL',
    'SHUTDOWN_GRACE',
    'VITEST',
    'CI',
    'NO_COLOR',
    'FORCE_COLOR',
  ];
  const isForeign = (key: string) => /^(RONDO|OTEL)_/.test(key) || foreign.includes(key);
  const kept = Object.entries(process.env).filter(([key]) => !isForeign(key));
  // Tests run side by side: a process that listens takes any port that is free.
  return { ...Object.fromEntries(kept), REDIS_URL: inject('redisUrl'), PORT: '0', ...env };
}

function collect(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (data: string) => {
    text += data;
  });
  return () => text;
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}
