// Runs at the end of `npm ci` and `npm install`: leaves a built program, development packages or not.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const has = (name) => existsSync(new URL(`../node_modules/${name}`, import.meta.url));
const run = (...args) => spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status === 0;

if (!has('esbuild')) {
  console.warn(
    'rondo: not built, since the optional package esbuild is not installed. Bring a built dist folder along.',
  );
} else if (!run('scripts/build.mjs')) {
  process.exit(1);
} else if (!has('typescript')) {
  console.warn('rondo: built without type declarations, which want the development packages.');
} else if (!run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json')) {
  process.exit(1);
}
