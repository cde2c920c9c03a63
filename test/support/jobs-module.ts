import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A folder outside the project, removed when the test is over. */
export function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'rondo-jobs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * Writes a module for `RONDO_JOBS`, as a team would keep it in a repository of its own; `defineJob` and `z` are
 * imported already.
 *
 * @returns its path
 */
export function writeJobs(source: string, { folder = freshFolder(), file = 'jobs.mjs' } = {}): string {
  const path = join(folder, file);
  writeFileSync(path, `import { defineJob } from 'rondo';\nimport { z } from 'zod';\n${source}`);
  return path;
}
