import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { loadConfig } from '../config.js';
import type { Role } from '../main.js';
import { codeOf } from './codes.js';
import { addDoctorCommand } from './doctor.js';
import { refuseApi, workThrough } from './door.js';
import { addHealthCommand } from './health.js';
import { commaSeparated } from './values.js';

/** Runs one command and ends the process with its exit code. */
export async function main(argv: readonly string[]): Promise<never> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error; // a reader such as `head` may leave when it has seen enough
  });
  const code = await run(argv);
  await Promise.all([written(process.stdout), written(process.stderr)]);
  return process.exit(code);
}

/** Runs one command. @returns its exit code: 0 done, 1 failed, 2 wrong usage */
export async function run(argv: readonly string[]): Promise<number | string> {
  try {
    const program = await createProgram(argv);
    await program.parseAsync([...argv]);
    return process.exitCode ?? 0;
  } catch (error) {
    return explain(error);
  }
}

/** A pipe takes what its reader has room for, and an exit would cut off the rest. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

async function createProgram(argv: readonly string[]): Promise<Command> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const program = new Command('rondo')
    .description('Recurring work on BullMQ: schedules, workers, and what became of every run.')
    .version(version)
    .option('--url <address>', 'go through the API there in place of Redis; else RONDO_URL says')
    .option(
      '--key <secret>',
      'a key of that API; better in RONDO_API_KEY, since others here see what a process is started with',
    )
    .showHelpAfterError('(--help tells how)')
    .exitOverride()
    .hook('preAction', (root) => workThrough(root.opts()));

  program
    .command('start')
    .description('run all roles in this process')
    .action(() => serve(['worker', 'producer', 'api']));
  program
    .command('producer')
    .description('keep Redis in line with the schedules; any number may run, one leads')
    .action(() => serve(['producer']));
  program
    .command('worker')
    .description('execute runs; start as many as you like')
    .option('--jobs <names>', 'only these jobs, comma-separated', commaSeparated)
    .action(({ jobs }: { jobs?: string[] }) => serve(['worker'], jobs));

  program
    .command('api')
    .description('serve the HTTP API and Bull Board')
    .action(() => serve(['api']));

  addHealthCommand(program.command('health'));
  // Probes ask every few seconds, and do not pay for loading what they do not use.
  if (argv[2] === 'health') return program;
  const [{ addJobCommands }, { addRunCommands }, { addScheduleCommands }, { addOperationsOnAll }] = await Promise.all([
    import('./jobs.js'),
    import('./runs.js'),
    import('./schedules.js'),
    import('./operations.js'),
  ]);
  const [{ addKeyCommands }, { addAuditCommand }, { addImportCommands }, { addNewCommands }, { addWorkerCommands }] =
    await Promise.all([
      import('./keys.js'),
      import('./audit.js'),
      import('./import.js'),
      import('./new-job.js'),
      import('./workers.js'),
    ]);
  const { addDatabaseCommands } = await import('./db.js');
  addJobCommands(program.command('jobs').description('what can run'));
  addRunCommands(program.command('runs').description('what runs, ran, or waits'));
  addScheduleCommands(program.command('schedules').description('when jobs run'));
  addWorkerCommands(program.command('workers').description('which processes are alive, and what they execute'));
  addOperationsOnAll(program);
  addKeyCommands(program.command('keys').description('who may use the API'));
  addAuditCommand(program);
  addDatabaseCommands(program.command('db').description('the tables of the jobs that keep to a Postgres'));
  addImportCommands(program);
  addNewCommands(program);
  addDoctorCommand(program.command('doctor'));
  return program;
}

async function serve(roles: readonly Role[], only?: readonly string[]): Promise<void> {
  refuseApi();
  const config = loadConfig(undefined, { api: roles.includes('api') });
  // Short commands do not pay for loading the workers, nor do wrong settings wait for it.
  const { runService } = await import('../main.js');
  await runService(config, roles, only);
}

/** Says what went wrong, on standard error, and answers the exit code. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const code = codeOf(error);
  if (code !== null) {
    console.error(`rondo: ${(error as Error).message} [${code}]`);
    return code === 'usage-wrong' ? 2 : 1;
  }
  // Not the error itself: one of ioredis has fields with the command that met it, payload included.
  console.error('rondo:', error instanceof Error ? error.stack : error);
  return 1;
}
