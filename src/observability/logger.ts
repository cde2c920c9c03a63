import { stdout } from 'node:process';
import pino, { type DestinationStream, type Level, type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { RondoEvent, RunFacts } from '../jobs/events.js';
import { briefly, isoTime } from '../jobs/words.js';
import { type After, afterMs, createDigest, type Summary } from './digest.js';

/**
 * JSON, one line a fact; readable lines where a person looks at a terminal.
 *
 * @param destination where lines go instead of standard output
 * @param ids of the trace that a line belongs to
 */
export function createLogger(level: string, destination?: DestinationStream, ids?: () => object): Logger {
  const stream = destination ?? (stdout.isTTY ? readable() : pino.destination({ dest: 1, sync: true }));
  const serializers = { error: plainError };
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, errorKey: 'error', serializers };
  return pino({ ...options, ...(ids && { mixin: ids }) }, stream);
}

/** An error of ioredis carries the command that met it, payloads included: that is left out, at any depth. */
function plainError(error: unknown): unknown {
  return error instanceof Error ? withoutCommands(pino.stdSerializers.err(error)) : error;
}

function withoutCommands(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || depth > 5) return value;
  if (Array.isArray(value)) return value.map((item) => withoutCommands(item, depth + 1));
  const entries: [string, unknown][] = [];
  for (const name in value) {
    const inner = (value as Record<string, unknown>)[name];
    if (name !== 'command' || !Array.isArray(Object(inner).args))
      entries.push([name, withoutCommands(inner, depth + 1)]);
  }
  return Object.fromEntries(entries);
}

/**
 * Writes each event as a line named after it. Of runs that went well, and of requests that were answered well, a hundred
 * a second are told one by one; the others are told at debug, and a line for each job says every five seconds how many
 * there were and how long they took, so that `info` can be left on under load.
 */
export function logEvents(logger: Logger, after: After = afterMs): (event: RondoEvent) => void {
  const digest = createDigest(after, (summary) => {
    const { type, ...facts } = summary;
    logger.info({ event: type, ...facts }, sentenceOfSummary(summary));
  });
  return (event) => {
    const usual = levelOf(event);
    const level = usual === 'info' && !digest.tells(event) ? 'debug' : usual;
    if (!logger.isLevelEnabled(level)) return;
    if (event.type === 'run.logged') {
      const { type, level: _level, facts, message, ...run } = event;
      logger[level]({ event: type, ...run, ...facts }, message);
    } else {
      const { type, ...facts } = event;
      logger[level]({ event: type, ...facts }, sentenceOf(event));
    }
  };
}

function levelOf(event: RondoEvent): Level {
  switch (event.type) {
    case 'run.logged':
      return event.level;
    case 'run.started':
    case 'run.parked':
      return 'debug';
    case 'schedules.reconciled':
      return event.added + event.changed + event.removed + event.healed > 0 ? 'info' : 'debug';
    case 'ticks.left':
      if (event.outcome === 'paused' || event.outcome === 'excluded') return 'debug';
      return event.outcome === 'coalesced' ? 'info' : 'warn';
    case 'http.answered':
      return /^\/(livez|readyz|metrics|board)/.test(event.path) && event.status < 500 ? 'debug' : 'info';
    case 'run.failed':
      return event.retryInMs === null ? 'error' : 'warn';
    case 'run.cancelled':
    case 'ticks.taken-back':
    case 'run.lock-lost':
    case 'run.stray-error':
    case 'schedule.healed':
    case 'schedule.conflict':
    case 'schedule.uncomputable':
    case 'tick.early':
    case 'ticks.caught-up':
    case 'schedules.removal-refused':
    case 'producer.outdated':
    case 'worker.outdated':
    case 'job.gone':
    case 'alert.started':
    case 'ping.failed':
    case 'redis.away':
    case 'collector.away':
    case 'limits.uncounted':
    case 'keys.refused':
      return 'warn';
    case 'worker.error':
    case 'schedule.failed':
    case 'producer.failed':
    case 'alerts.failed':
    case 'process.stray-rejection':
    case 'process.crashed':
    case 'process.stop-failed':
    case 'http.failed':
    case 'audit.failed':
      return 'error';
    default:
      return 'info';
  }
}

