import { randomUUID } from 'node:crypto';
import type { Request, Response } from 'express';
import type { RondoError } from '../../../errors.js';
import { beginBackfill, previewBackfill, unconfirmedTicks } from '../../../producers/backfill.js';
import type { BackfillPlanView } from '../../../producers/backfill-views.js';
import { planView } from '../../../producers/backfill-views.js';
import { cancelBackfills, resumeBackfill } from '../../../producers/feed.js';
import { pauseSchedule, resumeSchedule, triggerSchedule } from '../../../producers/operations.js';
import type { ScheduleView } from '../../../producers/views.js';
import { principalIn } from '../../guard.js';
import { answerMs, read } from '../../request.js';
import { backfillBody } from '../../routes/backfills.js';
import { pauseBody, triggerBody } from '../../routes/schedules.js';
import { withinLongMs, withinMs } from '../../within.js';
import { type Html, html } from '../html.js';
import type { SiteInput } from '../input.js';
import { shortTime } from './parts.js';

/** What a form of a schedule holds, as the browser sent it. */
export type Values = Readonly<Record<string, string>>;

export interface ActionForm {
  readonly title: string;
  readonly fields: Html;
  readonly button: string;
}

/** What came of an action: what the page says then, or the form again, with what it would do. */
export type Done = { readonly did: string; readonly run?: string } | ActionForm;

export interface Action {
  form(view: ScheduleView, values: Values): ActionForm;
  /** `request.body` is made what the API's route would have got, which is what the audit log keeps. */
  act(input: SiteInput, view: ScheduleView, request: Request, response: Response): Promise<Done>;
}

/** What may be done with a schedule on its page: the same as over the API, by the same rules. */
export const actions: Readonly<Record<string, Action>> = {
  trigger: {
    form: ({ id, overlap }, { force, nonce }) => ({
      title: `Trigger ${id}`,
      fields: html`<input type="hidden" name="nonce" value="${nonce}" autocomplete="off"><p>A run with the schedule's payload starts now. It is no tick: the ledger stays as it is.</p>${
        overlap !== 'allow' &&
        html`<p><label class="check"><input type="checkbox" name="force" value="on"${force && html` checked`}> Also while another run goes on (overlap is ${overlap})</label></p>`
      }`,
      button: 'Start a run',
    }),
    async act({ broker }, { id }, request) {
      const { force, nonce = '' } = valuesOf(request);
      request.body = { force: force === 'on' };
      const marker = noncePattern.test(nonce) && { marker: nonce };
      const wanted = { ...read(triggerBody, request.body), ...marker };
      const { run } = await withinMs(answerMs, triggerSchedule(broker, id, wanted));
      return { did: 'trigger', run };
    },
  },
  pause: {
    form: ({ id, pause }, values) => ({
      title: `Pause ${id}`,
      fields: html`<p>No tick of it starts until somebody resumes it, or until the time given. What runs goes on; the ledger keeps what falls into the pause.</p>
<p><label>Why <input name="note" maxlength="1000" value="${values.note ?? pause?.note ?? ''}"></label></p>
<p><label>Until <input name="until" value="${values.until ?? pause?.until ?? ''}" placeholder="2h" aria-describedby="until-help"></label> <small id="until-help">A duration such as 2h, or an ISO time such as 2026-11-21T07:00:00Z; without one, until somebody resumes it.</small></p>`,
      button: pause ? 'Change the pause' : 'Pause',
    }),
    async act({ broker, now }, { id }, request, response) {
      const { note = '', until = '' } = valuesOf(request);
      request.body = { note, ...(until.trim() && { until: until.trim() }) };
      const wanted = read(pauseBody(now()), request.body);
      await withinMs(answerMs, pauseSchedule(broker, id, { ...wanted, by: asker(response), now: now() }));
      return { did: 'pause' };
    },
  },
  resume: {
    form: ({ id }) => ({
      title: `Resume ${id}`,
      fields: html`<p>Its ticks go on from now. Those of the pause do not run; a backfill can run them.</p>`,
      button: 'Resume',
    }),
    async act({ broker, now, emit }, { id }, request) {
      request.body = {};
      await withinMs(answerMs, resumeSchedule(broker, id, now(), emit));
      return { did: 'resume' };
    },
  },
  backfill: {
    form: ({ id }, values) => rangeForm(id, values, null),
    act: backfill,
  },
  'cancel-backfill': {
    form: ({ id }) => ({
      title: `Cancel the backfill of ${id}`,
      fields: html`<p>Runs of it that wait are removed; what executes goes on.</p>`,
      button: 'Cancel the backfill',
    }),
    async act({ broker }, { id }, request) {
      request.body = {};
      await withinMs(answerMs, cancelBackfills(broker, id));
      return { did: 'cancel-backfill' };
    },
  },
};

/** What a form holds when it is first shown: a nonce, by which one that is sent twice starts one run. */
export function freshValues(): Values {
  return { nonce: randomUUID().slice(0, 8) };
}

