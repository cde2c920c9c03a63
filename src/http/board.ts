import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { BeforeHookResult, HookContext } from '@bull-board/api/typings/app';
import { ExpressAdapter } from '@bull-board/express';
import type { Job } from 'bullmq';
import { Router } from 'express';
import type { Broker } from '../broker/queues.js';
import { errorTable } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import { payloadSchemaOf } from '../jobs/describe.js';
import type { Registry } from '../jobs/registry.js';
import { inWords } from '../jobs/words.js';
import { enqueue } from '../producers/runs.js';
import { principalIn, requires } from './guard.js';
import { inOurWords } from './problem.js';

/**
 * Bull Board, twice on one address: read-only for who may look, and with its actions for who may operate. The
 * server enforces both.
 *
 * @param report is told of errors that are ours
 */
export function boardRoutes(broker: Broker, registry: Registry, report: (error: unknown) => void): Router {
  const looking = createBoard(broker, registry, report, true);
  const operating = createBoard(broker, registry, report, false);
  const routes = Router();
  routes.use('/board', requires('read'));
  routes.post('/board/api/queues/:queue/add', requires('enqueue'));
  routes.use('/board', (request, response, next) => {
    const board = principalIn(response)?.may('operate') ? operating : looking;
    board(request, response, next);
  });
  return routes;
}

function createBoard(broker: Broker, registry: Registry, report: (error: unknown) => void, readOnlyMode: boolean) {
  const serverAdapter = new OwnPage().setBasePath('/board');
  const grouped = groupedNames(registry.jobs.map(({ name }) => name));
  createBullBoard({
    queues: registry.jobs.map((job) => {
      const delimiter = grouped.has(job.name) ? '-' : '';
      const options = { readOnlyMode, delimiter, description: descriptionOf(job), jobDataSchema: payloadSchemaOf(job) };
      return new JobQueue(broker, job, options);
    }),
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: 'Rondo',
        hideDocsLink: true,
        overview: { groupByDelimiter: grouped.size > 0 },
        // Each costs a list of all of Redis's clients whenever a page is brought up to date.
        showWorkers: registry.jobs.length <= 50,
        miscLinks: [{ text: 'Sign out', url: '/logout' }],
      },
      handlerHooks: { before: keepSchedulesSound },
    },
  });
  serverAdapter.setErrorHandler((error) => {
    const { code, status, message, detail } = inOurWords(error);
    if (code === 'internal') report(error);
    const body = { error: errorTable[code].message, message: code === 'payload-invalid' ? message : detail };
    return { status: status as 500, body };
  });
  return serverAdapter.getRouter();
}

/** Bull Board's page without the fonts that it would fetch from elsewhere. */
class OwnPage extends ExpressAdapter {
  override setEntryRoute({ method, route, handler }: Parameters<ExpressAdapter['setEntryRoute']>[0]): this {
    this.app[method](route, (_request, response, next) => {
      const { name, params } = handler({ basePath: this.basePath, uiConfig: this.uiConfig });
      response.render(name, params, (error: Error | null, page: string) => {
        if (error) next(error);
        else response.send(page.replace(/<link [^>]*fonts\.googleapis\.com[^>]*>/, ''));
      });
    });
    return this;
  }
}

/** A job's queue as the board may use it. */
class JobQueue extends BullMQAdapter {
  readonly #broker: Broker;
  readonly #job: JobDefinition;

  constructor(broker: Broker, job: JobDefinition, options: ConstructorParameters<typeof BullMQAdapter>[1]) {
    super(broker.queue(job.name), options);
    this.#broker = broker;
    this.#job = job;
  }

  /** Schedules belong to Rondo: the board shows them, and offers no edit, which would be undone in ten seconds. */
  override get supportsJobSchedulerUpdate(): boolean {
    return false;
  }

  /** As over HTTP: the payload is checked, and the job's own policies hold. */
  override async addJob(_name: string, data: unknown, { delay, attempts, priority }: AddOptions): Promise<Job> {
    const options = { ...(delay && { delay }), ...(attempts && { attempts }), ...(priority && { priority }) };
    const id = await enqueue(this.#broker, this.#job, data, options);
    return (await this.#broker.queue(this.#job.name).getJob(id)) as Job;
  }
}

interface AddOptions {
  readonly delay?: number;
  readonly attempts?: number;
  readonly priority?: number;
}

const whereToChange = 'change them where the job is defined; `rondo schedules plan` shows what that does';

function descriptionOf({ description, schedules }: JobDefinition): string {
  const times = schedules.filter(({ enabled }) => enabled).map(({ timing }) => inWords(timing));
  if (times.length === 0) return description;
  const shown = times.length > 3 ? [...times.slice(0, 2), `${times.length - 2} more schedules`] : times;
  return [description, `${shown.join('; ')}: ${whereToChange}`].filter(Boolean).join(' · ');
}

/**
 * The names whose first word another job's begins with as well: they are shown as a group. A job of whose name
 * another is a continuation would disappear behind it, so such ones stay apart.
 */
export function groupedNames(names: readonly string[]): Set<string> {
  const groupOf = (name: string) => names.filter((other) => other.split('-')[0] === name.split('-')[0]);
  const hides = (group: readonly string[]) => group.some((name) => group.some((other) => other.startsWith(`${name}-`)));
  return new Set(names.filter((name) => groupOf(name).length > 1 && !hides(groupOf(name))));
}

const refusal = { allow: false, status: 403, message: `Rondo owns its schedules: ${whereToChange}` } as const;

/** What would take schedulers along, or change one behind the producer's back. */
const refused = [
  'patch /api/queues/:queueName/job-schedulers/:schedulerId',
  'put /api/queues/:queueName/job-schedulers/:schedulerId/remove',
  'put /api/queues/:queueName/obliterate',
];

function keepSchedulesSound({ method, route, request }: HookContext): BeforeHookResult {
  const at = `${method} ${route}`;
  // The next run of a schedule carries its chain: moved by a year, it would have no tick for a year.
  const movesTick = at === 'patch /api/queues/:queueName/:jobId/delay' && /^repeat:/.test(request.params.jobId);
  return movesTick || refused.includes(at) ? refusal : undefined;
}
