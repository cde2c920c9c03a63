import type { Response } from 'express';
import type { Broker } from '../broker/queues.js';
import type { RunEvent } from '../broker/run-events.js';
import { errorTable, RondoError } from '../errors.js';
import type { Redactor } from '../jobs/secrets.js';
import { readLogAfter } from '../producers/run-log.js';
import type { RunState, RunView } from '../producers/run-view.js';
import type { RunWatch } from '../producers/run-watch.js';
import { answerMs } from './request.js';
import { asUnreachable, endedSince, endings, hasEnded } from './wait.js';
import { beginEvents } from './waits.js';
import { withinMs } from './within.js';

export interface StreamInput {
  readonly broker: Broker;
  readonly watch: RunWatch;
  readonly job: string;
  readonly id: string;
  /** Finds the run as it is. */
  readonly look: () => Promise<RunView>;
  /** Hides the run's secrets in what events and its log tell. */
  readonly redactor: Redactor;
  /** Up to which line of the log the reader has it. */
  readonly after: string | null;
  readonly response: Response;
}

/**
 * Tells a run's story as server-sent events: `state`, `progress`, `log`, and at last `end`. Resolves once the stream
 * has begun; it ends with the run, with the reader, or with the process.
 *
 * @throws RondoError `run-unknown`, `waiters-full`, or `redis-unreachable`, while nothing has been sent
 */
export async function streamRun(input: StreamInput): Promise<void> {
  const { watch, job, id, look, response } = input;
  await look();
  const early: (RunEvent | null)[] = [];
  let stream: RunStream | null = null;
  const { ready, leave } = watch.watch(job, id, {
    onNews: (event) => (stream ? stream.news(event) : early.push(event)),
    onAway: (error) => stream?.fail(asUnreachable(error)),
    onStop: () => stream?.close(),
  });
  response.on('close', leave);
  try {
    await withinMs(readyMs, ready);
    const latest = await look();
    // Who has gone before we listened is not told of by an event.
    if (response.destroyed) return leave();
    stream = new RunStream(input, latest, leave);
    stream.begin();
    for (const event of early) stream.news(event);
  } catch (error) {
    leave();
    throw error;
  }
}

/** The connection that events come over is open by then, or Redis is away. In ms. */
const readyMs = 1_500;
/** How often the log of a run that executes is read: no event tells of a new line. In ms. */
const readLogMs = 1_000;
/** So that what lies between does not take the connection for dead, in ms. */
const heartbeatMs = 15_000;
/** A reader that takes nothing is let go with so many bytes unread. */
const mostUnread = 2 ** 20;

const stateAfter: Record<string, RunState> = { waiting: 'waiting', active: 'active', delayed: 'delayed' };

class RunStream {
  readonly #input: StreamInput;
  readonly #timers: NodeJS.Timeout[];
  #latest: RunView;
  #mark: string | null;
  #state: string | null = null;
  #over = false;
  /** One thing after the other, in the order in which it happened. */
  #turn: Promise<void> = Promise.resolve();

  constructor(input: StreamInput, latest: RunView, leave: () => void) {
    this.#input = input;
    this.#latest = latest;
    this.#mark = input.after;
    const everySecond = setInterval(() => this.#state === 'active' && this.#next(() => this.#sendLog()), readLogMs);
    const heartbeat = setInterval(() => this.#write(':\n\n'), heartbeatMs);
    this.#timers = [everySecond.unref(), heartbeat.unref()];
    input.response.on('close', () => {
      leave();
      this.close();
    });
  }

  begin(): void {
    beginEvents(this.#input.response);
    this.#write('retry: 2000\n\n');
    this.#next(() => this.#look(null));
  }

  news(event: RunEvent | null): void {
    this.#next(() => this.#tell(event));
  }

  /** The stream cannot go on: a reader that comes back later does, from where it was. */
  fail(error: unknown): void {
    if (this.#over) return;
    const known = error instanceof RondoError ? error : asUnreachable(error);
    const { code, detail } = known;
    this.#send('error', { code, title: errorTable[code].message, detail });
    this.close();
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#input.response.end();
  }

  #next(step: () => Promise<void> | void): void {
    this.#turn = this.#turn.then(() => (this.#over ? undefined : step())).catch((error) => this.fail(error));
  }

  #tell(event: RunEvent | null): Promise<void> | void {
    if (event === null || endings.has(event.type)) return this.#look(event);
    if (event.type === 'progress') this.#send('progress', this.#input.redactor.value(JSON.parse(event.data ?? 'null')));
    const state = stateAfter[event.type];
    if (state) this.#sendState(state);
  }

  async #look(event: RunEvent | null): Promise<void> {
    const { look, redactor } = this.#input;
    const isFirst = this.#state === null;
    try {
      this.#latest = await look();
    } catch (error) {
      if (!(error instanceof RondoError) || error.code !== 'run-unknown') throw error;
      const ended = endedSince(this.#latest, event, redactor);
      return ended ? this.#end(ended) : this.#end({ ...this.#latest, state: 'removed' });
    }
    if (!isFirst && hasEnded(this.#latest)) return this.#end(this.#latest);
    const { state, progress } = this.#latest;
    this.#sendState(state);
    if (isFirst && progress !== 0) this.#send('progress', progress);
    if (isFirst || state === 'active') await this.#sendLog();
    if (hasEnded(this.#latest)) await this.#end(this.#latest);
  }

  async #end(run: Omit<RunView, 'state'> & { readonly state: string }): Promise<void> {
    await this.#sendLog();
    this.#sendState(run.state);
    const { state, result, error, code, attempts } = run;
    // With an id of its own: who has it need not come back.
    this.#send('end', { state, result, error, code, attempts }, `${this.#mark ?? ''}.end`);
    this.close();
  }

  #sendState(state: string): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#send('state', { state });
  }

  async #sendLog(): Promise<void> {
    const { broker, job, id, redactor } = this.#input;
    for (const { mark, line } of await withinMs(answerMs, readLogAfter(broker, job, id, this.#mark))) {
      this.#send('log', { line: redactor.text(line) }, mark);
      this.#mark = mark;
    }
  }

  #send(event: string, data: unknown, id?: string): void {
    this.#write(`event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
  }

  #write(text: string): void {
    const { response } = this.#input;
    if (this.#over || response.destroyed) return;
    if (response.writableLength > mostUnread) response.destroy();
    else response.write(text);
  }
}