const noncePattern = /^[0-9a-f]{8}$/;

/** For a million ticks to be counted, in ms. */
const planMs = 15_000;

/** First how many ticks it would run, and then, of the very same range, that it should. */
async function backfill(input: SiteInput, { id }: ScheduleView, request: Request, response: Response): Promise<Done> {
  const { broker, now } = input;
  const values = valuesOf(request);
  const isCounted = values.counted === 'yes';
  request.body = {
    ...{ from: momentOf(values.from), to: momentOf(values.to), onlyMissed: values.onlyMissed === 'on' },
    ...(isCounted ? { confirm: values.confirm === 'on' } : { dryRun: true }),
  };
  const { confirm, dryRun, ...wanted } = read(backfillBody, request.body);
  if (dryRun) {
    const plan = await withinLongMs(broker, planMs, () => previewBackfill(broker, id, { ...wanted, now: now() }));
    return rangeForm(id, values, planView(plan));
  }
  const begin = { ...wanted, by: asker(response), now: now(), confirmed: confirm };
  const { backfill: begun, resumed } = await withinLongMs(broker, planMs, () => beginBackfill(broker, id, begin));
  if (begun && resumed) await withinMs(answerMs, resumeBackfill(broker, begun));
  return { did: begun ? 'backfill' : 'nothing' };
}

const leftOutWords: Record<keyof BackfillPlanView['leftOut'], string> = {
  ran: 'have a run already',
  inAnother: 'are in another backfill',
  live: 'are still to come by themselves',
  otherTimes: 'lie where the schedule had other times',
  beforeKnown: 'are older than the ledger',
  notDue: 'were not due',
};

function rangeForm(id: string, values: Values, plan: BackfillPlanView | null): ActionForm {
  const title = `Backfill ${id}`;
  const { from = '', to = '', onlyMissed } = values;
  if (plan && plan.count > 0) {
    const hidden = Object.entries({ from, to, onlyMissed: onlyMissed ?? '', counted: 'yes' }).map(
      ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
    );
    const many = plan.count > unconfirmedTicks;
    return {
      title,
      fields: html`<p><b>${plan.count.toLocaleString('en')} ${plan.count === 1 ? 'tick' : 'ticks'}</b> would run, from ${shortTime(plan.first ?? '')} to ${shortTime(plan.last ?? '')}.</p>${leftOut(plan)}${hidden}${
        many &&
        html`<p><label class="check"><input type="checkbox" name="confirm" value="on" required> So many are meant</label></p>`
      }`,
      button: `Run ${plan.count.toLocaleString('en')} ${plan.count === 1 ? 'tick' : 'ticks'}`,
    };
  }
  const none = plan && html`<p class="note" role="alert">None of these ticks would run.</p>${leftOut(plan)}`;
  return {
    title,
    fields: html`<p>Runs ticks of the past that have no run. First they are counted; nothing runs yet.</p>${none}
<p><label>From (UTC) <input type="datetime-local" name="from" value="${from}" step="1" required></label></p>
<p><label>To (UTC) <input type="datetime-local" name="to" value="${to}" step="1" required></label></p>
<p><label class="check"><input type="checkbox" name="onlyMissed" value="on"${onlyMissed && html` checked`}> Only ticks that the ledger has, as not run</label></p>`,
    button: 'Count the ticks',
  };
}

function leftOut({ leftOut: reasons }: BackfillPlanView): Html | null {
  const rows = Object.entries(reasons) as [keyof typeof leftOutWords, number][];
  if (rows.length === 0) return null;
  return html`<p>Left out:</p><ul>${rows.map(([reason, count]) => html`<li>${count.toLocaleString('en')} ${leftOutWords[reason]}</li>`)}</ul>`;
}

/** What a browser's field for a time holds has no zone; it is asked for in UTC. */
function momentOf(text = ''): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text)) return text;
  return `${text.length === 16 ? `${text}:00` : text}Z`;
}

export function valuesOf({ body }: Request): Values {
  const entries = Object.entries((body ?? {}) as Record<string, unknown>);
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

/** The form of an action; with what was wrong where it came back. */
export function formSection(
  id: string,
  name: string,
  { title, fields, button }: ActionForm,
  error: RondoError | null,
): Html {
  const address = `/schedules/${encodeURIComponent(id)}`;
  const trouble =
    error &&
    html`<div class="note bad" role="alert"><p>${error.message.split('\n')[0]}</p>${error.problems.length > 0 && html`<ul>${error.problems.map(({ where, expected, got }) => html`<li><b>${where}</b>: expected ${expected}; got ${got}</li>`)}</ul>`}</div>`;
  return html`<section class="card action" data-form>
<h1>${title}</h1>
<form method="post" action="${address}/${name}">
${trouble}${fields}
<p class="buttons"><button class="primary">${button}</button> <a class="button" href="${address}" data-close>Leave it</a></p>
</form>
</section>`;
}

function asker(response: Response): string {
  return principalIn(response)?.name ?? 'unknown';
}
