// Transpiles src to dist, file by file. `npm run build` has the type checker write the declarations
// afterwards; programs run without them.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => join(root, 'src', file));

rmSync(join(root, 'dist'), { recursive: true, force: true });
await build({
  entryPoints: sources,
  outdir: join(root, 'dist'),
  outbase: join(root, 'src'),
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
});
