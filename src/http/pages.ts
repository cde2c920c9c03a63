/** The pages that Rondo draws itself: plain HTML without scripts, in the colours that the browser asks for. */

export function signInPage({ next, wrong }: { next: string; wrong: boolean }): string {
  const complaint = wrong ? '<p role="alert">That is no key of this server.</p>' : '';
  return page(
    'Sign in',
    `<form method="post" action="/login">
      <label for="key">Key</label>
      <input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
      <input type="hidden" name="next" value="${escapeHtml(next)}">
      ${complaint}
      <button>Sign in</button>
    </form>`,
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
p { margin: .25rem 0; } a { color: var(--accent); } [role=alert] { color: var(--alert); }
`;
