import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { readClaims, readCursor, readTicks } from '../../src/broker/ledger.js';
import type { LedgerOf } from '../../src/broker/ledger-format.js';
import type { Broker } from '../../src/broker/queues.js';
import { isRange, type TickEntry, type TickOutcome, tickOutcomes } from '../../src/broker/tick-entry.js';
import { type Timing, ticksAfter } from '../../src/jobs/schedule.js';
import { eventually } from './harness.js';
import { freshFolder } from './jobs-module.js';
import type { Line } from './processes.js';

/** One line of a journal: a handler began, or came to its end. Times in ms since the epoch. */
export interface Note {
  readonly word: string;
  readonly schedule: string;
  readonly tick: number;
  readonly run: string;
  readonly attempt: number;
  readonly pid: number;
  readonly at: number;
}

/** The entries of a ledger, once one of them has the outcome. */
export function entriesWith(broker: Broker, of: LedgerOf, outcome: TickOutcome): Promise<TickEntry[]> {
  return eventually(async () => {
    const { entries } = await readTicks(broker, of);
    return entries.some((entry) => entry.outcome === outcome) && entries;
  });
}

/**
 * A file that handlers write to, whatever becomes of Redis and of their process. `code` is for the jobs' module, and
 * declares `note(context, 'begin')` there.
 */
export function openJournal(folder = freshFolder()) {
  const file = join(folder, 'journal');
  return {
    folder,
    code: `
import { appendFileSync as appendToJournal } from 'node:fs';
const note = ({ tick, run }, word) =>
  tick && appendToJournal(${JSON.stringify(file)}, [word, tick.schedule, tick.time.getTime(), run.id, run.attempt, process.pid, Date.now()].join(' ') + '\\n');
`,
    notes: (schedule?: string): Note[] =>
      (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [])
        .map(readNote)
        .filter((note) => schedule === undefined || note.schedule === schedule),
  };
}

export type Journal = ReturnType<typeof openJournal>;

export type AuditInput = {
  readonly journal: Journal;
  /** How long to wait for what is open, in ms. */
  readonly withinMs?: number;
  /** Redis has lost data: a run may have been forgotten that the journal knows. */
  readonly dataLost?: boolean;
} & (
  | { readonly from: number; readonly to: number; readonly everyMs: number }
  /** Where ticks are due by more than one rule. */
  | { readonly due: readonly number[] }
);

export interface Audit {
  readonly entries: readonly TickEntry[];
  readonly due: readonly number[];
  /** How many of the ticks due the ledger tells of as what. */
  readonly counts: Readonly<Record<string, number>>;
  /** Ticks whose handler began, at least once. */
  readonly ran: readonly number[];
  /** Ticks whose handler began more than once, always in the same run. */
  readonly again: readonly number[];
  readonly words: string;
}

/**
 * Waits until nothing is open of the ticks due in a range, both of its ends included, and asserts that each is
 * covered by exactly one entry and was at most one run, and that what ran is what the ledger says. Prints the
 * ledger's words.
 */
export async function auditTicks(broker: Broker, of: LedgerOf, input: AuditInput): Promise<Audit> {
  const { journal, withinMs = 60_000, dataLost = false } = input;
  const due = 'due' in input ? input.due : dueTicks(input);
  const [first = 0, last = 0] = [due[0], due.at(-1)];
  await eventually(() => isClosed(broker, of, last), withinMs).catch(() => {}); // the assertions say what is open
  const { entries, unreadable } = await readTicks(broker, of, { from: first, to: last });
  const covering = due.map((tick) => entries.filter((entry) => covers(entry, tick)));
  const notes = journal.notes(of.schedule).filter(({ word }) => word === 'begin');
  const runs = new Map(due.map((tick) => [tick, notes.filter((note) => note.tick === tick)]));
  const ran = due.filter((tick) => runs.get(tick)?.length);
  const again = ran.filter((tick) => (runs.get(tick)?.length ?? 0) > 1);
  const outcomes = covering.map(([entry]) => entry?.outcome ?? 'no entry');
  const counts = Object.fromEntries(
    [...tickOutcomes, 'no entry'].flatMap((outcome) => {
      const count = outcomes.filter((it) => it === outcome).length;
      return count > 0 ? [[outcome, count]] : [];
    }),
  );
  const told = Object.entries(counts).map(([outcome, count]) => `${count} ${outcome}`);
  const words = `${due.length} due: ${told.join(', ')}; ${ran.length} runs${again.length > 0 ? `, ${again.length} of them begun more than once` : ''}`;
  console.log(`${of.schedule}: ${words}`);

  const open = entries.filter(({ outcome }) => outcome === 'waiting' || outcome === 'running');
  const wrongCounts = entries.filter(
    (entry) =>
      isRange(entry) &&
      entry.time >= first &&
      entry.to <= last &&
      entry.count !== due.filter((tick) => covers(entry, tick)).length,
  );
  const twoRuns = ran.filter((tick) => new Set(runs.get(tick)?.map(({ run }) => run)).size > 1);
  const left = due.filter((_, index) => covering[index]?.some(isRange) || outcomes[index] === 'no entry');
  const succeeded = due.filter((_, index) => outcomes[index] === 'succeeded');
  expect.soft(unreadable, 'entries that nobody can read').toEqual([]);
  expect.soft(open, 'entries that are open').toEqual([]);
  expect.soft(times(due.filter((_, index) => covering[index]?.length === 0)), 'due, without an entry').toEqual([]);
  expect.soft(times(due.filter((_, index) => (covering[index]?.length ?? 0) > 1)), 'due, with two entries').toEqual([]);
  expect
    .soft(
      entries.filter((entry) => !due.some((tick) => covers(entry, tick))),
      'entries, not due',
    )
    .toEqual([]);
  expect.soft(wrongCounts, 'ranges that miscount').toEqual([]);
  expect.soft(times(twoRuns), 'ticks that were two runs').toEqual([]);
  expect.soft(times(succeeded.filter((tick) => !ran.includes(tick))), 'succeeded, and never ran').toEqual([]);
  if (!dataLost) expect.soft(times(left.filter((tick) => ran.includes(tick))), 'left out, and ran').toEqual([]);
  return { entries, due, counts, ran, again, words };
}

