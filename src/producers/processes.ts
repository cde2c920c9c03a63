import { type FoundReport, type RunningRun, readProcesses } from '../broker/processes.js';
import type { Broker } from '../broker/queues.js';
import { briefly, isoOr, isoTime } from '../jobs/words.js';
import { readDurations, readJobDurations } from './durations.js';
import { median } from './warnings.js';

/** A process that is alive, as people and services see it. Times are ISO, durations in ms, memory in bytes. */
export interface ProcessView {
  /** Another one after each start. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly roles: readonly string[];
  readonly app: string;
  readonly release: string;
  /** Of Rondo. */
  readonly version: string;
  readonly state: ProcessState;
  readonly startedAt: string;
  /** When it told this last. */
  readonly seenAt: string;
  /** By how much its clock is ahead of Redis's. */
  readonly clockAheadMs: number;
  /** What it takes runs of, and how many at once. */
  readonly jobs: readonly { readonly name: string; readonly concurrency: number; readonly timeoutMs: number }[];
  /** How many runs it executes; `runs` are the oldest of them, 100 at most. */
  readonly running: number;
  readonly runs: readonly RunningView[];
  /** How late its timers are: the 99th percentile of the last few seconds. */
  readonly loopDelayMs: number;
  readonly memory: { readonly rss: number; readonly heapUsed: number; readonly heapTotal: number };
}

/** `silent` where it should have told something since. */
export const processStates = ['working', 'stopping', 'silent'] as const;
export type ProcessState = (typeof processStates)[number];

export interface RunningView {
  readonly job: string;
  readonly run: string;
  readonly schedule: string | null;
  readonly tick: string | null;
  /** Counts from 1. */
  readonly attempt: number;
  readonly since: string;
  readonly runningMs: number;
  /** What its schedule's runs take, or its job's, where that is known and it runs for long. */
  readonly typicalMs: number | null;
  /** Why it is taken for stuck; null where it is not. */
  readonly stuck: string | null;
}

export interface ProcessList {
  readonly processes: readonly ProcessView[];
  /** Ids of processes whose report this release cannot read. */
  readonly unreadable: readonly string[];
  /** How many more there are. */
  readonly left: number;
}

/** Every process that is alive, by host and start. */
export async function listProcesses(broker: Broker): Promise<ProcessList> {
  const { found, unreadable, left, now } = await readProcesses(broker);
  const views = found.map((it) => processView(it, now));
  const typical = await readTypical(broker, views);
  const processes = views
    .map((view) => ({ ...view, runs: view.runs.map((run) => judged(run, view, typical(run))) }))
    .sort((a, b) => order(a.host, b.host) || order(a.startedAt, b.startedAt) || order(a.id, b.id));
  return { processes, unreadable: unreadable.toSorted(), left };
}

/** A process tells every 5 s. */
const silentFromMs = 12_000;
/** A run shorter than this is not stuck, whatever is usual. */
const longFromMs = 10_000;
/** A timeout is noticed by a timer, and the handler has a moment to end. */
const timeoutGraceMs = 3_000;
const timesTypical = 3;
/** Of so many long runs at most it is asked what is usual. */
const mostAsked = 2_000;

/** How long a run goes on counts by two clocks: the process's until it told, Redis's since. */
function processView({ report, seenAt }: FoundReport, now: number): ProcessView {
  const { startedAt, at, stopping, runs, ...rest } = report;
  const silentMs = Math.max(0, now - seenAt);
  const state = silentMs >= silentFromMs ? 'silent' : stopping ? 'stopping' : 'working';
  return {
    ...rest,
    state,
    startedAt: isoTime(startedAt),
    seenAt: isoTime(seenAt),
    clockAheadMs: at - seenAt,
    runs: runs.map((run) => runningView(run, Math.max(0, at - run.since) + silentMs)),
  };
}

function runningView({ job, run, attempt, since, schedule, tick }: RunningRun, runningMs: number): RunningView {
  const of = { job, run, schedule: schedule ?? null, tick: isoOr(tick), attempt };
  return { ...of, since: isoTime(since), runningMs, typicalMs: null, stuck: null };
}

type Typical = (run: RunningView) => number | null;

async function readTypical(broker: Broker, processes: readonly ProcessView[]): Promise<Typical> {
  const long = processes
    .flatMap(({ runs }) => runs)
    .filter(({ runningMs }) => runningMs >= longFromMs)
    .sort((a, b) => b.runningMs - a.runningMs)
    .slice(0, mostAsked);
  const schedules = new Map<string, Set<string>>();
  for (const { job, schedule } of long) {
    const ids = schedules.get(job) ?? new Set();
    schedules.set(job, schedule === null ? ids : ids.add(schedule));
  }
  const ids = new Map([...schedules].map(([job, found]) => [job, [...found]]));
  const [ofSchedules, ofJobs] = await Promise.all([
    readDurations(broker, ids),
    readJobDurations(broker, [...schedules.keys()]),
  ]);
  return ({ job, schedule }) => {
    const own = schedule === null ? [] : (ofSchedules.get(schedule) ?? []);
    return median(own) ?? median(ofJobs.get(job) ?? []);
  };
}

function judged(run: RunningView, { jobs }: ProcessView, typicalMs: number | null): RunningView {
  const timeoutMs = jobs.find(({ name }) => name === run.job)?.timeoutMs ?? null;
  return { ...run, typicalMs, stuck: stuckReason(run.runningMs, timeoutMs, typicalMs) };
}

/** @returns why a run is taken for stuck, or null; durations in ms */
export function stuckReason(runningMs: number, timeoutMs: number | null, typicalMs: number | null): string | null {
  if (timeoutMs !== null && runningMs > timeoutMs + timeoutGraceMs)
    return `longer than its timeout of ${briefly(timeoutMs)}`;
  if (typicalMs === null || runningMs < longFromMs || runningMs <= timesTypical * typicalMs) return null;
  return `its runs take ${briefly(typicalMs)} as a rule`;
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
