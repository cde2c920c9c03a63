import type { Command } from 'commander';
import type { Readiness } from '../client/ready.js';
import { askProcesses, type Health } from '../observability/liveness.js';
import { urlGiven } from './door.js';
import { print, table } from './output.js';

interface Flags {
  json?: boolean;
  detailed?: boolean;
}

export function addHealthCommand(health: Command): void {
  health
    .description(
      'whether the processes of this container, or of this user here, are well, or with --url an API; exit code 1 if not',
    )
    .option(
      '--detailed',
      'the whole service in place of them, as Redis, or an API, tells of it: who leads, works, and is next',
    )
    .option('--json', 'print JSON')
    .action(async (flags: Flags) => {
      const well = flags.detailed ? await (await import('./overview.js')).tellOverview(flags) : await tellReady(flags);
      if (!well) process.exitCode = 1;
    });
}

function tellReady(flags: Flags): Promise<boolean> {
  const url = urlGiven();
  return url === null ? tellHere(flags) : tellApi(url, flags);
}

async function tellHere(flags: Flags): Promise<boolean> {
  const processes = await askProcesses();
  const well = processes.length > 0 && processes.every(isWell);
  print({ status: statusOf(well), processes }, flags, () => listing(processes));
  return well;
}

/** Somebody sits and waits, or a probe: no longer than this, in ms. */
const askMs = 5_000;

async function tellApi(url: string, flags: { json?: boolean }): Promise<boolean> {
  const { askReady } = await import('../client/ready.js');
  const found = await askReady(url, askMs);
  print(found, flags, () => partsOf(found));
  return found.status === 'ready';
}

function partsOf({ parts }: Readiness): string {
  const rows = Object.entries(parts).map(([name, { status, reason }]) => [name, status, reason]);
  return table(['part', 'is', 'why'], rows, 'The API names no parts.');
}

const isWell = ({ parts }: Health) => parts.every(({ trouble }) => trouble === null);
const statusOf = (well: boolean) => (well ? 'ready' : 'unready');

function listing(processes: readonly Health[]): string {
  const rows = processes.flatMap(({ pid, parts }) =>
    parts.map(({ role, trouble }) => [pid, role, statusOf(trouble === null), trouble]),
  );
  return table(['process', 'part', 'is', 'why'], rows, 'No process of this user answers here.');
}