function sentenceOf(event: Exclude<RondoEvent, { type: 'run.logged' }>): string {
  switch (event.type) {
    case 'run.started':
      return `${nameOf(event)} started${lateBy(event)}`;
    case 'run.succeeded':
      return `${nameOf(event)} succeeded in ${event.durationMs} ms${lateBy(event)}`;
    case 'run.skipped':
      return `${nameOf(event)} was skipped: ${event.reason}`;
    case 'run.failed': {
      const next = event.retryInMs === null ? 'for good' : `and is tried again in ${event.retryInMs} ms`;
      return `${nameOf(event)} failed ${next}: ${event.reason}`;
    }
    case 'run.cancelled':
      return `${nameOf(event)} was cancelled by ${event.by} after ${event.durationMs} ms`;
    case 'run.parked':
      return `${nameOf(event)} waits for its turn`;
    case 'run.interrupted':
      return `${nameOf(event)} was interrupted and waits again`;
    case 'run.lock-lost':
      return `${nameOf(event)} is no longer ours: its lock was lost`;
    case 'run.stray-error':
      return `${nameOf(event)} left an error that nobody awaited`;
    case 'worker.error':
      return `the worker of ${event.job} met an error${event.times > 1 ? `, ${event.times} times` : ''}: ${event.error.message}`;
    case 'worker.outdated':
      return `runs of ${event.job} are of version ${event.version}, and this worker knows ${event.knows}: they are left to newer ones`;
    case 'job.gone':
      return `${event.job} is gone from the code of ${event.app}, and ${waitingOf(event)} until it is declared again`;
    case 'process.stray-rejection':
      return 'a rejection that nobody awaited, and that belongs to no run';
    case 'redis.away':
      return `Redis is away: ${event.reason}`;
    case 'redis.back':
      return `Redis is back after ${event.awayMs} ms`;
    case 'collector.away':
      return `the collector at ${event.address} takes no spans: ${event.reason}`;
    case 'collector.back':
      return `the collector takes spans again after ${event.awayMs} ms; ${event.lost} were lost`;
    case 'process.crashed':
      return `the process ends: ${event.reason}`;
    case 'process.stop-failed':
      return 'an error while the process stopped';
    case 'http.answered':
      return `${event.method} ${event.path} ${event.status} in ${event.durationMs} ms`;
    case 'http.failed':
      return 'a request met an error of ours';
    case 'limits.uncounted':
      return `requests pass uncounted: ${event.reason}`;
    case 'audit.failed':
      return `${event.action} by ${event.who ?? 'a stranger'} from ${event.from} is not in the audit log`;
    case 'keys.changed':
      return `the file of keys was read again: ${event.keys} keys`;
    case 'keys.refused':
      return `the file of keys has changed and is refused, the former keys hold: ${event.reason}`;
    case 'producer.leading':
      return `this producer leads for ${event.app}`;
    case 'producer.standby':
      return `another producer leads for ${event.app}; this one stands by`;
    case 'producer.outdated':
      return `release ${event.newer} of ${event.app} is alive, and newer than ${event.release}: this producer steps aside`;
    case 'producer.failed':
      return 'the producer could not do its turn';
    case 'schedules.reconciled':
      return `schedules: ${event.added} added, ${event.changed} changed, ${event.removed} removed, ${event.healed} healed, ${event.unchanged} unchanged`;
    case 'schedule.healed':
      return `${event.schedule} was broken (${event.reason}) and is healed`;
    case 'schedule.failed':
      return `${event.schedule} could not be brought in line`;
    case 'schedule.conflict':
      return `${event.schedule} is left as it is: ${event.reason}`;
    case 'ticks.left':
      return `${event.schedule}: ${event.count} ${event.count === 1 ? 'tick' : 'ticks'} ${event.outcome}, ${spanOf(event)}`;
    case 'ticks.taken-back':
      return `${event.schedule}: its times have changed, or it goes: no longer cancelled ${event.ticks.length === 1 ? 'is the tick' : 'are the ticks'} of ${event.ticks.map(isoTime).join(', ')}`;
    case 'tick.early':
      return `${event.schedule}: somebody promoted the tick of ${isoTime(event.tick)}, which runs ${event.earlyMs} ms early`;
    case 'ticks.caught-up':
      return `${event.schedule}: ${event.ticks.length} missed ${event.ticks.length === 1 ? 'tick is' : 'ticks are'} caught up`;
    case 'backfill.fed':
      return `${event.schedule}: ${event.added} of ${event.count} runs of backfill ${event.backfill} were added`;
    case 'alert.started':
      return `alert: ${event.schedule ?? event.job}, ${event.rule}: ${event.reason}`;
    case 'alert.ended':
      return `over: ${event.schedule ?? event.job}, ${event.rule}: ${event.reason}`;
    case 'alerts.failed':
      return 'the producer could not look for alerts';
    case 'ping.failed':
      return `the dead man's switch at ${event.host} was not told ${event.ping}: ${event.reason}`;
    case 'schedule.uncomputable':
      return `${event.schedule} has no next time here: ${event.reason}`;
    case 'schedules.removal-refused':
      return `refused to remove or disable ${event.schedules.length} of ${event.owned} schedules; \`rondo schedules apply --yes\` does it`;
  }
}

