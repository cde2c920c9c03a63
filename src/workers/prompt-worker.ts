import { Worker, type WorkerOptions } from 'bullmq';
import type { RedisClient } from '../broker/connection.js';

/**
 * BullMQ's worker, that wakes when the next run is due. It waits for that in a blocking command with a timeout, and an
 * idle Redis looks at timeouts only when its own clock ticks, ten times a second unless `hz` says otherwise: runs begin
 * up to 100 ms late. Any other command makes it look at once, so one is sent when the time has come.
 */
export class PromptWorker extends Worker {
  readonly #client: RedisClient;
  #timer: NodeJS.Timeout | undefined;

  constructor(name: string, process: ConstructorParameters<typeof Worker>[1], client: RedisClient, options: Options) {
    super(name, process, { ...options, connection: client });
    this.#client = client;
  }

  protected override getBlockTimeout(blockUntil: number): number {
    const seconds = super.getBlockTimeout(blockUntil);
    clearTimeout(this.#timer);
    // A little later than the timeout, which begins when Redis has read the command; on a busy machine that may be late.
    if (blockUntil > 0 && seconds > 0) this.#nudgeIn(seconds * 1_000 + 1, nudges);
    return seconds;
  }

  #nudgeIn(ms: number, times: number): void {
    this.#timer = setTimeout(() => {
      this.#client.ping().catch(() => {});
      if (times > 1) this.#nudgeIn(nudgeEveryMs, times - 1);
    }, ms).unref();
  }
}

/** How often Redis is made to look, and at what distance. */
const nudges = 10;
const nudgeEveryMs = 4;

type Options = Omit<WorkerOptions, 'connection'>;
