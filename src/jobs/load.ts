import { pathToFileURL } from 'node:url';
import { RondoError } from '../errors.js';
import { show } from '../problems.js';
import { heartbeat } from './catalog/heartbeat.js';
import { type HttpRequestSettings, httpRequest } from './catalog/http-request.js';
import { memoryReport } from './catalog/memory-report.js';
import { isJobDefinition, type JobDefinition } from './define-job.js';
import { shareOwnPackages } from './own-packages.js';
import { createRegistry, type Registry } from './registry.js';

export interface CatalogSettings {
  readonly httpRequest: HttpRequestSettings;
}

/** The jobs that come with Rondo. */
const catalog = (settings: CatalogSettings): readonly JobDefinition[] => [
  heartbeat,
  httpRequest(settings.httpRequest),
  memoryReport,
];

/**
 * The jobs of this process: those of the user's own module, in place of the catalog.
 *
 * @param path of the module, absolute; null where there is none
 * @throws RondoError `jobs-module` or `jobs-invalid`
 */
export async function loadRegistry(path: string | null, settings: CatalogSettings): Promise<Registry> {
  return createRegistry(path ? await loadJobs(path) : catalog(settings));
}

/**
 * The jobs of a module of the user's own: its default export, a list made with `defineJob`. Wherever the module
 * lies, its `import … from 'rondo'` means this program, and `zod` is this program's where it has none of its own.
 *
 * @param path absolute
 * @throws RondoError `jobs-module` where it is missing, throws, or exports something else
 */
async function loadJobs(path: string): Promise<readonly JobDefinition[]> {
  shareOwnPackages();
  const imported = await importModule(path);
  const jobs: unknown = imported.default;
  if (!Array.isArray(jobs)) {
    throw new RondoError('jobs-module', `${path}: expected a list of jobs as the default export; got ${show(jobs)}`);
  }
  const strangers = jobs.flatMap((job, index) => (isJobDefinition(job) ? [] : [{ index, job }]));
  if (strangers.length > 0) {
    throw new RondoError('jobs-module', path, {
      problems: strangers.map(({ index, job }) => ({
        where: `default[${index}]`,
        expected: 'a job made with defineJob',
        got: show(job),
      })),
    });
  }
  return jobs;
}

async function importModule(path: string): Promise<{ default?: unknown }> {
  try {
    return await import(pathToFileURL(path).href);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const missing = (cause as { code?: string }).code === 'ERR_MODULE_NOT_FOUND' && why.includes(`'${path}'`);
    throw new RondoError('jobs-module', missing ? `${path} does not exist` : `${path} failed to load: ${why}`, {
      cause,
    });
  }
}
