import type { Command } from 'commander';
import type { Finding } from '../producers/finding.js';
import { refuseApi } from './door.js';
import type { Examination } from './examine.js';
import { facts, print } from './output.js';

interface Flags {
  json?: boolean;
  fix?: boolean;
}

/** `rondo doctor`: what is wrong with settings, Redis and what it holds, how bad that is, and what to do. */
export function addDoctorCommand(doctor: Command): void {
  doctor
    .description('what is wrong with settings, Redis and schedules, and what to do; exit code 1 where it is serious')
    .option('--fix', 'put right what can be without a risk, and say what')
    .option('--json', 'print JSON')
    .action(async (flags: Flags) => {
      refuseApi();
      const { examine } = await import('./examine.js');
      const found = await examine({ fix: flags.fix === true, now: Date.now });
      const isSerious = found.findings.some(({ severity, fixed }) => severity === 'serious' && !fixed);
      print({ serious: isSerious, ...found }, flags, () => inWords(found));
      if (isSerious) process.exitCode = 1;
    });
}

function inWords({ looked, findings }: Examination): string {
  const head = facts(looked);
  if (findings.length === 0) return `${head}\n\nNothing is wrong.`;
  return [head, ...findings.map(paragraph), summary(findings)].join('\n\n');
}

function paragraph({ severity, about, code, what, todo, fixed }: Finding): string {
  const lines = [`${fixed ? 'FIXED' : severity.toUpperCase()}  ${about}: ${what} [${code}]`];
  return [...lines, fixed ? `  done: ${fixed}` : `  to do: ${todo}`].join('\n');
}

function summary(findings: readonly Finding[]): string {
  const open = findings.filter(({ fixed }) => !fixed);
  const count = (severity: Finding['severity']) => open.filter((it) => it.severity === severity).length;
  const fixed = findings.length - open.length;
  const counted = `serious ${count('serious')}, warnings ${count('warning')}, notes ${count('note')}`;
  return fixed > 0 ? `${counted}; fixed ${fixed}` : counted;
}
