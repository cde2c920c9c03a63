import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Service } from '../lifecycle.js';
import {
  createSignOfLife,
  mostJobs,
  mostRuns,
  type ProcessReport,
  type Running,
  type SignOptions,
} from './processes.js';
import type { Broker } from './queues.js';

export interface SelfInput extends SignOptions {
  readonly roles: readonly string[];
  readonly app: string;
  readonly release: string;
  readonly vitalSigns: () => Pick<ProcessReport, 'loopDelayMs' | 'memory'>;
  readonly now: () => number;
}

/** What this process tells others of itself, through whichever connection it has. */
export function createSelf({ roles, app, release, vitalSigns, now, ...options }: SelfInput) {
  const facts = {
    // Another one after each start, also where host and number are the same.
    id: randomBytes(6).toString('hex'),
    host: hostname().slice(0, 300),
    pid: process.pid,
    ...{ roles: [...roles], app, release, version: versionOfProgram(), startedAt: now() },
  };
  let jobs: ProcessReport['jobs'] = [];
  let running: (most: number) => Running = () => ({ running: 0, runs: [] });
  let stopping = false;
  let shown = false;

  function report(): ProcessReport {
    return { ...facts, ...vitalSigns(), stopping, at: now(), jobs, ...running(mostRuns) };
  }

  return {
    id: facts.id,
    /** What it takes runs of, and what it executes at a moment. */
    worksOn(definitions: readonly JobDefinition[], executing: (most: number) => Running): void {
      jobs = definitions
        .slice(0, mostJobs)
        .map(({ name, concurrency, timeout: timeoutMs }) => ({ name, concurrency, timeoutMs }));
      running = executing;
    },
    stops(): void {
      stopping = true;
    },
    /** Before a role that has this connection, so that it tells of it until it has stopped. The first is enough. */
    shownOn(broker: Broker): Service {
      if (shown) return { name: 'sign of life', start: async () => {}, stop: async () => {} };
      shown = true;
      return createSignOfLife(broker, report, options);
    },
  };
}

function versionOfProgram(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}
