import { createHash, randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { isJobPattern, jobPatternExpected, type Scope, scopes } from '../config.js';
import { RondoError } from '../errors.js';
import { print } from './output.js';
import { commaSeparated, someOf } from './values.js';

interface Flags {
  scopes: Scope[];
  jobs?: string[];
  json?: boolean;
}

/** `rondo keys new`: needs neither Redis nor jobs, and keeps nothing. */
export function addKeyCommands(keys: Command): void {
  keys
    .command('new')
    .argument('<name>')
    .description('make a key: its secret, shown this once, and the line of it for RONDO_API_KEYS_FILE')
    .requiredOption('--scopes <names>', `what it may do, comma-separated: ${scopes.join(', ')}`, someOf(scopes))
    .option(
      '--jobs <patterns>',
      'the jobs that it is for, comma-separated, such as mail-*; all unless told',
      commaSeparated,
    )
    .option('--json', 'print JSON')
    .action((name: string, flags: Flags) => {
      const key = newKey(name, flags);
      print(key, flags, () =>
        [
          `The secret of ${name}, which is shown only now:`,
          `  ${key.secret}`,
          'Its line in the file that RONDO_API_KEYS_FILE names:',
          `  ${key.line}`,
        ].join('\n'),
      );
    });
}

function newKey(name: string, { scopes: asked, jobs }: Flags) {
  const refuse = (detail: string) => new RondoError('usage-wrong', detail);
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(name)) {
    throw refuse(`a key's name has small letters, digits and hyphens, at most 64; got "${name}"`);
  }
  if (jobs && !jobs.every(isJobPattern)) throw refuse(`--jobs takes ${jobPatternExpected}; got "${jobs.join(',')}"`);
  const secret = randomBytes(32).toString('base64url');
  const hash = createHash('sha256').update(secret).digest('hex');
  const unique = [...new Set(asked)];
  const line = [name, hash, unique.join('|'), ...(jobs ? [jobs.join('|')] : [])].join(':');
  return { name, scopes: unique, jobs: jobs ?? null, secret, line };
}
