import { pathToFileURL } from 'node:url';
import { RondoError } from '../errors.js';
import { nearest, show } from '../problems.js';
import { type AlertSettings, alertJob } from './catalog/alert.js';
import { heartbeat } from './catalog/heartbeat.js';
import { type HttpRequestSettings, httpRequest } from './catalog/http-request.js';
import { memoryReport } from './catalog/memory-report.js';
import { monthlyCreditTopUp } from './catalog/monthly-credit-top-up.js';
import { type PingSettings, ping } from './catalog/ping.js';
import { type ProcessDataSettings, processData } from './catalog/process-data.js';
import { type SendEmailSettings, sendEmail } from './catalog/send-email.js';
import { stalePurchaseCleanup } from './catalog/stale-purchase-cleanup.js';
import { sweepRetention } from './catalog/sweep-retention.js';
import { syncTokens } from './catalog/sync-tokens.js';
import type { Database } from './database.js';
import { isJobDefinition, type JobDefinition } from './define-job.js';
import { shareOwnPackages } from './own-packages.js';
import { createRegistry, type Registry } from './registry.js';

export interface CatalogSettings {
  readonly httpRequest: HttpRequestSettings;
  readonly email?: SendEmailSettings;
  /** Where alerts are sent; nowhere unless told. */
  readonly alert?: AlertSettings;
  /** The Postgres of the jobs that keep to one, which are off without. */
  readonly database?: Database | null;
  /** Where `process-data` finds its files, without which it is off, and its bounds. */
  readonly processData?: Pick<ProcessDataSettings, 'folder' | 'maxBytes' | 'importTables'>;
  /** The zone in which the month of `monthly-credit-top-up` begins: UTC unless told. */
  readonly creditsTimezone?: string;
  readonly ping: PingSettings;
  /** Where the list of `sync-tokens` begins, which is off without. */
  readonly tokensUrl?: string | null;
}

/** What is said of jobs outside their code. */
export interface JobSwitches {
  readonly disabled: readonly string[];
  /** Job names to runs at once in one worker process; `*` for all that are not named. */
  readonly concurrency: ReadonlyMap<string, number>;
}

/** The jobs that come with Rondo, for a first look. */
const catalog = (settings: CatalogSettings): readonly JobDefinition[] => [
  heartbeat,
  httpRequest(settings.httpRequest),
  memoryReport,
  monthlyCreditTopUp({ database: settings.database, timezone: settings.creditsTimezone }),
  processData({ ...settings.processData, database: settings.database, allow: settings.httpRequest.allow }),
  stalePurchaseCleanup({ database: settings.database }),
  sendEmail({ ...settings.email, allow: settings.httpRequest.allow ?? [] }),
  ping(settings.ping),
  sweepRetention(),
  syncTokens({ url: settings.tokensUrl, database: settings.database }),
];

/**
 * The jobs of this process: those of the user's own module, in place of the catalog; and beside either, where alerts
 * have a channel, the job that sends them.
 *
 * @param path of the module, absolute; null where there is none
 * @throws RondoError `jobs-module`, `jobs-invalid`, or `config-invalid` where a switch names no job
 */
export async function loadRegistry(
  path: string | null,
  settings: CatalogSettings,
  switches: JobSwitches,
): Promise<Registry> {
  const { jobs, calendars } = path ? await loadJobs(path) : { jobs: catalog(settings), calendars: [] };
  const { alert } = settings;
  const own = alert?.webhook || alert?.email ? [alertJob(alert)] : [];
  return createRegistry(switched([...jobs, ...own], switches), calendars);
}

/** The jobs as the environment wants them. @throws RondoError `config-invalid` with names that no job has */
function switched(jobs: readonly JobDefinition[], { disabled, concurrency }: JobSwitches): readonly JobDefinition[] {
  const names = jobs.map(({ name }) => name);
  const unknown = (where: string, given: Iterable<string>) =>
    [...given]
      .filter((name) => name !== '*' && !names.includes(name))
      .map((name) => {
        const near = nearest(name, names);
        return { where, expected: `names of jobs${near ? ` (did you mean ${near}?)` : ''}`, got: show(name) };
      });
  const problems = [...unknown('RONDO_DISABLED_JOBS', disabled), ...unknown('RONDO_CONCURRENCY', concurrency.keys())];
  if (problems.length > 0) throw new RondoError('config-invalid', '', { problems });
  return jobs.map((job) => ({
    ...job,
    ...(disabled.includes(job.name) && { enabled: false, off: 'RONDO_DISABLED_JOBS names it' }),
    concurrency: concurrency.get(job.name) ?? concurrency.get('*') ?? job.concurrency,
  }));
}

/**
 * The jobs of a module of the user's own: its default export, a list made with `defineJob`, and its export
 * `calendars` where it has one. Wherever the module lies, its `import … from 'rondo'` means this program, and `zod` is this program's where it has none of its own.
 *
 * @param path absolute
 * @throws RondoError `jobs-module` where it is missing, throws, or exports something else
 */
async function loadJobs(path: string): Promise<{ jobs: readonly JobDefinition[]; calendars: unknown }> {
  shareOwnPackages();
  const imported = await importModule(path);
  const { default: jobs, calendars } = imported;
  if (!Array.isArray(jobs)) {
    const got = `${path}: expected a list of jobs as the default export; got ${show(jobs)}`;
    throw new RondoError('jobs-module', named(got));
  }
  const strangers = jobs.flatMap((job, index) => (isJobDefinition(job) ? [] : [{ index, job }]));
  if (strangers.length > 0) {
    throw new RondoError('jobs-module', named(path), {
      problems: strangers.map(({ index, job }) => ({
        where: `default[${index}]`,
        expected: 'a job made with defineJob',
        got: show(job),
      })),
    });
  }
  return { jobs, calendars };
}

async function importModule(path: string): Promise<{ default?: unknown; calendars?: unknown }> {
  try {
    return await import(pathToFileURL(path).href);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const missing = (cause as { code?: string }).code === 'ERR_MODULE_NOT_FOUND' && why.includes(`'${path}'`);
    const fault = missing ? `${path} does not exist` : `${path} failed to load: ${why}`;
    throw new RondoError('jobs-module', named(fault), { cause });
  }
}

/** With the setting that says which module it is. */
const named = (fault: string) => `RONDO_JOBS: ${fault}`;
