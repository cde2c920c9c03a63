import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { RondoError } from '../errors.js';
import { misfires } from '../jobs/misfire.js';
import { overlaps } from '../jobs/overlap.js';
import type { PutOfMany } from '../producers/put.js';
import type { Control } from './control.js';
import { progress } from './operations.js';
import { print, table } from './output.js';
import { withControl } from './session.js';
import { commaSeparated, json } from './values.js';

interface Flags {
  job?: string;
  description?: string;
  cron?: string;
  timezone?: string;
  every?: string;
  at?: string;
  startsAt?: string;
  endsAt?: string;
  spread?: string;
  misfire?: string;
  grace?: string;
  maxCatchUp?: string;
  overlap?: string;
  lateAfter?: string;
  healthcheck?: string;
  dst?: string;
  exclude?: string[];
  except?: string[];
  onExcluded?: string;
  payload?: unknown;
  disabled?: boolean;
  triggerOnStart?: boolean;
  spec?: unknown;
  file?: string;
  by?: string;
  json?: boolean;
}

/** Creates and changes schedules that no code declares: one by its options, or many from a file. */
export function addPutCommand(schedules: Command): void {
  schedules
    .command('put')
    .argument('[id]')
    .description('create a schedule of a job, or change one that was created so')
    .option('--job <name>', 'the job whose runs it starts')
    .option('--cron <pattern>', '5 or 6 fields, or @daily and its kin')
    .option('--timezone <name>', 'an IANA name such as Europe/Paris, for --cron; UTC unless told')
    .option('--every <duration>', 'at multiples of this since 1970')
    .option('--at <time>', 'once')
    .option('--payload <json>', 'what its runs take', json)
    .option('--description <text>', 'one line for people')
    .option('--starts-at <time>', 'no tick before this time')
    .option('--ends-at <time>', 'no tick after this time')
    .option('--spread <duration>', 'its ticks are due at a moment of their own within this')
    .option('--misfire <policy>', `what becomes of ticks that are found late: ${misfires.join(', ')}`)
    .option('--grace <duration>', 'how late a tick may be and still be on time')
    .option('--max-catch-up <number>', 'how many late ticks run-all runs')
    .option('--overlap <policy>', `what becomes of a tick while a run goes on: ${overlaps.join(', ')}`)
    .option('--late-after <duration>', 'do not start a run later than this after its tick was due')
    .option('--healthcheck <url>', 'a dead man’s switch, pinged when its runs begin, succeed and fail')
    .option('--dst <policy>', 'a time that the clock jumps over: run-after or skip')
    .option('--exclude <names>', 'not when these calendars say so, comma-separated', commaSeparated)
    .option('--except <dates>', 'days that run all the same, comma-separated', commaSeparated)
    .option('--on-excluded <policy>', 'an excluded time: drop or next-working-day')
    .option('--disabled', 'list it, without ticks')
    .option('--trigger-on-start', 'also start a run whenever a producer takes the lead')
    .option('--spec <json>', 'the fields as JSON, as the HTTP API takes them; other options win over it', json)
    .option('--file <path>', 'put many: a JSON list of such objects, each with its id; - reads standard input')
    .option('--by <name>', 'who puts it, in place of this user of this machine')
    .option('--json', 'print JSON')
    .action((id: string | undefined, flags: Flags) => {
      const { file } = flags;
      const fields = fieldsOf(flags);
      if (file === undefined) {
        if (id === undefined) throw new RondoError('usage-wrong', 'rondo schedules put takes an id, or --file');
        return withControl((control) => putOne(control, id, fields, flags));
      }
      if (id !== undefined || Object.keys(fields).length > 0) {
        throw new RondoError('usage-wrong', '--file has the ids and the fields: it takes none beside it');
      }
      const list = listIn(file);
      return withControl((control) => putMany(control, list, flags));
    });
}

async function putOne(control: Control, id: string, fields: object, flags: Flags) {
  const { result, schedule: view } = await control.put(id, fields, flags.by);
  print({ result, schedule: view }, flags, () => `${id} is ${result}: ${view.words}, next ${view.next ?? 'never'}`);
}

async function putMany(control: Control, list: readonly unknown[], flags: Flags) {
  const done = await control.putMany(list, flags.by, (count) => progress(count, list.length));
  const failed = done.flatMap((it) => (it.result === 'failed' ? [{ id: it.id, error: reasonOf(it.error) }] : []));
  const counts = countsOf(done);
  print({ ...counts, failures: failed }, flags, () => {
    const said = `${counts.created} created, ${counts.changed} changed, ${counts.unchanged} unchanged, ${counts.failed} failed`;
    return failed.length > 0
      ? `${said}\n\n${table(
          ['schedule', 'why'],
          failed.map(({ id, error }) => [id, error]),
          '',
        )}`
      : said;
  });
  if (failed.length > 0) process.exitCode = 1;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function countsOf(done: readonly PutOfMany[]): Record<PutOfMany['result'], number> {
  const counts = { created: 0, changed: 0, unchanged: 0, failed: 0 };
  for (const { result } of done) counts[result]++;
  return counts;
}

/** What was given, in the words of a definition; whether it is right the job's reader says, as at the other doors. */
function fieldsOf({ spec = {}, file: _file, by: _by, json: _json, disabled, ...flags }: Flags): object {
  if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) {
    throw new RondoError('usage-wrong', '--spec is a JSON object');
  }
  const { every, spread, grace, maxCatchUp, lateAfter, ...others } = flags;
  const numeric = { every, spread, grace, maxCatchUp, lateAfter };
  const numbers = Object.entries(numeric).filter(([, text]) => text !== undefined);
  return {
    ...spec,
    ...others,
    ...Object.fromEntries(numbers.map(([name, text]) => [name, numberOr(text)])),
    ...(disabled && { enabled: false }),
  };
}

const numberOr = (text: string | undefined) => (/^\d+$/.test(text ?? '') ? Number(text) : text);

function listIn(file: string): unknown[] {
  let list: unknown;
  try {
    list = JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8'));
  } catch (cause) {
    throw new RondoError('usage-wrong', `--file ${file}: ${(cause as Error).message}`, { cause });
  }
  if (!Array.isArray(list)) throw new RondoError('usage-wrong', `--file ${file}: expected a JSON list of schedules`);
  return list;
}
