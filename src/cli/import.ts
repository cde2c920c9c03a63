import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { RondoError } from '../errors.js';
import { refuseApi } from './door.js';
import { print } from './output.js';
import { zone } from './values.js';

interface Flags {
  out?: string;
  timezone?: string;
  system?: boolean;
  json?: boolean;
}

/** `rondo import crontab`: needs neither Redis nor jobs. */
export function addImportCommands(program: Command): void {
  program
    .command('import')
    .description('bring what another scheduler runs')
    .command('crontab')
    .argument('<file>', 'a crontab; - reads standard input: crontab -l | rondo import crontab -')
    .description('write its lines as a jobs module, with what could not be translated marked')
    .option('--out <path>', 'into this new file, in place of standard output')
    .option('--timezone <name>', "the zone that cron ran in; this machine's unless told", zone)
    .option('--system', "a system's crontab, whose lines name a user")
    .option('--json', 'print JSON')
    .action(async (file: string, flags: Flags) => {
      refuseApi();
      const { translateCrontab } = await import('./crontab.js');
      const timezone = flags.timezone ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
      const { source, jobs, marks } = translateCrontab(textOf(file), { timezone, system: flags.system === true });
      if (flags.out !== undefined) writeNew(flags.out, source);
      const done = `${jobs.length} jobs in ${flags.out}; try it: RONDO_JOBS=${flags.out} rondo jobs list`;
      print({ jobs, marks, ...(flags.out === undefined ? { source } : { file: flags.out }) }, flags, () =>
        flags.out === undefined ? source : done,
      );
      if (flags.json) return;
      for (const { line, text, why, translated } of marks)
        console.error(`rondo: ${translated ? 'look at' : 'not translated:'} line ${line}: ${text}\n  ${why}`);
    });
}

function textOf(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new RondoError('usage-wrong', `the crontab cannot be read: ${(error as Error).message}`);
  }
}

/** @throws RondoError `usage-wrong` where there is one: nobody's work is overwritten */
export function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx' });
  } catch (error) {
    const exists = (error as NodeJS.ErrnoException).code === 'EEXIST';
    throw new RondoError('usage-wrong', exists ? `${path} exists already` : (error as Error).message);
  }
}
