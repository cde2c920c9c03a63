import type { Figures, JobFigures } from '../jobs/figures.js';
import type { Family, Sample } from './families.js';

/** Longer than this, in ms, nobody who asks for metrics waits for Redis. */
const waitMs = 2_000;

/**
 * What is the same whichever process tells it, since it stands in Redis: totals go on over crashes and restarts, and
 * several processes tell the same ones. While Redis does not answer, none is told.
 */
export function storeFamilies(app: string, ask: () => Promise<Figures>): Family[] {
  const read = (tell: (figures: Figures) => Sample[]) => async () => {
    const figures = await inTime(ask()).catch(() => null);
    return figures ? tell(figures) : [];
  };
  const eachJob = (tell: (job: JobFigures, labels: { job_name: string }) => Sample[]) =>
    read(({ jobs }) => jobs.flatMap((job) => tell(job, { job_name: job.job })));
  return [
    {
      name: 'rondo_runs_finished_total',
      help: 'Runs that have ended for good, counted by Redis in the step that ends them',
      type: 'counter',
      read: eachJob(({ ended }, labels) => samplesBy('outcome', ended, labels)),
    },
    {
      name: 'rondo_ticks_total',
      help: 'Ticks by what became of them, counted by Redis in the step that writes their entry in the ledger',
      type: 'counter',
      read: eachJob(({ ticks }, labels) => samplesBy('outcome', ticks, labels)),
    },
    {
      name: 'rondo_queue_runs',
      help: 'Runs that are in Redis, by state',
      type: 'gauge',
      read: eachJob(({ runs }, labels) => samplesBy('state', runs, labels)),
    },
    {
      name: 'rondo_queue_oldest_waiting_seconds',
      help: 'Since when the oldest run waits that a worker could take',
      type: 'gauge',
      read: eachJob(({ oldestWaitingMs }, labels) => [{ labels, value: oldestWaitingMs / 1_000 }]),
    },
    {
      name: 'rondo_job_paused',
      help: 'Whether the job is paused: 1 where it is',
      type: 'gauge',
      read: eachJob(({ paused }, labels) => [{ labels, value: Number(paused) }]),
    },
    {
      name: 'rondo_schedules',
      help: 'Schedules by their health',
      type: 'gauge',
      read: eachJob(({ schedules }, labels) => samplesBy('health', schedules, labels)),
    },
    {
      name: 'rondo_schedules_unreadable',
      help: 'Schedules whose entry in the store this release cannot read',
      type: 'gauge',
      read: read(({ unreadable }) => [{ labels: {}, value: unreadable }]),
    },
    {
      name: 'rondo_producer_lease_seconds',
      help: 'For how long the lead of the producers of the app is held yet: 0 where none leads',
      type: 'gauge',
      read: read(({ leaseMs }) => [{ labels: { app_name: app }, value: leaseMs / 1_000 }]),
    },
  ];
}

function samplesBy(label: string, counts: Readonly<Record<string, number>>, labels: Sample['labels']): Sample[] {
  return Object.entries(counts).map(([word, value]) => ({ labels: { ...labels, [label]: word }, value }));
}

async function inTime<Answer>(work: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(reject, waitMs, new Error(`no answer within ${waitMs} ms`));
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
