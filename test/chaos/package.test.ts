import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { fixture } from '../support/harness.js';
import { secretOf } from '../support/http.js';
import { startPglite } from '../support/postgres.js';
import { startProgram } from '../support/processes.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const run = promisify(execFile);
const key = secretOf('shop');

describe('the package', () => {
  let folder: string;
  let tarball: string;
  let project: string;
  let compiled: Awaited<ReturnType<typeof compile>>;
  const entry = () => join(project, 'node_modules/.bin/rondo');

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rondo-package-'));
    tarball = await pack(folder);
    project = join(folder, 'shop');
    writeFiles(project, projectFiles);
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
    const packages = [tarball, `@types/node@${devDependencies['@types/node']}`];
    await run('npm', ['install', ...quietly, ...packages], { cwd: project });
    compiled = await compile(project);
  }, 180_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('holds the program, its types, its docs and what they name, and nothing else', async () => {
    const { stdout } = await run('tar', ['-tzf', tarball]);
    const files = stdout.trimEnd().split('\n');
    const wanted =
      /^package\/(bin\/rondo|dist\/.+|docs\/.+\.md|deploy\/.+\.(yml|json)|examples\/.+\.ts|(README|CHANGELOG)\.md|LICENSE|package\.json)$/;
    expect(files.filter((file) => !wanted.test(file))).toEqual([]);
    for (const named of ['deploy/alerts.yml', 'deploy/grafana-dashboard.json', 'examples/orders/service.ts'])
      expect(files).toContain(`package/${named}`);
    expect(files.filter((file) => /[./](test|spec|bench|env)\b/.test(file))).toEqual([]);
    console.log(`${files.length} files, ${Math.round(statSync(tarball).size / 1_024)} KiB`);
    expect(statSync(tarball).size).toBeLessThan(1_500_000);
  });

  it('is all that a project needs to check its jobs and callers by type, and to test them', async () => {
    expect(compiled).toEqual({ code: 0, stdout: '' });
    expect((await run('node', ['dist/check.js'], { cwd: project })).stdout).toBe('{"greeted":"Ada"}\n');

    writeFiles(project, { 'src/wrong.ts': wrongCalls });
    const refused = await compile(project);
    rmSync(join(project, 'src/wrong.ts'));
    expect(refused.code).not.toBe(0);
    expect(refused.stdout.match(/^src\/wrong\.ts\(\d+/gm)).toEqual([4, 5, 6, 7].map((line) => `src/wrong.ts(${line}`));
  });

  it('runs producer, worker and api with the jobs of a project, for its services and who looks at its pages', async () => {
    const { prefix: RONDO_PREFIX } = await fixture([]);
    const env = { RONDO_JOBS: './dist/jobs.js', RONDO_PREFIX, RONDO_API_KEYS: `shop:${key}:enqueue|read` };
    const [, worker, api] = ['producer', 'worker', 'api'].map((role) =>
      startProgram([role], { entry: entry(), cwd: project, env }),
    );
    const told = await api?.line(({ msg }) => msg?.startsWith('the board is at') ?? false);
    const url = /http\S+(?=\/board)/.exec(told?.msg ?? '')?.[0] ?? '';

    const service = await run('node', ['dist/service.js'], { cwd: project, env: { ...process.env, SHOP_URL: url } });
    expect(service.stdout).toBe('greeted Ada\n');
    await worker?.line(({ event, schedule }) => event === 'run.succeeded' && schedule === 'beat');
    const npx = { ...process.env, ...env, REDIS_URL: inject('redisUrl') };
    const list = await run('npx', ['rondo', 'schedules', 'list'], { cwd: project, env: npx });
    expect(list.stdout).toMatch(/^beat .* code:shop-jobs +1\.2\.3$/m);
    const headers = { authorization: `Bearer ${key}` };
    for (const path of ['/schedules', '/assets/site.css', '/docs/', '/docs/swagger-ui-bundle.js', '/board'])
      expect((await fetch(url + path, { headers, redirect: 'manual' })).status, path).toBe(200);
  });

  it('brings the embedded server, and the tables of the catalog', async () => {
    const program = startProgram(['start'], { entry: entry(), cwd: project, env: { REDIS_URL: '' } });
    await program.line(({ event, schedule }) => event === 'run.succeeded' && schedule === 'heartbeat');

    const postgres = await startPglite();
    const env = { ...process.env, DATABASE_URL: postgres.url };
    const migrated = await run('npx', ['rondo', 'db', 'migrate'], { cwd: project, env }).finally(postgres.stop);
    expect(migrated.stdout).toMatch(/^applied: 0001_catalog, /);
  });
});

