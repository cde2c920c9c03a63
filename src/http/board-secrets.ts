import type { BoardHooks, ControllerHandlerReturnType, HookContext } from '@bull-board/api/typings/app';
import type { JobsOptions } from 'bullmq';
import type { Broker, RunOptions } from '../broker/queues.js';
import type { JobDefinition } from '../jobs/define-job.js';
import { shownUrl } from '../jobs/healthcheck.js';
import { readPayload } from '../jobs/payload.js';
import type { Registry } from '../jobs/registry.js';
import { jobAt } from '../producers/runs.js';
import { redactorOfRun, shownPayload } from '../producers/shown.js';

/** A run, or the template of a scheduler, as Bull Board is about to answer it. */
interface BoardRun {
  readonly data?: unknown;
  readonly opts?: JobsOptions;
}

/**
 * Hides the secrets of payloads in whatever Bull Board answers. Its formatters know nothing of failures, logs and
 * templates, and what they have redacted cannot be looked for in those any more.
 */
export function hideSecrets(broker: Broker, registry: Registry): NonNullable<BoardHooks['after']> {
  return async ({ route, request }, answer) => {
    const { body } = answer as { body?: unknown };
    if (typeof body !== 'object' || body === null) return answer;
    const job = registry.find(String(request.params.queueName ?? ''));
    const shown = await shownBody(broker, registry, { route, job, id: String(request.params.jobId ?? ''), body });
    return { ...answer, body: shown } as ControllerHandlerReturnType;
  };
}

interface Answered {
  readonly route: string;
  readonly job: JobDefinition | undefined;
  readonly id: string;
  readonly body: object;
}

async function shownBody(broker: Broker, registry: Registry, { route, job, id, body }: Answered): Promise<unknown> {
  const { queues, schedulers, job: run } = body as { queues?: BoardQueue[]; schedulers?: Scheduler[]; job?: BoardRun };
  if (route === '/api/queues') {
    const shown = queues?.map((queue) => {
      const known = registry.find(queue.name);
      return { ...queue, jobs: queue.jobs.map((it) => shownRun(known, it)) };
    });
    return { ...body, queues: shown };
  }
  if (route === '/api/job-schedulers') {
    const shown = schedulers?.map((it) => ({
      ...it,
      template: it.template && {
        ...it.template,
        data: shownPayload(registry.find(it.queueName), storedOf(it.template)),
        ...(it.template.opts && { opts: shownOptions(it.template.opts) }),
      },
    }));
    return { ...body, schedulers: shown };
  }
  if (run) return { ...body, job: shownRun(job, run) };
  if (/logs$|flow$/.test(route) && job) return shownOfRun(broker, job, id, body);
  return body;
}

interface BoardQueue {
  readonly name: string;
  readonly jobs: readonly BoardRun[];
}

interface Scheduler {
  readonly queueName: string;
  readonly template?: BoardRun;
}

function shownRun(job: JobDefinition | undefined, run: BoardRun): unknown {
  const stored = storedOf(run);
  const { data: _, opts, ...rest } = run;
  const hide = redactorOfRun(job, stored).value;
  return { ...(hide(rest) as object), opts: opts && shownOptions(opts), data: shownPayload(job, stored) };
}

/** Who knows the address of a dead man's switch may ping it. */
function shownOptions(options: RunOptions): RunOptions {
  const { healthcheck } = options;
  return typeof healthcheck === 'string' ? { ...options, healthcheck: shownUrl(healthcheck) } : options;
}

/** Logs and flows come without their run. */
async function shownOfRun(broker: Broker, job: JobDefinition, id: string, body: object): Promise<unknown> {
  const run = await jobAt(broker.queue(job.name), id);
  return run ? redactorOfRun(job, run).value(body) : body;
}

function storedOf({ data, opts = {} }: BoardRun) {
  return { data, opts };
}

/** Edited data are checked like those of an enqueue, and what was shown in place of a secret is not stored as one. */
export function refusedEdit(registry: Registry, { method, route, request }: HookContext): string | null {
  if (`${method} ${route}` !== 'patch /api/queues/:queueName/:jobId/update-data') return null;
  const job = registry.find(String(request.params.queueName));
  const { jobData } = (request.body ?? {}) as { jobData?: unknown };
  return (job && readPayload(job, jobData).refused?.message) ?? null;
}
