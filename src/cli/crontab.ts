import { defineJob } from '../jobs/define-job.js';
import { inWords } from '../jobs/words.js';

export interface Translation {
  /** A jobs module, as text. */
  readonly source: string;
  /** The jobs that it declares. */
  readonly jobs: readonly { readonly name: string; readonly cron: string; readonly command: string }[];
  /** What is not the same in Rondo, or not there at all. */
  readonly marks: readonly Mark[];
}

/** A line of the crontab, counted from 1, that somebody has to look at. */
interface Mark {
  readonly line: number;
  readonly text: string;
  readonly why: string;
  /** Whether there is a job for it all the same. */
  readonly translated: boolean;
}

interface CrontabOptions {
  /** Of lines before any `CRON_TZ`: the zone that cron itself ran in. */
  readonly timezone: string;
  /** A system's crontab, whose lines name a user before the command. */
  readonly system: boolean;
}

/**
 * A crontab as a jobs module: a job for each line, that gives the line's command to a shell as cron does (`crontab(5)`
 * of Vixie cron): in the home folder, with its environment, what follows the first `%` as standard input, an exit code
 * other than 0 as a failure.
 */
export function translateCrontab(text: string, { timezone, system }: CrontabOptions): Translation {
  const jobs: TranslatedJob[] = [];
  const marks: Mark[] = [];
  const names = new Map<string, number>();
  let context: Context = { env: {}, timezone };
  for (const [index, untrimmed] of text.split(/\r?\n/).entries()) {
    const at = { line: index + 1, text: untrimmed.trim() };
    if (at.text === '' || at.text.startsWith('#')) continue;
    const setting = settingIn(at.text);
    if (setting) {
      if (isMail(setting)) marks.push({ ...at, why: mailWords, translated: false });
      context = withSetting(context, setting);
      continue;
    }
    const { job, why } = readLine(at.text, { system, context, names });
    if (job) jobs.push({ ...job, line: at.line });
    if (why) marks.push({ ...at, why, translated: job !== undefined });
  }
  const shown = jobs.map(({ name, cron, command }) => ({ name, cron, command }));
  return { source: sourceOf(jobs, marks), jobs: shown, marks };
}

const mailWords = 'what a command prints goes to the log of its run; alerts go by mail';

function readLine(
  text: string,
  { system, context, names }: { system: boolean; context: Context; names: Map<string, number> },
): { job?: Omit<TranslatedJob, 'line'>; why?: string } {
  const entry = entryIn(text, system);
  if (typeof entry === 'string') return { why: entry };
  const job = jobOf(entry, context, nameFor(entry.command, names));
  if (typeof job === 'string') return { why: job };
  return { job, ...(entry.user && { why: `whether it runs as ${entry.user} is up to the worker` }) };
}

/** What earlier lines say for those that follow. */
interface Context {
  readonly env: Readonly<Record<string, string>>;
  readonly timezone: string;
}

interface Entry {
  readonly cron: string;
  readonly user: string | undefined;
  readonly command: string;
  readonly input: string;
}

interface TranslatedJob extends Context, Entry {
  readonly name: string;
  readonly line: number;
  readonly words: string;
}

interface Setting {
  readonly name: string;
  readonly value: string;
}

