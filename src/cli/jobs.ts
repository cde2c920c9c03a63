import type { Command } from 'commander';
import { formatDuration } from '../duration.js';
import { RondoError } from '../errors.js';
import { alertsInWords } from '../jobs/alerts.js';
import { type Deduplicate, deduplicationKey, deduplicationKeyWords } from '../jobs/deduplicate.js';
import { type EnqueueOptions, timesOf } from '../jobs/enqueue-options.js';
import { inWords } from '../jobs/words.js';
import type { Control, JobDetails } from './control.js';
import { enqueueFile } from './enqueue-file.js';
import { addJobPauseCommands, printPaused } from './job-pause.js';
import { facts, print, table } from './output.js';
import { addRedriveCommands, printGone } from './redrive.js';
import { withControl, withDefinitions } from './session.js';
import { delayMs, jsonOrStdin, momentOfYear, oneOf, someDurationMs, wholeNumber } from './values.js';

interface EnqueueFlags {
  payload?: unknown;
  file?: string;
  anew?: boolean;
  delay?: number;
  at?: number;
  priority?: number;
  attempts?: number;
  expiresIn?: number;
  deduplicate?: string;
  ttl?: number;
  mode?: Deduplicate['mode'];
  json?: boolean;
}

export function addJobCommands(jobs: Command): void {
  jobs
    .command('list')
    .description('every job that this program knows')
    .option('--gone', 'those instead that the code declares no longer, and that have runs in Redis')
    .option('--paused', 'those alone that are paused, with why')
    .option('--json', 'print JSON')
    .action((flags) => {
      if (flags.gone && flags.paused) refuse('either --gone or --paused, not both');
      if (flags.gone) return printGone(flags);
      if (flags.paused) return printPaused(flags);
      return withDefinitions(async (definitions) => {
        const found = await definitions.jobs();
        print(found.map(summaryOf), flags, () => listing(found));
      });
    });

  jobs
    .command('show')
    .argument('<name>')
    .description('one job: its settings, its schedules, what it takes')
    .option('--json', 'print JSON')
    .action((name: string, flags) =>
      withDefinitions(async (definitions) => {
        const job = await definitions.job(name);
        print(job, flags, () => page(job));
      }),
    );

  jobs
    .command('enqueue')
    .argument('<name>')
    .description('put a run into the queue of a job, or one for each line of a file')
    .option('--payload <json>', 'what the run takes; - reads it from standard input', jsonOrStdin)
    .option(
      '--file <path>',
      'a payload a line, as NDJSON; - reads standard input. Again within 24 h it adds none twice',
    )
    .option('--anew', 'with --file: these are other runs, though the same file was enqueued before')
    .option('--delay <duration>', 'start it this much later', delayMs)
    .option('--at <time>', 'start it at this time', momentOfYear)
    .option('--priority <number>', '1 goes first', wholeNumber(1, 2_097_151))
    .option('--attempts <number>', 'how often it is tried in all', wholeNumber(1, 1_000))
    .option('--expires-in <duration>', 'do not start it later than this after it was due', someDurationMs)
    .option('--deduplicate <key>', 'one run in place of many with the same key')
    .option('--ttl <duration>', 'with --deduplicate: for how long; until the run has ended, unless told', delayMs)
    .option('--mode <mode>', 'with --deduplicate: throttle (the first wins) or debounce (the last)', oneOf(modes))
    .option('--json', 'print JSON')
    .action((name: string, flags: EnqueueFlags) => {
      const optionsAt = optionsOf(flags);
      if (flags.file !== undefined) return withControl((control) => enqueueLines(control, name, flags));
      if (flags.anew) refuse('--anew goes with --file');
      return withControl(async (control) => {
        const { id, deduplicated } = await control.enqueue(name, flags.payload, optionsAt(Date.now()));
        print({ job: name, id, ...(deduplicated && { deduplicated }) }, flags, () =>
          deduplicated ? `${name} ${id} stands for it: nothing is enqueued` : `${name} ${id} is enqueued`,
        );
      });
    });

  addRedriveCommands(jobs);
  addJobPauseCommands(jobs);
}

const modes = ['throttle', 'debounce'] as const;

