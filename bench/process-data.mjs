import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { size } from './quick.mjs';

const side = fileURLToPath(new URL('./process-data-side.mjs', import.meta.url));
const fileSize = size(1e9);

/** A file of 1 GB is transformed and aggregated, each in a process of its own: how fast, and how much memory at most. */
export async function processData() {
  const folder = mkdtempSync(join(tmpdir(), 'rondo-bench-'));
  try {
    const rows = await writeOrders(join(folder, 'orders.csv'));
    const bytes = statSync(join(folder, 'orders.csv')).size;
    console.log(`${(bytes / 1e6).toFixed(0)} MB, ${rows} rows`);
    for (const [name, payload] of Object.entries(payloads)) {
      const { stdout } = await promisify(execFile)(process.execPath, [side, folder, JSON.stringify(payload)]);
      const { ms, maxRssMb, result } = JSON.parse(stdout);
      const speed = (bytes / 1e3 / ms).toFixed(1);
      const counts = `${result.rowsRead} rows to ${result.rowsWritten}`;
      console.log(`${name}: ${(ms / 1_000).toFixed(1)} s, ${speed} MB/s, ${maxRssMb} MB of memory at most, ${counts}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const from = { file: 'orders.csv' };
const payloads = {
  transform: {
    operation: 'transform',
    from,
    to: { file: 'out.ndjson.gz' },
    where: [{ field: 'total', is: 'gte', value: 50 }],
    pick: ['id', 'customer', 'total'],
    rename: { total: 'amount' },
  },
  'aggregate, 50,000 groups': {
    operation: 'aggregate',
    from,
    to: { file: 'out.csv' },
    groupBy: ['customer'],
    compute: {
      orders: { function: 'count' },
      sum: { function: 'sum', field: 'total' },
      last: { function: 'max', field: 'at' },
    },
  },
};

/** @returns how many rows there are */
async function writeOrders(path) {
  const file = createWriteStream(path);
  file.write('id,customer,address,country,at,total,paid,note\n');
  let rows = 0;
  for (let written = 0; written < fileSize; ) {
    let text = '';
    for (let some = 0; some < 1_000; some++, rows++) {
      const at = new Date(1_767_225_600_000 + rows * 1_000).toISOString();
      text += `${rows},customer ${(rows * 7_919) % 50_000},"street ${rows % 999}, town",FR,${at},${(rows * 7) % 10_000}.5,true,a note of some words\n`;
    }
    written += text.length;
    if (!file.write(text)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');
  return rows;
}
