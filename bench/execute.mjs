import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { alternate, report } from './compare.mjs';

const side = fileURLToPath(new URL('./execute-side.mjs', import.meta.url));

/**
 * No-op runs a second at concurrency 50: a pool with its log at `info`, against a bare BullMQ worker with the same
 * retention. Each measurement in a process of its own, since the pool's asynchronous contexts would slow down
 * everything else in its process, the other side too.
 */
export async function execute(url) {
  const measure = async (name) => {
    const { stdout } = await promisify(execFile)(process.execPath, [side, name, url]);
    return Number(stdout);
  };
  report(await alternate({ rondo: () => measure('rondo'), 'bare BullMQ': () => measure('bare') }), 'runs/s');
}
