import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { errorTable } from '../../src/errors.js';

const read = (file: string) => readFileSync(file, 'utf8');
const found = (pattern: RegExp, text: string) => [...text.matchAll(pattern)].map(([, name = '']) => name);

test('every setting is in the table of the README, or in that of traces', () => {
  const settings = found(/^ {2}([A-Z_]{4,}): z?\b/gm, read('src/config.ts'));
  expect(settings).toContain('REDIS_URL');
  const documents = read('README.md') + read('docs/traces.md');
  expect(settings.filter((name) => !documents.includes(`\`${name}\``))).toEqual([]);
});

test('compose hands on the settings that .env.example names, and no others', () => {
  const named = found(/^#?([A-Z_]+)=/gm, read('.env.example'));
  expect(named).toContain('REDIS_PASSWORD');
  const ofDocker = ['COMPOSE_FILE'];
  const handedOn = found(/\$\{([A-Z_]+)/g, read('docker-compose.yml') + read('deploy/compose.jobs.yml'));
  expect(new Set(handedOn)).toEqual(new Set(named.filter((name) => !ofDocker.includes(name))));
});

test('every code of an error is in a document', () => {
  const documents = markdown()
    .filter((file) => file !== 'CHANGELOG.md')
    .map(read)
    .join();
  expect(Object.keys(errorTable).filter((code) => !documents.includes(`\`${code}\``))).toEqual([]);
});

test('every event has a row', () => {
  const events = found(/'([a-z]+\.[a-z-]+)'/g, read('src/jobs/events.ts'));
  expect(events).toContain('run.succeeded');
  const rows = found(/^\| (.*?) \|/gm, read('docs/events.md')).join();
  expect(events.filter((name) => !rows.includes(`\`${name}\``))).toEqual([]);
});

test('every package that the program needs has its reason', () => {
  const { dependencies, optionalDependencies } = JSON.parse(read('package.json'));
  const decision = read('docs/decisions/0004-dependencies.md');
  const isNamed = (name: string) => new RegExp(`(^|[ (])${name}[ ,).]`, 'm').test(decision);
  expect(Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !isNamed(name))).toEqual([]);
});

test('links lead somewhere', () => {
  const files = markdown();
  expect(files).toContain(join('docs', 'catalog', 'README.md'));
  const broken = files.flatMap((file) =>
    found(/\]\((?!https?:)([^)\s]+)\)/g, read(file)).flatMap((link) => (isThere(file, link) ? [] : `${file}: ${link}`)),
  );
  expect(broken).toEqual([]);
});

function markdown(): string[] {
  const folders = ['docs', 'bench'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  );
  return [...readdirSync('.'), ...folders].filter((file) => file.endsWith('.md'));
}

function isThere(file: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? file : join(dirname(file), path);
  if (!existsSync(target)) return false;
  return (
    anchor === undefined ||
    found(/^#+ (.*)$/gm, read(target))
      .map(anchorOf)
      .includes(anchor)
  );
}

/** As GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}
