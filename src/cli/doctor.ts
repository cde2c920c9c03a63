import type { Command } from 'commander';
import type { Diagnosis } from '../producers/examination.js';
import type { Finding } from '../producers/finding.js';
import { apiAccess } from './door.js';
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
      const found = await diagnosis(flags.fix === true);
      print(found, flags, () => inWords(found));
      if (found.serious) process.exitCode = 1;
    });
}

/** Where no API is named: what this command's own environment says, and so what no API can tell. */
async function diagnosis(fix: boolean): Promise<Diagnosis> {
  const access = apiAccess();
  if (access) return (await import('./control-http.js')).httpDoctor(access, fix);
  return (await import('./examine.js')).examine({ fix, now: Date.now });
}

function inWords({ looked, findings }: Diagnosis): string {
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