/** `NAME = value`, quoted or not: no line of a schedule has a name and an equals sign before its first blank. */
function settingIn(text: string): Setting | null {
  const [, name, value = ''] = /^([A-Za-z_]\w*)\s*=\s*(.*)$/.exec(text) ?? [];
  return name === undefined ? null : { name, value: /^(["'])(.*)\1$/.exec(value)?.[2] ?? value };
}

const isMail = ({ name, value }: Setting) => ['MAILTO', 'MAILFROM'].includes(name) && value !== '';

function withSetting(context: Context, { name, value }: Setting): Context {
  if (['MAILTO', 'MAILFROM'].includes(name)) return context;
  return name === 'CRON_TZ' ? { ...context, timezone: value } : { ...context, env: { ...context.env, [name]: value } };
}

/** A line's parts, or why it has none. */
function entryIn(text: string, system: boolean): Entry | string {
  const fields = (text.startsWith('@') ? 1 : 5) + (system ? 1 : 0);
  const parts = new RegExp(`^((?:\\S+\\s+){${fields}})(.+)$`).exec(text);
  if (!parts) return `expected ${fields} fields${system ? ', the last of them a user,' : ''} and a command`;
  const timing = (parts[1] as string).trim().split(/\s+/);
  const user = system ? timing.pop() : undefined;
  return { cron: timing.join(' '), user, ...commandIn(parts[2] as string) };
}

/** The job of a line, or why there can be none. */
function jobOf(entry: Entry, context: Context, name: string): Omit<TranslatedJob, 'line'> | string {
  if (entry.cron.toLowerCase() === '@reboot')
    return 'Rondo knows no reboot; triggerOnStart of a schedule is the nearest';
  const schedule = { id: name, cron: entry.cron, timezone: context.timezone };
  const { problems, schedules } = defineJob({ name, schedules: [schedule], run: () => null });
  const [first] = schedules;
  if (problems.length > 0 || !first) {
    return problems.map(({ where, expected, got }) => `${where}: expected ${expected}; got ${got}`).join('; ');
  }
  return { ...entry, ...context, name, words: inWords(first.timing) };
}

/** An unescaped `%` ends the command; what follows is its standard input, each further one a line break. */
function commandIn(text: string): { command: string; input: string } {
  const [command = '', ...rest] = text.split(/(?<!\\)%/).map((part) => part.replaceAll('\\%', '%'));
  return { command: command.trim(), input: rest.join('\n') };
}

/** After the program that it starts, and its own in the file. */
function nameFor(command: string, names: Map<string, number>): string {
  const words = command.split(/\s+/).filter((word) => !/^[A-Za-z_]\w*=/.test(word));
  const program = (words[0] ?? '').split('/').at(-1) ?? '';
  const slug = program
    .toLowerCase()
    .replace(/\.\w+$/, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 50);
  const base = slug || 'command';
  const count = (names.get(base) ?? 0) + 1;
  names.set(base, count);
  return count === 1 ? base : nameFor(`${base}-${count}`, names);
}

function sourceOf(jobs: readonly TranslatedJob[], marks: readonly Mark[]): string {
  const comments = marks.map(({ line, text, why, translated }) => {
    return `// ${translated ? 'LOOK AT' : 'NOT TRANSLATED:'} line ${line}: ${text}\n//   ${why}`;
  });
  return [
    '// Written by `rondo import crontab`: read it once, and make it yours.',
    "import { spawn } from 'node:child_process';",
    "import { homedir } from 'node:os';",
    "import { defineJob } from 'rondo';",
    '',
    ...comments,
    ...(comments.length > 0 ? [''] : []),
    `export default [\n${jobs.map(jobSource).join('\n')}\n];`,
    shellSource,
  ].join('\n');
}

function jobSource({ name, line, cron, words, timezone, command, input, env }: TranslatedJob): string {
  const settings = [
    ...(input === '' ? [] : [`input: ${JSON.stringify(input)}`]),
    ...(Object.keys(env).length === 0 ? [] : [`env: ${JSON.stringify(env)}`]),
  ];
  const more = settings.length > 0 ? `, { ${settings.join(', ')} }` : '';
  const schedule = { id: name, cron, timezone };
  return [
    `  // Line ${line}: ${words}`,
    '  defineJob({',
    `    name: ${JSON.stringify(name)},`,
    `    schedules: [${JSON.stringify(schedule)
      .replace(/"(\w+)":/g, ' $1: ')
      .replace(/}$/, ' }')}],`,
    '    retry: { attempts: 1 },',
    "    timeout: '1d', // cron has none",
    `    run: shell(${JSON.stringify(command)}${more}),`,
    '  }),',
  ].join('\n');
}

const shellSource = `
/** Runs a command as cron does; what it prints goes to the run's log, and another exit code than 0 fails the run. */
function shell(command, { input = '', env = {} } = {}) {
  return async ({ log, signal }) => {
    const cwd = env.HOME ?? homedir();
    const child = spawn(env.SHELL ?? '/bin/sh', ['-c', command], { cwd, env: { ...process.env, ...env }, signal });
    child.stdin.on('error', () => {}); // it may not read any
    child.stdin.end(input);
    for (const [stream, level] of [[child.stdout, 'info'], [child.stderr, 'warn']]) {
      stream.setEncoding('utf8').on('data', (text) => log[level](text.trimEnd()));
    }
    await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, by) => (code === 0 ? resolve() : reject(new Error(\`it ended with \${code ?? by}\`))));
    });
  };
}
`;