async function enqueueLines(control: Control, job: string, flags: EnqueueFlags): Promise<void> {
  const { payload, file = '-', anew = false, deduplicate, ttl: _ttl, mode: _mode, json, ...options } = flags;
  if (payload !== undefined) refuse('either --payload or --file, not both');
  if (deduplicate !== undefined) refuse('--deduplicate is for one run, not for those of a --file');
  const noted = { action: 'jobs enqueue --file', request: { job, file, ...options } };
  const enqueued = await control.asOne(noted, () => enqueueFile(control, job, file, { options, anew }));
  print({ job, enqueued }, { json }, () => `${enqueued} runs of ${job} are enqueued`);
}

/** What is wrong with them is said at once; how long it is until `at` is known when Redis is there. */
function optionsOf(flags: EnqueueFlags): (now: number) => EnqueueOptions {
  const { payload: _payload, file: _file, anew: _anew, json: _json, at, delay, ...rest } = flags;
  const { deduplicate: key, ttl, mode, expiresIn, ...options } = rest;
  if (at !== undefined && delay !== undefined) refuse('either --delay or --at, not both');
  if (key === undefined && (ttl !== undefined || mode !== undefined)) refuse('--ttl and --mode want --deduplicate');
  const by = key !== undefined && { deduplicate: deduplicateOf(key, { ttl, mode }, delay ?? at) };
  return (now) => ({ ...options, ...timesOf({ at, delay, expiresIn }, now), ...by });
}

function deduplicateOf(key: string, { ttl, mode }: Pick<EnqueueFlags, 'ttl' | 'mode'>, later?: number): Deduplicate {
  if (!deduplicationKey.test(key)) refuse(`--deduplicate wants ${deduplicationKeyWords}`);
  if (ttl === 0) refuse('--ttl is at least 1ms');
  if (mode !== 'debounce') return { key, mode: 'throttle', ...(ttl !== undefined && { ttl }) };
  if (ttl === undefined) return refuse('--mode debounce wants --ttl: how long to wait for the next');
  if (later !== undefined) refuse('--mode debounce has its --ttl for a delay, and takes neither --delay nor --at');
  return { key, mode, ttl };
}

function refuse(why: string): never {
  throw new RondoError('usage-wrong', why);
}

function summaryOf({ name, description, enabled, off, concurrency, timeoutMs, attempts, schedules }: JobDetails) {
  const ids = schedules.map(({ id }) => id);
  return { name, description, enabled, off, concurrency, timeoutMs, attempts, schedules: ids };
}

function listing(jobs: readonly JobDetails[]): string {
  const rows = jobs.map((job) => [
    job.name,
    onOrOff(job),
    job.schedules.map(({ timing }) => inWords(timing)).join('; ') || null,
    job.concurrency,
    formatDuration(job.timeoutMs),
    job.retry.attempts,
    job.description,
  ]);
  return table(['job', 'is', 'runs', 'at once', 'timeout', 'attempts', 'what it does'], rows, 'There are no jobs.');
}

function onOrOff({ enabled, off }: JobDetails): string {
  if (enabled) return 'on';
  return off === null ? 'off' : `off: ${off}`;
}

function page(job: JobDetails): string {
  const { retry, retention, rateLimit } = job;
  const backoff = `${retry.backoff} from ${formatDuration(retry.delay)} to ${formatDuration(retry.maxDelay)}, jitter ${retry.jitter}`;
  const kept = ({ age, count }: { age: number; count: number }) =>
    `${formatDuration(age)} or ${count.toLocaleString('en')}`;
  const head = facts({
    job: job.name,
    description: job.description,
    is: onOrOff(job),
    attempts: retry.attempts > 1 ? `${retry.attempts}, ${backoff}` : 1,
    timeout: `${formatDuration(job.timeoutMs)} per attempt`,
    concurrency: `${job.concurrency} per worker process`,
    'rate limit': rateLimit && `${rateLimit.max} per ${formatDuration(rateLimit.per)}`,
    priority: job.priority,
    crashes: `set aside after ${job.maxCrashes}`,
    'at most': job.maxWaiting && `${job.maxWaiting.toLocaleString('en')} waiting`,
    alerts: alertsInWords(job.alerts),
    version: job.version > 1 ? job.version : null,
    secret: job.secret.join(', '),
    keeps: `completed runs ${kept(retention.completed)}, failed ones ${kept(retention.failed)}`,
    payload: JSON.stringify(job.payloadSchema),
  });
  const rows = job.schedules.map(({ id, timing, enabled, payload }) => [
    id,
    enabled ? 'on' : 'off',
    inWords(timing),
    JSON.stringify(payload),
  ]);
  return `${head}\n\n${table(['schedule', 'is', 'runs', 'payload'], rows, 'It has no schedules.')}`;
}
