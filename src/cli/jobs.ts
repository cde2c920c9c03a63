import type { Command } from 'commander';
import { formatDuration } from '../duration.js';
import { RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import { detailsOf, payloadSchemaOf, summaryOf } from '../jobs/describe.js';
import { redactPayload } from '../jobs/secrets.js';
import { inWords } from '../jobs/words.js';
import { enqueue } from '../producers/runs.js';
import { facts, print, table } from './output.js';
import { addRedriveCommands, printGone } from './redrive.js';
import { withJobs, withRedis } from './session.js';
import { durationMs, json, moment, wholeNumber } from './values.js';

interface EnqueueFlags {
  payload?: unknown;
  delay?: number;
  at?: number;
  priority?: number;
  attempts?: number;
  expiresIn?: number;
  json?: boolean;
}

export function addJobCommands(jobs: Command): void {
  jobs
    .command('list')
    .description('every job that this program knows')
    .option('--gone', 'those instead that the code declares no longer, and that have runs in Redis')
    .option('--json', 'print JSON')
    .action((flags) =>
      flags.gone
        ? printGone(flags)
        : withJobs(({ registry }) => print(registry.jobs.map(summaryOf), flags, () => listing(registry.jobs))),
    );

  jobs
    .command('show')
    .argument('<name>')
    .description('one job: its settings, its schedules, what it takes')
    .option('--json', 'print JSON')
    .action((name: string, flags) =>
      withJobs(({ registry }) => {
        const job = registry.get(name);
        print(detailsOf(job), flags, () => page(job));
      }),
    );

  jobs
    .command('enqueue')
    .argument('<name>')
    .description('put a run into the queue of a job')
    .option('--payload <json>', 'what the run takes', json)
    .option('--delay <duration>', 'start it this much later', durationMs)
    .option('--at <time>', 'start it at this time', moment)
    .option('--priority <number>', '1 goes first', wholeNumber(1, 2_097_151))
    .option('--attempts <number>', 'how often it is tried in all', wholeNumber(1, 1_000))
    .option('--expires-in <duration>', 'do not start it later than this after it was due', durationMs)
    .option('--json', 'print JSON')
    .action((name: string, flags: EnqueueFlags) =>
      withRedis(async ({ broker, registry }) => {
        const { payload, at, delay, json: _json, ...options } = flags;
        if (at !== undefined && delay !== undefined)
          throw new RondoError('usage-wrong', 'either --delay or --at, not both');
        const later = at === undefined ? delay : Math.max(0, at - Date.now());
        const id = await enqueue(broker, registry.get(name), payload, { ...options, ...(later && { delay: later }) });
        print({ job: name, id }, flags, () => `${name} ${id} is enqueued`);
      }),
    );

  addRedriveCommands(jobs);
}

function listing(jobs: readonly JobDefinition[]): string {
  const rows = jobs.map((job) => [
    job.name,
    job.enabled ? 'on' : 'off',
    job.schedules.map(({ timing }) => inWords(timing)).join('; ') || null,
    job.concurrency,
    formatDuration(job.timeout),
    job.retry.attempts,
    job.description,
  ]);
  return table(['job', 'is', 'runs', 'at once', 'timeout', 'attempts', 'what it does'], rows, 'There are no jobs.');
}

function page(job: JobDefinition): string {
  const { retry, retention, rateLimit } = job;
  const backoff = `${retry.backoff} from ${formatDuration(retry.delay)} to ${formatDuration(retry.maxDelay)}, jitter ${retry.jitter}`;
  const kept = ({ age, count }: { age: number; count: number }) =>
    `${formatDuration(age)} or ${count.toLocaleString('en')}`;
  const head = facts({
    job: job.name,
    description: job.description,
    is: job.enabled ? 'on' : 'off',
    attempts: retry.attempts > 1 ? `${retry.attempts}, ${backoff}` : 1,
    timeout: `${formatDuration(job.timeout)} per attempt`,
    concurrency: `${job.concurrency} per worker process`,
    'rate limit': rateLimit && `${rateLimit.max} per ${formatDuration(rateLimit.per)}`,
    priority: job.priority,
    crashes: `set aside after ${job.maxCrashes}`,
    'at most': job.maxWaiting && `${job.maxWaiting.toLocaleString('en')} waiting`,
    version: job.version > 1 ? job.version : null,
    secret: job.secret.join(', '),
    keeps: `completed runs ${kept(retention.completed)}, failed ones ${kept(retention.failed)}`,
    payload: JSON.stringify(payloadSchemaOf(job)),
  });
  const rows = job.schedules.map(({ id, timing, enabled, payload }) => [
    id,
    enabled ? 'on' : 'off',
    inWords(timing),
    JSON.stringify(redactPayload(job.secret, payload)),
  ]);
  return `${head}\n\n${table(['schedule', 'is', 'runs', 'payload'], rows, 'It has no schedules.')}`;
}
