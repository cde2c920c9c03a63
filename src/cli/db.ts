import type { Command } from 'commander';
import { loadConfig, postgresUrlExpected } from '../config.js';
import { RondoError } from '../errors.js';
import type { MigrationState } from '../postgres/migrate.js';
import { refuseApi } from './door.js';
import { facts, print } from './output.js';

interface Flags {
  dryRun?: boolean;
  json?: boolean;
}

/** `rondo db`: the tables that jobs of the catalog keep to. Needs no Redis. */
export function addDatabaseCommands(db: Command): void {
  db.command('migrate')
    .description('create the tables of the catalog, or bring them up to this release')
    .option('--dry-run', 'print what it would execute, and change nothing')
    .option('--json', 'print JSON')
    .action(async (flags: Flags) => {
      const url = databaseUrl();
      const { migrate, migrationState } = await import('../postgres/migrate.js');
      if (flags.dryRun) {
        const { pending } = await migrationState(url);
        print({ pending }, flags, () => script(pending));
        return;
      }
      const applied = await migrate(url);
      print({ applied }, flags, () => (applied.length > 0 ? `applied: ${applied.join(', ')}` : upToDate));
    });

  db.command('status')
    .description('which migrations were applied and which were not; exit code 1 where some were not')
    .option('--json', 'print JSON')
    .action(async (flags: Flags) => {
      const url = databaseUrl();
      const { migrationState } = await import('../postgres/migrate.js');
      const { applied, pending, unknown } = await migrationState(url);
      const names = pending.map(({ name }) => name);
      print({ applied, pending: names, unknown }, flags, () => summary(applied, names, unknown));
      if (names.length > 0) process.exitCode = 1;
    });
}

const upToDate = 'The tables are up to date.';

function databaseUrl(): string {
  refuseApi();
  const { database } = loadConfig(undefined, { redis: false }).catalog;
  if (database) return database.url;
  const problems = [{ where: 'DATABASE_URL', expected: postgresUrlExpected, got: 'nothing of the kind' }];
  throw new RondoError('config-invalid', '', { problems });
}

function script(pending: MigrationState['pending']): string {
  return pending.map(({ name, sql }) => `-- ${name}\n${sql.trimEnd()}`).join('\n\n') || upToDate;
}

function summary(applied: readonly string[], pending: readonly string[], unknown: readonly string[]): string {
  const listed = facts({
    applied: applied.join(', ') || 'none',
    pending: pending.join(', '),
    'of a newer release': unknown.join(', '),
  });
  return pending.length > 0 ? `${listed}\n\nrondo db migrate applies what is pending.` : `${listed}\n\n${upToDate}`;
}