/** Ticks aligned to the epoch, both ends included. */
export function dueTicks({ from, to, everyMs }: { from: number; to: number; everyMs: number }): number[] {
  const first = Math.ceil(from / everyMs) * everyMs;
  return Array.from(
    { length: Math.max(0, Math.floor((to - first) / everyMs) + 1) },
    (_, index) => first + index * everyMs,
  );
}

/** A rule of a schedule, and the span of time in which it came into force. */
export interface Rule {
  readonly timing: Timing;
  readonly from: readonly [earliest: number, latest: number];
}

/**
 * The ticks due by rules that followed each other. One that falls into the moment of a change is due where both rules
 * have it; where only one has, nobody can tell, and it counts where the ledger has it.
 */
export async function dueByRules(broker: Broker, of: LedgerOf, rules: readonly Rule[], to: number): Promise<number[]> {
  const { entries } = await readTicks(broker, of);
  const due = new Set<number>();
  const unsure = new Set<number>();
  for (const [index, { timing, from }] of rules.entries()) {
    const until = rules[index + 1]?.from ?? [to, to];
    for (const tick of ticksAfter(timing, from[0] - 1)) {
      if (tick > until[1]) break;
      const certain = (tick > from[1] && tick <= until[0]) || unsure.has(tick);
      if (certain || entries.some((entry) => covers(entry, tick))) due.add(tick);
      unsure.add(tick);
    }
  }
  return [...due].sort((a, b) => a - b);
}

/** When the changes that a producer tells of were made. */
export function spanOfReconcile({ time, durationMs }: Line): readonly [number, number] {
  const at = Date.parse(String(time));
  return [at - Number(durationMs) - 20, at + 20];
}

/** The first tick that a ledger has an entry for, once it has one. */
export async function firstTick(broker: Broker, of: LedgerOf, withinMs = 30_000): Promise<number> {
  const [first] = await eventually(async () => {
    const { entries } = await readTicks(broker, of);
    return entries.length > 0 && entries;
  }, withinMs);
  return first?.time ?? 0;
}

async function isClosed(broker: Broker, of: LedgerOf, last: number): Promise<boolean> {
  const cursor = await readCursor(broker, of);
  if (!cursor || (typeof cursor.next === 'number' && cursor.next <= last)) return false;
  const claims = await readClaims(broker, of);
  if ([...claims.values()].some(({ tick }) => tick <= last)) return false;
  const { entries } = await readTicks(broker, of, { to: last });
  return entries.every(({ outcome }) => outcome !== 'waiting' && outcome !== 'running');
}

function covers(entry: TickEntry, tick: number): boolean {
  return isRange(entry) ? entry.time <= tick && tick <= entry.to : entry.time === tick;
}

function times(ticks: readonly number[]): string[] {
  return ticks.map((tick) => new Date(tick).toISOString());
}

function readNote(line: string): Note {
  const [word = '', schedule = '', tick, run = '', attempt, pid, at] = line.split(' ');
  return { word, schedule, tick: Number(tick), run, attempt: Number(attempt), pid: Number(pid), at: Number(at) };
}
