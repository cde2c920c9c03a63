import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { alternate, report } from './compare.mjs';
import { ms, size } from './quick.mjs';
import { startServer } from './server.mjs';

const seconds = ms(20_000) / 1_000;
const side = fileURLToPath(new URL('./ticks-side.mjs', import.meta.url));

/** Ticks with their ledger, against bare BullMQ schedulers with the same retention; a process for each measurement. */
export async function ticks(url) {
  const measure = async (server, name, ...what) => {
    const { stdout } = await promisify(execFile)(process.execPath, [side, name, server, ...what.map(String)]);
    return JSON.parse(stdout);
  };
  const drain = (name) => async () => (await measure(url, name, 'drain', size(10_000), 3_600)).perSecond;
  console.log('10,000 ticks that wait, drained at concurrency 50:');
  report(await alternate({ rondo: drain('rondo'), 'bare BullMQ': drain('bare') }), 'ticks/s');

  console.log('\nRedis memory of a schedule that waits for its next tick:');
  for (const name of ['rondo', 'bare']) {
    console.log(`${name}  ${Math.round((await measure(url, name, 'memory', size(10_000), 3_600)).bytes)} bytes`);
  }

  const { bytes } = await measure(url, 'rondo', 'entry', 1, 1);
  console.log(`an entry of a full ledger  ${Math.round(bytes)} bytes`);

  const slow = await startServer({ hz: 10 });
  console.log('\nLateness in ms, from due to the handler, over 20 s:');
  const loads = [
    ['1,000 each second', size(1_000), 1],
    ['10,000 each 5 s', size(10_000), 5],
  ];
  for (const [words, count, every] of loads) {
    for (const [where, server] of [
      ['hz 10', slow.url],
      ['hz 100', url],
    ]) {
      for (const [name, spread] of [
        ['rondo', ''],
        ['bare', ''],
        ['rondo', every * 1_000],
      ]) {
        const { ticks: seen, p50, p99, p999 } = await measure(server, name, 'lateness', count, every, seconds, spread);
        const which = `${name}${spread ? ', spread' : ''}`.padEnd(14);
        console.log(`${words}, ${where}: ${which} p50 ${p50}, p99 ${p99}, p99.9 ${p999}  (${seen} ticks)`);
      }
    }
  }
  await slow.stop();
}
