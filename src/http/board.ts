import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { BeforeHookResult, HookContext } from '@bull-board/api/typings/app';
import { ExpressAdapter } from '@bull-board/express';
import type { Job } from 'bullmq';
import { Router } from 'express';
import type { Broker } from '../broker/queues.js';
import type { JobDefinition } from '../jobs/define-job.js';
import { payloadSchemaOf } from '../jobs/describe.js';
import type { EnqueueOptions } from '../jobs/enqueue-options.js';
import type { Registry } from '../jobs/registry.js';
import { inWords } from '../jobs/words.js';
import { pauseJob, resumeJob } from '../producers/job-pause.js';
import { enqueue } from '../producers/runs.js';
import { hideSecrets, refusedEdit } from './board-secrets.js';
import { jsonBody } from './body.js';
import { principalIn, requires } from './guard.js';
import type { Principal } from './keys.js';
import { icon } from './pages.js';
import { read } from './request.js';
import { enqueueBody } from './routes/enqueue.js';
import { sections } from './site/sections.js';
import { withinMs } from './within.js';

/**
 * Bull Board, twice on one address: read-only for who may look, and with its actions for who may operate. The
 * server enforces both.
 */
export function boardRoutes(broker: Broker, registry: Registry): Router {
  const looking = createBoard(broker, registry, true);
  const operating = createBoard(broker, registry, false);
  const routes = Router();
  routes.use('/board', requires('read'));
  routes.post('/board/api/queues/:queue/add', requires('enqueue'));
  // Before the board's own reader, which lets anything in, however deep.
  routes.use('/board/api', jsonBody);
  // A page that asks every few seconds should not have to wait for each command to time out.
  routes.use('/board/api', async (_request, _response, next) => {
    await withinMs(1_500, broker.client.ping());
    next();
  });
  routes.use('/board', (request, response, next) => {
    const principal = principalIn(response);
    if (principal) askers.set(request.headers, principal);
    const board = principal?.may('operate') ? operating : looking;
    board(request, response, next);
  });
  return routes;
}

/** Bull Board hands on of a request its headers, and not who sent it. */
const askers = new WeakMap<object, Principal>();

function createBoard(broker: Broker, registry: Registry, readOnlyMode: boolean) {
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
        boardLogo: { path: icon, width: 24, height: 24 },
        favIcon: { default: icon, alternative: icon },
        hideDocsLink: true,
        sortQueues: true,
        overview: { groupByDelimiter: grouped.size > 0 },
        // Each costs a list of all of Redis's clients whenever a page is brought up to date.
        showWorkers: registry.jobs.length <= 50,
        miscLinks: [
          ...sections.map(({ label, path }) => ({ text: label, url: path })),
          { text: 'Sign out', url: '/logout' },
        ],
      },
      handlerHooks: {
        before: (context) => keepSchedulesSound(context) ?? keepPayloadsSound(registry, context),
        after: hideSecrets(broker, registry),
      },
    },
  });
  // To where all errors go: Bull Board's own handler answers them with 500.
  serverAdapter.setErrorHandler((error) => {
    throw error;
  });
  return serverAdapter.getRouter().disable('x-powered-by');
}

/** Bull Board's page without the fonts that it would fetch from elsewhere, and with a word of ours about schedules. */
class OwnPage extends ExpressAdapter {
  override setEntryRoute({ method, route, handler }: Parameters<ExpressAdapter['setEntryRoute']>[0]): this {
    this.app[method](route, (_request, response, next) => {
      const { name, params } = handler({ basePath: this.basePath, uiConfig: this.uiConfig });
      response.render(name, params, (error: Error | null, page: string) => {
        if (error) next(error);
        else response.send(page.replace(/<link [^>]*fonts\.googleapis\.com[^>]*>/, schedulesStyle));
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
    this.setVisibilityGuard(({ headers }) => askers.get(headers)?.mayUse(job.name) ?? false);
  }

  /** Beside the runs lie keys of other kinds, which an id may name: `meta` is none to be shown, or removed. */
  override async getJob(id: string): Promise<Job | undefined> {
    const queue = this.#broker.queue(this.#job.name);
    return (await queue.getJobState(id)) === 'unknown' ? undefined : queue.getJob(id);
  }

  /** Schedules belong to Rondo: the board shows them, and offers no edit, which would be undone in ten seconds. */
  override get supportsJobSchedulerUpdate(): boolean {
    return false;
  }

  /** As over HTTP, so that who looks for the reason finds whence it came. */
  override async pause(): Promise<void> {
    await pauseJob(this.#broker, this.#job.name, { by: 'the board', note: '', now: Date.now() });
  }

  override async resume(): Promise<void> {
    await resumeJob(this.#broker, this.#job.name);
  }

  /** As over HTTP: the payload is checked, and the job's own policies hold. */
  override async addJob(_name: string, data: unknown, given: unknown): Promise<Job> {
    const { delay, attempts, priority } = Object(given) as Record<string, unknown>;
    // What its form leaves empty comes as 0, or as a text of nothing.
    const wanted = {
      ...(delay ? { delay } : {}),
      ...(attempts ? { attempts } : {}),
      ...(priority ? { priority } : {}),
    };
    const { payload: _, at: __, ...options } = read(enqueueBody, wanted);
    const id = await enqueue(this.#broker, this.#job, data, options as EnqueueOptions);
    return (await this.#broker.queue(this.#job.name).getJob(id)) as Job;
  }
}

function descriptionOf({ description, schedules, enabled, off }: JobDefinition): string {
  if (!enabled) return [description, off === null ? 'off' : `off: ${off}`].filter(Boolean).join(' · ');
  const times = schedules.filter(({ enabled }) => enabled).map(({ timing }) => inWords(timing));
  if (times.length === 0) return description;
  const shown = times.length > 3 ? [...times.slice(0, 2), `${times.length - 2} more schedules`] : times;
  return [description, `${shown.join('; ')} (set in code)`].filter(Boolean).join(' · ');
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

const whereToChange =
  'Rondo owns its schedules: change them where the job is defined; `rondo schedules plan` shows what that does.';

/** Bull Board offers to edit and to remove a schedule whatever its adapter says; the server refuses both. */
const schedulesStyle = `<style>
  [class^=actionsCell] button:is(:has(.lucide-pencil), :has(.lucide-trash2)) { display: none; }
  [class^=tableWrapper]:has([class^=schedulerId])::after { content: '${whereToChange}';
    display: block; padding-top: 1rem; color: var(--muted-foreground); font-size: .8rem; }
</style>`;

/** What would take schedules along, or change one behind the producer's back, and why it is refused. */
const refused: Record<string, string> = {
  'patch /api/queues/:queueName/job-schedulers/:schedulerId': whereToChange,
  'put /api/queues/:queueName/job-schedulers/:schedulerId/remove': whereToChange,
  'put /api/queues/:queueName/obliterate':
    "It would take the job's schedules along: empty and clean the queue instead.",
};

function keepSchedulesSound({ method, route, request }: HookContext): BeforeHookResult {
  const at = `${method} ${route}`;
  // The next run of a schedule carries its chain: moved by a year, it would have no tick for a year.
  const movesTick = at === 'patch /api/queues/:queueName/:jobId/delay' && /^repeat:/.test(request.params.jobId);
  const message = movesTick ? whereToChange : refused[at];
  return message === undefined ? undefined : { allow: false, status: 403, message };
}

function keepPayloadsSound(registry: Registry, context: HookContext): BeforeHookResult {
  const message = refusedEdit(registry, context);
  return message === null ? undefined : { allow: false, status: 400, message };
}
