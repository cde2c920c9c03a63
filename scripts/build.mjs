// Transpiles src to dist, file by file. `npm run build` has the type checker write the declarations
// afterwards; programs run without them.
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const [src, dist] = ['src', 'dist'].map((folder) => join(root, folder));
const filesIn = (folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' });
const sources = filesIn(src).filter((file) => file.endsWith('.ts'));

await build({
  entryPoints: sources.map((file) => join(src, file)),
  outdir: dist,
  outbase: src,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
});

// What browsers load, and what Postgres executes, goes along as it is written.
const copied = [join('http', 'assets'), join('postgres', 'migrations')];
for (const folder of copied) cpSync(join(src, folder), join(dist, folder), { recursive: true });

// Not the whole folder beforehand: a program may be running from it.
for (const file of filesIn(dist)) {
  const isCopied = copied.some((folder) => file.startsWith(folder));
  const source = isCopied ? file : file.replace(/(\.d\.ts|\.js(\.map)?)$/, '.ts');
  if ((isCopied || source !== file) && !existsSync(join(src, source)))
    rmSync(join(dist, file), { recursive: true, force: true });
}
