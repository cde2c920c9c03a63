import { hash } from 'node:crypto';
import type { Broker } from '../broker/queues.js';

export interface LogLine {
  /** By which whoever has read as far as this line goes on behind it. */
  readonly mark: string;
  readonly line: string;
}

/**
 * The lines of a run's log behind a mark, all that are kept without one. Of a long log the oldest lines are dropped
 * and the others move up, so a mark is the line's place and a digest of it: it is found again wherever it is now.
 */
export async function readLogAfter(broker: Broker, job: string, id: string, mark: string | null): Promise<LogLine[]> {
  const key = broker.queue(job).toKey(`${id}:logs`);
  const [, place, digest] = /^(\d{1,9})\.([\w-]{8})$/.exec(mark ?? '') ?? [];
  if (place === undefined) return marked(await broker.client.lrange(key, 0, -1), 0);
  const [same, ...later] = await broker.client.lrange(key, Number(place), -1);
  if (same !== undefined && digestOf(same) === digest) return marked(later, Number(place) + 1);
  const all = await broker.client.lrange(key, 0, -1);
  const before = all.slice(0, Number(place) + 1).findLastIndex((line) => digestOf(line) === digest);
  return marked(all.slice(before + 1), before + 1);
}

function marked(lines: readonly string[], from: number): LogLine[] {
  return lines.map((line, index) => ({ mark: `${from + index}.${digestOf(line)}`, line }));
}

function digestOf(line: string): string {
  return hash('sha256', line, 'base64url').slice(0, 8);
}