function sentenceOfSummary(summary: Summary): string {
  const { p50Ms, p95Ms, withinMs } = summary;
  const took = p50Ms === null ? '' : ` (half of them in ${p50Ms} ms, 95 % in ${p95Ms} ms)`;
  const within = `within ${withinMs / 1_000} s`;
  if (summary.type === 'http.summary') return `${summary.answered} requests were answered ${within}${took}`;
  const skipped = summary.skipped > 0 ? `, ${summary.skipped} were skipped` : '';
  return `${summary.job}: ${summary.succeeded} runs succeeded ${within}${took}${skipped}`;
}

/** Worth a word from a second on. */
function lateBy({ latenessMs = 0 }: RunFacts): string {
  return latenessMs < 1_000 ? '' : `, begun ${briefly(latenessMs)} late`;
}

function waitingOf({ waiting, delayed }: { waiting: number; delayed: number }): string {
  const total = waiting + delayed;
  return total === 1 ? '1 of its runs waits' : `${total} of its runs wait`;
}

function spanOf({ from, to }: { from: number; to: number }): string {
  return from === to ? isoTime(from) : `${isoTime(from)} to ${isoTime(to)}`;
}

function nameOf({ job, run, schedule, tick, attempt, maxAttempts }: RunFacts): string {
  const what = tick === undefined ? `${job} ${run}` : `${job} tick ${isoTime(tick)}`;
  const which = schedule === undefined || schedule === job ? what : `${what} of ${schedule}`;
  return attempt > 1 ? `${which} (attempt ${attempt} of ${maxAttempts})` : which;
}

/** The sentences say most facts already; what a handler logs is shown with its own. */
function readable(): DestinationStream {
  return pretty({
    colorize: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: [...saidOfRuns, ...saidOfEvents].join(','),
    singleLine: true,
    sync: true,
    messageFormat: (line, key) =>
      line.event === 'run.logged' ? `${line.job}: ${line[key]}${hiddenFacts(line)}` : String(line[key]),
  });
}

/** A handler may call its facts as we do those that the sentences say. */
function hiddenFacts(line: Record<string, unknown>): string {
  const hidden = saidOfEvents.filter((name) => line[name] !== undefined);
  return hidden.map((name) => ` ${name}=${JSON.stringify(line[name])}`).join('');
}

/** What is said of a run, and is in every line of a handler's own. */
const saidOfRuns = ['event', 'job', 'run', 'attempt', 'maxAttempts', 'schedule', 'tick', 'latenessMs'];
const saidOfEvents = [
  ...['by', 'durationMs', 'reason', 'code', 'retryInMs'],
  ...['succeeded', 'skipped', 'answered', 'untold', 'p50Ms', 'p95Ms', 'withinMs'],
  ...['added', 'changed', 'removed', 'healed', 'unchanged', 'app', 'release', 'newer', 'address', 'awayMs', 'times'],
  ...['next', 'method', 'path', 'status', 'key', 'rule', 'ping', 'host', 'lost'],
  ...['trace_id', 'span_id'],
];
