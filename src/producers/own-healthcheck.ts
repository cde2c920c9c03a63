import type { Emit } from '../jobs/events.js';
import { ping } from '../jobs/healthcheck.js';

/**
 * The dead man's switch of the producer itself: told about once a minute while it leads and its passes succeed, so that
 * somebody outside notices when nobody keeps the schedules any more.
 *
 * @param url set by the operator, who may name an address that is not public
 */
export function createOwnHealthcheck(url: string | null, emit: Emit, everyMs = 60_000) {
  let nextAt = 0;
  let underWay: Promise<void> = Promise.resolve();

  async function tell(base: string): Promise<void> {
    const trouble = await ping(new URL(base));
    // What did not arrive is told again with the next pass.
    if (trouble) nextAt = 0;
    if (trouble) emit({ type: 'ping.failed', ping: 'success', host: new URL(base).host, reason: trouble });
  }

  return {
    /** A pass has succeeded. */
    beat(): void {
      if (url === null || performance.now() < nextAt) return;
      nextAt = performance.now() + everyMs;
      underWay = tell(url);
    },
    async stop(): Promise<void> {
      await underWay;
    },
  };
}
