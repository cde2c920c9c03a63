import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type ProcessDataSettings, processData } from '../../src/jobs/catalog/process-data.js';
import { type RunOptions, runJob } from '../../src/testing/run-job.js';
import { freshFolder } from './jobs-module.js';

type Payload = Parameters<typeof runJob>[1];

/** A folder of the test's own, and the job `process-data` on it. */
export function dataFolder(settings: ProcessDataSettings = {}) {
  const root = join(freshFolder(), 'data');
  mkdirSync(root);
  const job = processData({ folder: root, ...settings });
  return {
    root,
    job,
    put(path: string, content: string | Buffer) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    },
    text(path: string): string {
      const content = readFileSync(join(root, path));
      return (path.endsWith('.gz') ? gunzipSync(content) : content).toString();
    },
    /** All files below it, hidden ones too. */
    files: () =>
      readdirSync(root, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
        .sort(),
    run: (payload: Payload, options?: RunOptions) => runJob(job, payload as never, options),
  };
}
