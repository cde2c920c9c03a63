import { RondoError } from '../../../errors.js';
import { type BackfillView, listBackfills } from '../../../producers/backfill-views.js';
import { previewStored } from '../../../producers/preview.js';
import { findRun } from '../../../producers/runs.js';
import { listTicks, type ScheduleDetails, showSchedule } from '../../../producers/views.js';
import { answerMs } from '../../request.js';
import { withinMs } from '../../within.js';
import type { SiteInput } from '../input.js';
import { type Detail, type DetailQuery, perPage } from './detail.js';

/** How many of its newest entries are read of the ledger, for strip and plot. */
const newest = 150;
const previewed = 20;

/**
 * Reads all that the page of a schedule shows.
 *
 * @throws RondoError `schedule-unknown`
 */
export async function readDetail(
  input: SiteInput,
  id: string,
  query: DetailQuery,
  mayOperate: boolean,
  known?: Pick<Detail, 'view' | 'preview'>,
): Promise<Detail> {
  const { broker, now } = input;
  const [view, backfills] = await withinMs(
    answerMs,
    Promise.all([showSchedule(broker, id, now(), newest), listBackfills(broker, id)]),
  );
  const [page, preview, run] = await withinMs(
    answerMs,
    Promise.all([
      readPage(input, view, query),
      previewAgain(input, view, known),
      readTriggered(input, view, query.run),
    ]),
  );
  return { view, page, preview, backfills: newestFirst(backfills), run, mayOperate };
}

async function readPage({ broker }: SiteInput, view: ScheduleDetails, { at, before, outcome }: DetailQuery) {
  const to = at ?? (before === undefined ? undefined : before - 1);
  const of = { job: view.job, schedule: view.id };
  const outcomes = outcome === null ? {} : { outcomes: [outcome] };
  return listTicks(broker, of, { ...(to !== undefined && { to }), ...outcomes, limit: perPage });
}

/** Twenty times of a schedule with many exclusions are dear, and only change when one has passed or was cancelled. */
async function previewAgain(input: SiteInput, view: ScheduleDetails, known?: Pick<Detail, 'view' | 'preview'>) {
  const isSame = known && changing(known.view) === changing(view);
  const first = known && 'times' in known.preview ? known.preview.times[0] : undefined;
  if (known && isSame && first && Date.parse(first.due) > input.now()) return known.preview;
  try {
    return await previewStored(input.broker, view.id, { from: input.now(), count: previewed });
  } catch (error) {
    if (!(error instanceof RondoError) || error.code !== 'schedule-uncomputable') throw error;
    return { trouble: `${error.message}.` };
  }
}

function changing({ timing, ledger }: ScheduleDetails): string {
  return JSON.stringify([timing, ledger?.next]);
}

/** Only a run that was triggered of this very schedule: the address may name any. */
async function readTriggered({ broker, registry }: SiteInput, { id, job }: ScheduleDetails, run?: string) {
  const known = registry.find(job);
  if (run === undefined || !known || !run.startsWith(`trigger:${id}:`)) return undefined;
  return findRun(broker, known, run).catch((error: unknown) => {
    if (error instanceof RondoError && error.code === 'run-unknown') return null;
    throw error;
  });
}

function newestFirst(backfills: readonly BackfillView[]): BackfillView[] {
  return backfills.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1)).slice(0, 10);
}
