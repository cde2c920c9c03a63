import type { Command } from 'commander';
import { askProcesses, type Health } from '../observability/liveness.js';
import { refuseApi } from './door.js';
import { print, table } from './output.js';

export function addHealthCommand(health: Command): void {
  health
    .description('whether the processes of this container, or of this user here, are well; exit code 1 if not')
    .option('--json', 'print JSON')
    .action(async (flags: { json?: boolean }) => {
      refuseApi();
      const processes = await askProcesses();
      const well = processes.length > 0 && processes.every(isWell);
      print({ status: statusOf(well), processes }, flags, () => listing(processes));
      if (!well) process.exitCode = 1;
    });
}

const isWell = ({ parts }: Health) => parts.every(({ trouble }) => trouble === null);
const statusOf = (well: boolean) => (well ? 'ready' : 'unready');

function listing(processes: readonly Health[]): string {
  const rows = processes.flatMap(({ pid, parts }) =>
    parts.map(({ role, trouble }) => [pid, role, statusOf(trouble === null), trouble]),
  );
  return table(['process', 'part', 'is', 'why'], rows, 'No process of this user answers here.');
}