/**
 * Packs what a clean checkout would, beside a secret that must not come along. Built apart, since other tests run what is in
 * this repository's own `dist`. @returns the tarball
 */
async function pack(folder: string): Promise<string> {
  const checkout = join(folder, 'checkout');
  const left = ['node_modules', 'dist', '.git'];
  cpSync(root, checkout, { recursive: true, filter: (path) => !left.includes(basename(path)) });
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'));
  writeFileSync(join(checkout, '.env'), 'RONDO_API_KEYS=ops:0123456789abcdef:admin\n');
  await run(process.execPath, ['scripts/build.mjs'], { cwd: checkout });
  // From here: through a link to its packages the compiler finds some types to be out of reach.
  await run(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', join(checkout, 'dist')], { cwd: root });
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: checkout });
  const [name = ''] = readdirSync(folder).filter((file) => file.endsWith('.tgz'));
  return join(folder, name);
}

/** By the repository's own compiler, as strictly as it goes: the declarations of packages are checked too. */
async function compile(cwd: string) {
  return run(process.execPath, [tsc, '-p', '.'], { cwd }).then(
    ({ stdout }) => ({ code: 0, stdout }),
    ({ code, stdout }: { code: number; stdout: string }) => ({ code, stdout }),
  );
}

function writeFiles(folder: string, files: Record<string, string>): void {
  mkdirSync(join(folder, 'src'), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
}

const projectFiles = {
  'package.json': JSON.stringify({ name: 'shop-jobs', version: '1.2.3', private: true, type: 'module' }),
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      ...{ target: 'ES2023', module: 'NodeNext', types: ['node'], strict: true, skipLibCheck: false },
      ...{ rootDir: 'src', outDir: 'dist' },
    },
    include: ['src'],
  }),
  'src/jobs.ts': `import { defineJob } from 'rondo';
import { z } from 'zod';

export const greet = defineJob({
  name: 'greet',
  payload: z.object({ name: z.string() }),
  run: ({ payload }) => ({ greeted: payload.name }),
});

const beat = defineJob({ name: 'beat', schedules: [{ id: 'beat', every: '1s' }], run: () => 'beaten' });

export default [greet, beat];
`,
  'src/check.ts': `import { runJob } from 'rondo/testing';
import { greet } from './jobs.js';

const { result } = await runJob(greet, { name: 'Ada' });
console.log(JSON.stringify(result));
`,
  'src/service.ts': `import { createClient } from 'rondo/client';
import type jobs from './jobs.js';

const rondo = createClient<typeof jobs>({ url: String(process.env.SHOP_URL), key: '${key}' });
const { id } = await rondo.enqueue('greet', { name: 'Ada' });
const run = await rondo.waitFor('greet', id);
if (run.state === 'failed') throw new Error(String(run.error));
const name: string = run.result.greeted;
console.log('greeted ' + name);
`,
};

/** One on each line from the fourth on. */
const wrongCalls = `import { createClient } from 'rondo/client';
import type jobs from './jobs.js';
export const rondo = createClient<typeof jobs>({ url: 'http://localhost', key: 'key' });
void rondo.enqueue('greet', { name: 42 });
void rondo.enqueue('greet', {});
void rondo.enqueue('great', { name: 'Ada' });
void rondo.waitFor('greet', '1').then((run) => run.state === 'completed' && run.result.greetd);
`;
