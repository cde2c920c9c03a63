// Runs every benchmark, or those named: `npm run bench`, `npm run bench -- execute reconcile`.
import { cpus, totalmem } from 'node:os';
import { backfill } from './backfill.mjs';
import { bulkEnqueue } from './bulk.mjs';
import { enqueue } from './enqueue.mjs';
import { execute } from './execute.mjs';
import { memory as memoryOfApi } from './memory.mjs';
import { processData } from './process-data.mjs';
import { processes } from './processes.mjs';
import { isQuick } from './quick.mjs';
import { reconcile } from './reconcile.mjs';
import { startServer } from './server.mjs';
import { ticks } from './ticks.mjs';

const benchmarks = {
  execute,
  enqueue,
  bulk: bulkEnqueue,
  memory: memoryOfApi,
  reconcile,
  ticks,
  backfill,
  processes,
  'process-data': processData,
};
const named = process.argv.slice(2);
const unknown = named.filter((name) => !(name in benchmarks));
if (unknown.length > 0) {
  console.error(`No such benchmark: ${unknown.join(', ')}. There are: ${Object.keys(benchmarks).join(', ')}.`);
  process.exit(2);
}

const server = await startServer();
const memory = Math.round(totalmem() / 2 ** 30);
console.log(`Node.js ${process.version}, ${server.name}, ${cpus().length} × ${cpus()[0]?.model}, ${memory} GiB\n`);
if (isQuick) console.log('A hundredth of everything, once: the figures say nothing.\n');
try {
  for (const name of named.length > 0 ? named : Object.keys(benchmarks)) {
    console.log(`## ${name}\n`);
    await benchmarks[name](server.url);
    console.log();
  }
} finally {
  await server.stop();
}
process.exit(0);
