/** The pages that Rondo draws itself: plain HTML without scripts, in the colours that the browser asks for. */

/** A ring that comes back to where it began, as an address of its own. */
export const icon = `data:image/svg+xml,${encodeURIComponent(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke="#3b82f6" stroke-width="5"
    stroke-linecap="round"><path d="M25 10a11 11 0 1 0 1.6 9"/><circle cx="25" cy="9.5" r="1.5"/></svg>`,
)}`;

/** @param trouble why the last try was refused */
export function signInPage({ next, trouble }: { next: string; trouble: string | null }): string {
  const complaint = trouble === null ? '' : `<p role="alert">${escapeHtml(trouble)}.</p>`;
  return page(
    'Sign in',
    `<form method="post" action="/login">
      <input autocomplete="username" value="rondo" hidden>
      <label for="key">Key</label>
      <input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
      <input type="hidden" name="next" value="${escapeHtml(next)}">
      ${complaint}
      <button>Sign in</button>
    </form>
    <p>One of the keys of this server; without any, the one that the log shows at the start.</p>`,
  );
}

export function signOutPage(name: string): string {
  return page(
    'Sign out',
    `<form method="post" action="/logout"><p>Signed in with the key “${escapeHtml(name)}”.</p><button>Sign out</button></form>
    <p><a href="/board">Back to the board</a></p>`,
  );
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Rondo</title>
<link rel="icon" href="${icon}">
<style>${style}</style>
</head>
<body><main><h1>Rondo</h1>${body}</main></body>
</html>
`;
}

const style = `
:root { color-scheme: light dark; --ink: light-dark(#1c2430, #e6eaf0); --paper: light-dark(#f6f7f9, #12161c);
  --card: light-dark(#fff, #1b212a); --line: light-dark(#c9d0d9, #3a4452); --accent: light-dark(#2456c4, #8fb1ff);
  --alert: light-dark(#b3261e, #ff9b93); }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { width: min(22rem, 90vw); padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
h1 { margin: 0 0 1.25rem; font-size: 1.4rem; letter-spacing: .02em; }
form { display: grid; gap: .6rem; }
label { font-weight: 600; }
input, button { font: inherit; padding: .6rem .75rem; border-radius: .4rem; border: 1px solid var(--line); }
input { background: var(--paper); color: inherit; }
button { background: var(--accent); color: var(--card); border-color: transparent; font-weight: 600; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
p { margin: .25rem 0; } form + p { margin-top: 1rem; font-size: .875rem; } a { color: var(--accent); } [role=alert] { color: var(--alert); }
`;
