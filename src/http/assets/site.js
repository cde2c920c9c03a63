/**
 * What a page does beyond what its HTML does by itself: it counts down, is kept up to date, opens its forms in place,
 * and leads from a tick's mark to its entry. Without this every page works all the same.
 */

for (const start of [countDown, countUp, stayLive, renewForms, openDialogs, openTicks]) start();

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
  let isGone = false;
  const close = () => {
    stream?.close();
    stream = null;
  };
  const open = () => {
    const elements = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-live]'))];
    if (stream || isGone || document.hidden || elements.length === 0) return;
    const parts = elements.map(({ dataset }) => `${dataset.live}~${dataset.mark}`).join(',');
    stream = new EventSource(`${from}${from.includes('?') ? '&' : '?'}parts=${encodeURIComponent(parts)}`);
    stream.addEventListener('alive', () => tell('Live', ''));
    stream.addEventListener('part', ({ data }) => replace(JSON.parse(data)));
    stream.addEventListener('trouble', ({ data }) => tell(JSON.parse(data).message, 'bad'));
    stream.addEventListener('gone', ({ data }) => {
      isGone = true;
      close();
      tell(JSON.parse(data).message, 'bad');
    });
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

/** A form that is kept while its page is away has been sent perhaps, and what it starts would be taken for the same. */
function renewForms() {
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted && document.querySelector('input[name="nonce"]')) location.reload();
  });
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
 * Puts a part's new content in place, with what was open, how far it was scrolled, and where the focus was. What
 * somebody is about to fill in stays.
 *
 * @param {{ part: string, mark: string, html: string }} news
 */
function replace({ part, mark, html }) {
  /** @type {HTMLElement | null} */
  const element = document.querySelector(`[data-live="${CSS.escape(part)}"]`);
  if (!element) return;
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  if (active?.matches('input, select, textarea')) return;
  const unfold = rememberUnfolded(element);
  const focus = active && rememberFocus(element, /** @type {HTMLElement} */ (active));
  element.innerHTML = html;
  element.dataset.mark = mark;
  document.dispatchEvent(new Event('replaced'));
  unfold();
  focus?.();
}

/**
 * @param {Element} element
 * @returns {() => void} opens and scrolls what is in its place by then as it was
 */
function rememberUnfolded(element) {
  const inside = () => [...element.querySelectorAll('details, .scroll')];
  const before = new Map(
    inside().map((it) => [nameOf(it), { open: it.hasAttribute('open'), left: it.scrollLeft, top: it.scrollTop }]),
  );
  return () => {
    for (const it of inside()) {
      const was = before.get(nameOf(it));
      if (!was) continue;
      it.toggleAttribute('open', was.open);
      it.scrollTo(was.left, was.top);
    }
  };
}

/**
 * @param {HTMLElement} element
 * @param {HTMLElement} active
 * @returns {() => void} puts the focus on what is like it by then; never on what leads elsewhere
 */
function rememberFocus(element, active) {
  const name = nameOf(active);
  const alike = () => focusable(element).filter((it) => nameOf(it) === name);
  const index = alike().indexOf(active);
  return () => {
    const now = alike();
    (now[index] ?? now[0])?.focus({ preventScroll: true });
  };
}

/**
 * What an element is known by again in new content; nothing where only its place tells.
 *
 * @param {Element} element
 * @returns {string}
 */
function nameOf(element) {
  if (element.matches('summary')) return nameOf(/** @type {Element} */ (element.parentElement));
  return element.getAttribute('href') ?? element.getAttribute('aria-label') ?? element.id;
}

/** @param {Element} element */
function focusable(element) {
  const all = element.querySelectorAll('a, button, input, select, summary, [tabindex]');
  return [.../** @type {NodeListOf<HTMLElement>} */ (all)];
}

/** Shows the page of an action as a dialog. */
function openDialogs() {
  document.addEventListener('click', async (event) => {
    const link = linkAt(event, 'a[data-dialog]');
    if (!link || isForElsewhere(event)) return;
    event.preventDefault();
    const form = await formAt(link.href).catch(() => null);
    if (form) show(form, link);
    else location.assign(link.href);
  });
}

/**
 * @param {Element} form
 * @param {HTMLAnchorElement} link to which the focus returns
 */
function show(form, link) {
  const dialog = document.createElement('dialog');
  fill(dialog, form);
  document.body.append(dialog);
  dialog.addEventListener('close', () => {
    dialog.remove();
    // The page may have been brought up to date meanwhile: the browser knows only the link that is gone.
    if (!link.isConnected) twinOf(link)?.focus();
  });
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
 * @param {HTMLAnchorElement} link
 * @returns {HTMLElement | null}
 */
function twinOf(link) {
  return document.querySelector(`a[data-dialog][href="${CSS.escape(link.getAttribute('href') ?? '')}"]`);
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
 * Sends a form once. Whatever comes of it, only a person may send it again: it may have been done though the answer
 * says otherwise, or never came.
 *
 * @param {HTMLDialogElement} dialog
 * @param {HTMLFormElement} form
 */
async function send(dialog, form) {
  const button = form.querySelector('button');
  if (button) button.disabled = true;
  const values = new FormData(form);
  const body = new URLSearchParams([...values].map(([name, value]) => [name, String(value)]));
  const headers = { accept: 'text/html' };
  const answer = await fetch(form.action, { method: 'POST', body, headers }).catch(() => null);
  if (answer?.redirected) return location.assign(answer.url);
  if (answer?.status === 401) return signIn();
  const text = (await answer?.text().catch(() => '')) ?? '';
  const next = formIn(text);
  if (next) return fill(dialog, next);
  complain(form, messageIn(text) ?? 'No answer came. It may be done all the same: look before you try again.');
  if (!button) return;
  button.disabled = false;
  button.focus();
}

/** Comes back to this page. */
function signIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/**
 * What a page of an error says, or problem details.
 *
 * @param {string} text
 * @returns {string | null}
 */
function messageIn(text) {
  const alert = pageIn(text).querySelector('main [role=alert]');
  if (alert) return alert.textContent;
  try {
    const { title, detail } = JSON.parse(text);
    if (typeof title !== 'string') return null;
    return detail ? `${title}: ${detail}.` : `${title}.`;
  } catch {
    return null;
  }
}

/**
 * @param {Element} form
 * @param {string} message
 */
function complain(form, message) {
  const note = document.createElement('p');
  note.className = 'note bad';
  note.role = 'alert';
  note.textContent = message;
  form.querySelector('[role=alert]')?.remove();
  form.prepend(note);
}

/** @param {string} address */
async function formAt(address) {
  return formIn(await (await fetch(address, { headers: { accept: 'text/html' } })).text());
}

/** @param {string} text */
function formIn(text) {
  return pageIn(text).querySelector('[data-form]');
}

/** @param {string} text */
function pageIn(text) {
  return new DOMParser().parseFromString(text, 'text/html');
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
