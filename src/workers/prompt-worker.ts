import { type Job, type Span, type SpanKind, Worker, type WorkerOptions } from 'bullmq';
import type { RedisClient } from '../broker/connection.js';
import { tickOf } from '../broker/repeat.js';
import type { RunTracing } from '../broker/tracing.js';

/**
 * BullMQ's worker, that wakes when the next run is due. It waits for that in a blocking command with a timeout, and an
 * idle Redis looks at timeouts only when its own clock ticks, ten times a second unless `hz` says otherwise: runs begin
 * up to 100 ms late. Any other command makes it look at once, so one is sent when the time has come.
 *
 * A run begins before the next is fetched. BullMQ fetches one after the other until nothing more is due or no place is
 * left, and only then begins the first: with some forty due in a row it has waited for forty round trips.
 *
 * An attempt begins when the one before it has ended in this process. A run whose lock was lost may come back to the very
 * worker that still executes it: BullMQ would have both at once, renew the lock of neither, since it knows them by the
 * run's id, and go on like that until the run has crashed too often.
 *
 * Where it traces, a run goes on in the trace of who asked for it. A tick is a trace of its own: BullMQ hands on what the
 * first run of a schedule carries to each that follows, and they would all be one.
 */
export class PromptWorker extends Worker {
  readonly #client: RedisClient;
  readonly #tracing: RunTracing | null;
  #timer: NodeJS.Timeout | undefined;
  #ready: Promise<void> | undefined;
  /** The attempt of each run that was taken last, until it has ended. */
  readonly #taken = new Map<string, ReturnType<Worker['processJob']>>();

  constructor(name: string, process: ConstructorParameters<typeof Worker>[1], client: RedisClient, options: Options) {
    const { tracing, ...rest } = options;
    super(name, process, { ...rest, ...(tracing && { telemetry: tracing.workers }), connection: client });
    this.#client = client;
    this.#tracing = tracing;
  }

  /** Asked for each run, and always answered by what its connections said first. */
  override waitUntilReady(): Promise<void> {
    this.#ready ??= super.waitUntilReady();
    return this.#ready;
  }

  /** Asked twice for each run: where nothing is traced, without promises of its own. */
  override trace<Result>(
    kind: SpanKind,
    operation: string,
    destination: string,
    callback: (span?: Span, metadata?: string) => Result | Promise<Result>,
    metadata?: string,
  ): Promise<Result | Promise<Result>> {
    if (this.opts.telemetry) return super.trace(kind, operation, destination, callback, metadata);
    return Promise.resolve(callback());
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job> {
    const job = await super.moveToActive(token, name);
    // The sign at which BullMQ's loop stops fetching: until when it may wait. Long ago: it goes on at once.
    if (job) Object.assign(this, { blockUntil: 1 });
    return job;
  }

  protected override getBlockTimeout(blockUntil: number): number {
    const seconds = super.getBlockTimeout(blockUntil);
    clearTimeout(this.#timer);
    // A little later than the timeout, which begins when Redis has read the command; on a busy machine that may be late.
    if (blockUntil > 0 && seconds > 0) this.#nudgeIn(seconds * 1_000 + 1, nudges);
    return seconds;
  }

  override processJob(job: Job, token: string, fetchNext?: () => boolean): ReturnType<Worker['processJob']> {
    if (this.#tracing && (!job.opts.telemetry?.metadata || tickOf(job))) {
      job.opts.telemetry = { metadata: this.#tracing.ownTrace(`${this.toKey(String(job.id))} ${job.timestamp}`) };
    }
    const id = String(job.id);
    const before = this.#taken.get(id);
    const attempt = before
      ? this.#processAfter(before, job, token, fetchNext)
      : super.processJob(job, token, fetchNext);
    this.#taken.set(id, attempt);
    const forget = () => this.#taken.get(id) === attempt && this.#taken.delete(id);
    attempt.then(forget, forget);
    return attempt;
  }

  async #processAfter(
    before: ReturnType<Worker['processJob']>,
    job: Job,
    token: string,
    fetchNext?: () => boolean,
  ): ReturnType<Worker['processJob']> {
    const id = String(job.id);
    // Its lock is renewed in place of the lost one, whose attempt is told.
    this.lockManager.trackJob(id, token, Date.now());
    this.emit('lockRenewalFailed', [id]);
    await before.catch(() => {});
    // Somebody else may have taken it while it waited.
    const isOurs = await job.extendLock(token, this.opts.lockDuration ?? 0).catch(() => 0);
    if (!isOurs) return undefined;
    return super.processJob(job, token, fetchNext);
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

type Options = Omit<WorkerOptions, 'connection' | 'telemetry'> & { readonly tracing: RunTracing | null };
