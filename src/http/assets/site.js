/**
 * What a page does beyond what its HTML does by itself: it counts down, is kept up to date, opens its forms in place,
 * and leads from a tick's mark to its entry. Without this every page works all the same.
 */

for (const start of [countDown, countUp, stayLive, openDialogs, openTicks]) start();

/** Fills `data-in` with how long it is until that time, or how long ago it was. */
function countDown() {
  const show = () => {
    for (const element of document.querySelectorAll('[data-in]')) {
      const leftMs = Date.parse(element.getAttribute('data-in') ?? '') - Date.now();
      const text = leftMs < 0 ? `${inWords(-leftMs)} ago` : `in ${inWords(leftMs)}`;
      if (element.textContent !== text) element.textContent = text;
      element.classList.toggle('over', leftMs < -5_000);
    }
  };
  show();
  setInterval(show, 1_000);
  document.addEventListener('replaced', show);
}

/** Fills `data-since` with how long it is since that time. */
function countUp() {
  const show = () => {
    for (const element of document.querySelectorAll('[data-since]')) {
      const text = inWords(Math.max(0, Date.now() - Date.parse(element.getAttribute('data-since') ?? '')));
      if (element.textContent !== text) element.textContent = text;
    }
  };
  show();
  setInterval(show, 1_000);
  document.addEventListener('replaced', show);
}

/**
 * The two largest units: "3m 20s".
 *
 * @param {number} ms
 */
function inWords(ms) {
  const seconds = Math.floor(ms / 1_000);
  /** @type {[number, string][]} */
  const units = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const from = units.findIndex(([count]) => count > 0);
  if (from < 0) return '0s';
  return units
    .slice(from, from + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}

/** Takes in what has changed of the page's parts, while somebody looks at it. */
function stayLive() {
  const from = document.body.dataset.liveFrom;
  if (!from) return;
  /** @type {EventSource | null} */
  let stream = null;
  const close = () => {
    stream?.close();
    stream = null;
  };
  const open = () => {
    const elements = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-live]'))];
    if (stream || document.hidden || elements.length === 0) return;
    const parts = elements.map(({ dataset }) => `${dataset.live}~${dataset.mark}`).join(',');
    stream = new EventSource(`${from}${from.includes('?') ? '&' : '?'}parts=${encodeURIComponent(parts)}`);
    stream.addEventListener('alive', () => tell('Live', ''));
    stream.addEventListener('part', ({ data }) => replace(JSON.parse(data)));
    stream.addEventListener('trouble', ({ data }) => tell(JSON.parse(data).message, 'bad'));
    stream.addEventListener('error', () => {
      // Refused rather than cut off: the browser does not come back by itself.
      if (stream?.readyState === EventSource.CLOSED) tell('Not live: load the page again', 'bad');
      else tell('Connecting …', '');
    });
  };
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()));
  addEventListener('pagehide', close);
  addEventListener('pageshow', open);
  open();
}

/**
 * @param {string} text
 * @param {string} tone
 */
function tell(text, tone) {
  const state = document.querySelector('[data-live-state]');
  if (!state || state.textContent === text) return;
  state.textContent = text;
  state.className = `live ${tone}`;
}

/**
 * Puts a part's new content in place, and the focus back to where it was. What somebody is about to fill in stays.
 *
 * @param {{ part: string, mark: string, html: string }} news
 */
function replace({ part, mark, html }) {
  /** @type {HTMLElement | null} */
  const element = document.querySelector(`[data-live="${CSS.escape(part)}"]`);
  if (!element) return;
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  if (active?.matches('input, select, textarea')) return;
  const index = active ? focusable(element).indexOf(/** @type {HTMLElement} */ (active)) : -1;
  element.innerHTML = html;
  element.dataset.mark = mark;
  document.dispatchEvent(new Event('replaced'));
  if (index >= 0) focusable(element)[index]?.focus();
}

/** @param {Element} element */
function focusable(element) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll('a, button, input, select, [tabindex]'))];
}

/** Shows the page of an action as a dialog. */
function openDialogs() {
  document.addEventListener('click', async (event) => {
    const link = linkAt(event, 'a[data-dialog]');
    if (!link || isForElsewhere(event)) return;
    event.preventDefault();
    const form = await formAt(link.href).catch(() => null);
    if (form) show(form);
    else location.assign(link.href);
  });
}

/** @param {Element} form */
function show(form) {
  const dialog = document.createElement('dialog');
  fill(dialog, form);
  document.body.append(dialog);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => {
    if (!linkAt(event, '[data-close]') && event.target !== dialog) return;
    event.preventDefault();
    dialog.close();
  });
  dialog.addEventListener('submit', (event) => {
    event.preventDefault();
    send(dialog, /** @type {HTMLFormElement} */ (event.target));
  });
  dialog.showModal();
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {Element} form
 */
function fill(dialog, form) {
  const title = form.querySelector('h1');
  if (title) title.id = 'dialog-title';
  dialog.setAttribute('aria-labelledby', 'dialog-title');
  dialog.replaceChildren(form);
  /** @type {HTMLElement | null} */ (dialog.querySelector('input:not([type=hidden]), button'))?.focus();
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {HTMLFormElement} form
 */
async function send(dialog, form) {
  const button = form.querySelector('button');
  if (button) button.disabled = true;
  const values = new FormData(form);
  const body = new URLSearchParams([...values].map(([name, value]) => [name, String(value)]));
  try {
    const answer = await fetch(form.action, { method: 'POST', body, headers: { accept: 'text/html' } });
    if (answer.redirected) return location.assign(answer.url);
    const next = formIn(await answer.text());
    if (next) return fill(dialog, next);
    throw new Error(`${answer.status}`);
  } catch {
    // As without a script: the browser shows whatever comes of it.
    form.submit();
  }
}

/** @param {string} address */
async function formAt(address) {
  return formIn(await (await fetch(address, { headers: { accept: 'text/html' } })).text());
}

/** @param {string} text */
function formIn(text) {
  return new DOMParser().parseFromString(text, 'text/html').querySelector('[data-form]');
}

/** A click on the mark of a tick leads to its entry in the ledger, where the strip alone leads to the schedule. */
function openTicks() {
  document.addEventListener('click', (event) => {
    const link = linkAt(event, 'a[data-ticks]');
    const mark = event.target instanceof Element ? event.target.closest('path') : null;
    if (!link || !mark || isForElsewhere(event)) return;
    const [time] = (mark.querySelector('title')?.textContent ?? '').split(' ');
    if (!time) return;
    event.preventDefault();
    location.assign(`${link.dataset.ticks}?at=${encodeURIComponent(time)}#ledger`);
  });
}

/**
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLAnchorElement | null}
 */
function linkAt({ target }, selector) {
  return target instanceof Element ? target.closest(selector) : null;
}

/** @param {MouseEvent} event */
function isForElsewhere({ button, ctrlKey, metaKey, shiftKey }) {
  return button !== 0 || ctrlKey || metaKey || shiftKey;
}
