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
    if (blockUntil > 0 && seconds > 0) {
      const nudge = () => void this.#client.ping().catch(() => {});
      // A little later than the timeout, which begins when Redis has read the command.
      this.#timer = setTimeout(nudge, seconds * 1_000 + 1).unref();
    }
    return seconds;
  }
}

type Options = Omit<WorkerOptions, 'connection'>;
