import type { Broker } from '../broker/queues.js';

/** Who changed what, when and from where. */
export interface AuditEntry {
  /** A key's name, or the user and host of a command line; null for a wrong key. */
  readonly who: string | null;
  readonly via: 'api' | 'board' | 'page' | 'cli' | 'sign-in';
  /** The address that asked; `cli` for a command. */
  readonly from: string;
  /** The request (`POST /v1/schedules/nightly/pause`) or the command (`schedules pause`). */
  readonly action: string;
  /** `schedule nightly`, `run send-email 7`, `job send-email`; null where it was about something else. */
  readonly target: string | null;
  /** The HTTP status of the answer; from 500 on nobody knows whether it was done. Null for a command. */
  readonly status: number | null;
  /** What the change found and what it left, of that what differs. Without secrets. */
  readonly before: unknown;
  readonly after: unknown;
  /** What was asked for, without secrets. */
  readonly request: unknown;
}

export interface AuditView extends AuditEntry {
  readonly id: string;
  /** ISO. */
  readonly at: string;
}

/** How many entries are kept of each: sign-ins that fail, which a stranger can make, push out no change. */
export const auditKept = 10_000;

/** Keeps an entry. What is long is cut: a log of changes is no store of payloads. */
export async function audit(broker: Broker, entry: AuditEntry): Promise<void> {
  const { changes, refusals } = broker.keys.audit;
  const { before, after, request, ...rest } = entry;
  const text = JSON.stringify({ ...rest, before: cut(before), after: cut(after), request: cut(request) });
  await broker.client.xadd(entry.who === null ? refusals : changes, 'MAXLEN', '=', auditKept, '*', 'entry', text);
}

/** Every entry that is kept does this too; of a log that is quiet since fewer were to be kept, nobody. @returns how many went */
export async function trimAudit({ client, keys }: Broker): Promise<number> {
  const trimmed = Object.values(keys.audit).map((stream) => client.xtrim(stream, 'MAXLEN', '=', auditKept));
  return (await Promise.all(trimmed)).reduce((sum, count) => sum + count, 0);
}

const longest = 4_096;

function cut(value: unknown): unknown {
  const text = JSON.stringify(value) ?? 'null';
  return text.length <= longest ? value : { cut: text.slice(0, longest), characters: text.length };
}

export interface AuditQuery {
  readonly limit: number;
  /** What an earlier page answered as `next`. */
  readonly cursor?: AuditCursor | undefined;
  /** In ms since the epoch, both included. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly who?: string | undefined;
}

/** The last entry of a page: its id, and of which stream it is. */
export interface AuditCursor {
  readonly id: string;
  readonly stream: Stream;
}

type Stream = 'changes' | 'refusals';

const streams: readonly Stream[] = ['changes', 'refusals'];

/** The newest entries first. */
export async function readAudit(
  broker: Broker,
  { limit, cursor, from, to, who }: AuditQuery,
): Promise<{ entries: AuditView[]; next: AuditCursor | null }> {
  const wanted = { limit: limit + 1, from, to, who };
  const found = await Promise.all(streams.map((stream) => readStream(broker, stream, wanted, cursor)));
  const all = found.flat().sort((a, b) => compare(a, b));
  const page = all.slice(0, limit);
  const last = page.at(-1);
  const next = all.length > limit && last ? { id: last.entry.id, stream: last.stream } : null;
  return { entries: page.map(({ entry }) => entry), next };
}

interface Found {
  readonly stream: Stream;
  readonly entry: AuditView;
}

const batchSize = 500;

async function readStream(
  { client, keys }: Broker,
  stream: Stream,
  { limit, from, to, who }: Omit<AuditQuery, 'cursor'>,
  cursor: AuditCursor | undefined,
): Promise<Found[]> {
  const found: Found[] = [];
  let end = endOf(stream, cursor, to);
  for (;;) {
    const rows = await client.xrevrange(
      keys.audit[stream],
      end,
      from === undefined ? '-' : String(Math.max(0, from)),
      'COUNT',
      batchSize,
    );
    for (const [id, [, text = '']] of rows) {
      const entry = viewOf(id, text);
      if (entry && (who === undefined || entry.who === who)) found.push({ stream, entry });
    }
    const last = rows.at(-1)?.[0];
    if (last === undefined || rows.length < batchSize || found.length >= limit) return found.slice(0, limit);
    end = `(${last}`;
  }
}

/** Of two entries of the same id, one in each stream, changes come first. */
function endOf(stream: Stream, cursor: AuditCursor | undefined, to: number | undefined): string {
  // Redis knows no time before 1970; of its first ms there is no entry.
  if (!cursor) return to === undefined ? '+' : String(Math.max(0, to));
  const passed = stream === 'changes' || cursor.stream === 'refusals';
  return passed ? `(${cursor.id}` : cursor.id;
}

function viewOf(id: string, text: string): AuditView | null {
  try {
    return { id, at: new Date(Number(id.split('-')[0])).toISOString(), ...(JSON.parse(text) as AuditEntry) };
  } catch {
    return null; // the work of a hand
  }
}

function compare(a: Found, b: Found): number {
  const [[aMs = 0, aNumber = 0], [bMs = 0, bNumber = 0]] = [partsOf(a), partsOf(b)];
  return bMs - aMs || bNumber - aNumber || streams.indexOf(a.stream) - streams.indexOf(b.stream);
}

function partsOf({ entry }: Found): number[] {
  return entry.id.split('-').map(Number);
}
