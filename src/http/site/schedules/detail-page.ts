import type { Registry } from '../../../jobs/registry.js';
import { type Html, html } from '../html.js';
import { liveAttributes } from '../live.js';
import { type Detail, type DetailQuery, heading, type PartName, parts } from './detail.js';
import { policyList } from './policies.js';

const doneWords: Record<NonNullable<DetailQuery['did']>, string> = {
  pause: 'It is paused.',
  resume: 'It goes on.',
  trigger: 'A run was started.',
  backfill: 'The backfill has begun: a producer adds its runs.',
  'cancel-backfill': 'The backfill is cancelled: what waits of it is removed.',
  nothing: 'There was nothing to run.',
};

/** The page of one schedule: how it stands, what became of its ticks, when it runs next, and what may be done. */
export function detailPage(detail: Detail, query: DetailQuery, registry: Registry): Html {
  const part = (name: PartName, tag: { readonly label?: string } = {}) => {
    const content = parts[name](detail, query);
    const heading = tag.label && html`<h2>${tag.label}</h2>`;
    return html`<section class="card p-${name}"${tag.label === 'Ledger' && html` id="ledger"`}>${heading}<div ${liveOr(name, content, query)}>${content}</div></section>`;
  };
  const bare = (name: PartName, className: string) => {
    const content = parts[name](detail, query);
    return html`<div class="${className}" ${liveOr(name, content, query)}>${content}</div>`;
  };
  const { view } = detail;
  return html`${heading(view)}
${query.did && html`<p class="note good" role="status">${doneWords[query.did]}</p>`}
${detail.run !== undefined && bare('run', 'started')}
${bare('actions', 'actions')}
<div class="columns"><div>
${part('status', { label: 'How it stands' })}
${part('recent', { label: 'What its runs took' })}
${part('ledger', { label: 'Ledger' })}
</div><div>
${part('upcoming', { label: 'Next times (UTC)' })}
<section class="card"><h2>Its rules</h2>${policyList(view, registry.find(view.job))}</section>
<section class="card"><h2>Payload</h2><pre tabindex="0" aria-label="Payload">${JSON.stringify(view.payload, null, 2)}</pre></section>
${part('backfills', { label: 'Backfills' })}
</div></div>`;
}

/** A page of the ledger's past stays as it is. */
function liveOr(name: PartName, content: Html, { at, before, outcome }: DetailQuery): Html | null {
  const isPast = name === 'ledger' && (at !== undefined || before !== undefined || outcome !== null);
  return isPast ? null : liveAttributes(name, content);
}
