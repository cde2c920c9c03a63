import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { alternate, report } from './compare.mjs';
import { size } from './quick.mjs';

const side = fileURLToPath(new URL('./backfill-side.mjs', import.meta.url));

/**
 * A backfill of 100,000 ticks: how fast its runs are added, and what live ticks of the same job notice of it while its
 * runs are added and run. A process for each measurement, without a backfill and with one.
 */
export async function backfill(url) {
  const measure = async (...what) => {
    const { stdout } = await promisify(execFile)(process.execPath, [side, url, ...what.map(String)]);
    return JSON.parse(stdout);
  };
  console.log('100,000 ticks, their runs added:');
  report(await alternate({ rondo: async () => (await measure('feed', size(100_000))).perSecond }), 'runs/s');

  const loads = [
    ['runs that do nothing', 0],
    ['runs of 200 ms', 200],
  ];
  for (const live of ['spread', 'aligned']) {
    for (const [words, runMs] of loads) {
      console.log(
        `\nLateness of 100 live ticks each second, ${live}, concurrency 10, beside a backfill of ${words}, p99:`,
      );
      const p99 = (count) => async () => (await measure('live', count, runMs, live)).p99;
      report(await alternate({ 'with a backfill': p99(size(100_000)), without: p99(0) }, 3), 'ms');
    }
  }
}
