import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { RondoError } from '../errors.js';
import { refuseApi } from './door.js';
import { writeNew } from './import.js';
import { print } from './output.js';

interface Flags {
  folder: string;
  json?: boolean;
}

/** `rondo new job`: a job, its test, and a list of jobs where there is none. */
export function addNewCommands(program: Command): void {
  program
    .command('new')
    .description('begin something')
    .command('job')
    .argument('<name>')
    .description('write a job with its test; in TypeScript where the folder has a tsconfig.json')
    .option('--folder <path>', 'where to', 'jobs')
    .option('--json', 'print JSON')
    .action((name: string, flags: Flags) => {
      refuseApi();
      if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(name)) {
        const expected = "a job's name has small letters, digits and hyphens, at most 64";
        throw new RondoError('usage-wrong', `${expected}; got ${JSON.stringify(name)}`);
      }
      if (name === 'index')
        throw new RondoError('usage-wrong', 'index is the list of jobs: the job wants another name');
      const written = writeJob(name, flags.folder, existsSync('tsconfig.json') ? 'ts' : 'mjs');
      print(written, flags, () => [...written.files.map((file) => `${file} is written`), written.next].join('\n'));
    });
}

function writeJob(name: string, folder: string, kind: 'ts' | 'mjs') {
  const path = (file: string) => join(folder, file);
  const variable = variableOf(name);
  const imported = `./${name}.${kind === 'ts' ? 'js' : 'mjs'}`;
  const [job, test, list] = [path(`${name}.${kind}`), path(`${name}.test.${kind}`), path(`index.${kind}`)];
  const present = [job, test].find(existsSync);
  if (present) throw new RondoError('usage-wrong', `${present} exists already`);
  makeFolder(folder);
  writeNew(job, jobSource(name, variable));
  writeNew(test, testSource(variable, imported));
  const line = `import { ${variable} } from '${imported}';`;
  if (existsSync(list)) return { files: [job, test], next: `Add it to ${list}: ${line}` };
  writeNew(list, `${line}\n\nexport default [${variable}];\n`);
  const listed = kind === 'ts' ? 'what the compiler makes of that' : `./${list}`;
  return { files: [job, test, list], next: `RONDO_JOBS names the list of jobs: ${listed}` };
}

function variableOf(name: string): string {
  const words = name.replace(/^(?=\d)/, 'job-').replace(/-+(\w?)/g, (_, letter: string) => letter.toUpperCase());
  return taken.has(words) ? `${words}Job` : words;
}

/** What the files import, and words that name no variable of a module in strict mode, in TypeScript too. */
const taken: ReadonlySet<string> = new Set([
  ...['defineJob', 'z', 'runJob', 'tickAfter', 'expect', 'it', 'exports', 'require', 'undefined'],
  ...['arguments', 'await', 'break', 'case', 'catch', 'class', 'const', 'continue', 'debugger', 'default', 'delete'],
  ...['do', 'else', 'enum', 'eval', 'export', 'extends', 'false', 'finally', 'for', 'function', 'if', 'implements'],
  ...['import', 'in', 'instanceof', 'interface', 'let', 'new', 'null', 'package', 'private', 'protected', 'public'],
  ...['return', 'static', 'super', 'switch', 'this', 'throw', 'true', 'try', 'typeof', 'var', 'void', 'while'],
  ...['with', 'yield'],
]);

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new RondoError('usage-wrong', `--folder ${folder}: ${(cause as Error).message}`, { cause });
  }
}

const jobSource = (name: string, variable: string) => `import { defineJob } from 'rondo';
import { z } from 'zod';

export const ${variable} = defineJob({
  name: '${name}',
  description: 'What it does, in a line',
  payload: z.object({ to: z.string().default('everybody') }),
  schedules: [{ id: '${name}-daily', cron: '0 9 * * *', timezone: 'UTC' }],
  retry: { attempts: 3, delay: '10s' },
  timeout: '1m',
  async run({ payload, log, signal }) {
    signal.throwIfAborted();
    log.info({ to: payload.to }, 'greeted');
    return { greeted: payload.to };
  },
});
`;

const testSource = (variable: string, imported: string) => `import { runJob, tickAfter } from 'rondo/testing';
import { expect, it } from 'vitest';
import { ${variable} } from '${imported}';

it('greets whom it is told to', async () => {
  const { result, log } = await runJob(${variable}, { to: 'you' });

  expect(result).toEqual({ greeted: 'you' });
  expect(log).toMatchObject([{ level: 'info', message: 'greeted' }]);
});

it('runs at nine', () => {
  expect(tickAfter(${variable}, '2030-01-01T00:00:00Z')).toEqual(new Date('2030-01-01T09:00:00Z'));
});
`;
