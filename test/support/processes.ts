import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inject, onTestFinished } from 'vitest';
import { eventually } from './harness.js';

const entry = fileURLToPath(new URL('../../bin/rondo', import.meta.url));

export type Line = Record<string, unknown> & { readonly event?: string; readonly msg?: string };

/** A `rondo` of its own process, and the log lines that it wrote. */
export interface Program {
  readonly child: ChildProcess;
  readonly lines: readonly Line[];
  /** What it wrote that is no JSON line, and its standard error. */
  readonly text: () => string;
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
}

/** Starts `rondo` with arguments, against the tests' server unless told; ended when the test is over. */
export function startProgram(
  args: readonly string[],
  { env = {}, cwd, execPath = process.execPath }: ProgramOptions = {},
): Program {
  const child = spawn(execPath, [entry, ...args], {
    cwd,
    env: { ...cleanEnvironment(), REDIS_URL: inject('redisUrl'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
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
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    child.kill('SIGCONT');
    await exit;
  });
  return {
    child,
    lines,
    text: () => text.join('\n'),
    async line(matches, timeoutMs = 15_000) {
      let found: Line | undefined;
      const look = () => {
        found = lines.find(matches);
        return found !== undefined || child.exitCode !== null;
      };
      await eventually(look, timeoutMs).catch((error) => {
        throw new Error(`${error.message}\n${text.join('\n')}\n${lines.map((line) => line.msg).join('\n')}`);
      });
      if (!found) throw new Error(`it ended with ${child.exitCode}: ${text.join('\n')}`);
      return found;
    },
    exit,
    kill: (signal) => void child.kill(signal),
  };
}

/** Runs one command to its end. */
export async function runProgram(args: readonly string[], options: ProgramOptions = {}) {
  const program = startProgram(args, options);
  const stdout: string[] = [];
  program.child.stdout?.on('data', (data) => stdout.push(String(data)));
  const { code } = await program.exit;
  return { code, stdout: stdout.join(''), stderr: program.text() };
}

/** Ours without the settings that the developer's own shell may hold. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(
    ([key]) =>
      !key.startsWith('RONDO_') && !['REDIS_URL', 'NODE_ENV', 'LOG_LEVEL', 'SHUTDOWN_GRACE', 'VITEST'].includes(key),
  );
  return Object.fromEntries(entries);
}
