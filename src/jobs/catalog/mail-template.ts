import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NonRetryableError } from '../../errors.js';
import { withNearest } from '../../problems.js';

/** Whatever a folder holds under other names is no template. */
export const templateName = /^[a-z0-9][a-z0-9-]{0,63}$/;

export type Variables = Readonly<Record<string, string | number | boolean>>;

export interface Mail {
  readonly subject: string;
  readonly text: string;
  readonly html?: string;
}

/** Those that need no folder. A file of the same name goes before them. */
const builtIn: Readonly<Record<string, Mail>> = {
  message: {
    subject: '{{subject}}',
    text: '{{text}}\n',
    html: '<!doctype html>\n<html><body><p style="white-space: pre-wrap; font-family: sans-serif">{{text}}</p></body></html>\n',
  },
};

/**
 * A mail from the template of a name: `<name>.txt`, which begins with `Subject: …` and an empty line, and beside it, where there
 * is one, `<name>.html`. What `{{variable}}` stands for is text: in HTML it is escaped, in the subject it is one line.
 *
 * @param folder absolute; null where only the built-in ones are there
 * @throws NonRetryableError for a template that there is not or that is wrong, and for variables that are missing
 */
export async function mailFrom(folder: string | null, name: string, variables: Variables): Promise<Mail> {
  const { subject, text, html } = await templateOf(folder, name);
  const parts = [subject, text, html ?? ''];
  const odd = parts.flatMap((part) => part.match(/\{\{(?!\s*\w+\s*\}\})[^\n]{0,20}/g) ?? []);
  if (odd.length > 0) throw wrong(name, `expected {{variable}}, of letters, digits and _; got ${odd[0]}`);
  const wanted = new Set(parts.flatMap((part) => [...part.matchAll(variable)].map(([, it = '']) => it)));
  const missing = [...wanted].filter((it) => !Object.hasOwn(variables, it));
  if (missing.length > 0) throw wrong(name, `expected values for its variables; none came for ${missing.join(', ')}`);
  const filled = (part: string, spelt: (value: string) => string) =>
    part.replaceAll(variable, (_, it: string) => spelt(String(variables[it])));
  return {
    subject: filled(subject, String)
      .replace(/[\s\p{C}]+/gu, ' ')
      .trim(),
    text: filled(text, String),
    ...(html !== undefined && { html: filled(html, escaped) }),
  };
}

const variable = /\{\{\s*(\w+)\s*\}\}/g;

function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (letter) => entities[letter] ?? letter);
}

async function templateOf(folder: string | null, name: string): Promise<Mail> {
  const [source, html] = folder
    ? await Promise.all([fileAt(folder, `${name}.txt`), fileAt(folder, `${name}.html`)])
    : [null, null];
  if (source === null) {
    const known = Object.hasOwn(builtIn, name) ? builtIn[name] : undefined;
    if (known && html === null) return known;
    if (html !== null) throw wrong(name, `expected ${name}.txt beside ${name}.html, with the subject and the text`);
    throw unknown(name, await namesIn(folder));
  }
  const [, subject, text] = /^Subject: *(\S[^\r\n]*)\r?\n\r?\n(.*)$/s.exec(source.replace(/^\uFEFF/, '')) ?? [];
  if (subject === undefined || text === undefined) {
    throw wrong(name, `expected ${name}.txt to begin with a line "Subject: …" and an empty one`);
  }
  return { subject, text, ...(html !== null && { html }) };
}

async function fileAt(folder: string, file: string): Promise<string | null> {
  try {
    return await readFile(join(folder, file), 'utf8');
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return null;
    throw error;
  }
}

async function namesIn(folder: string | null): Promise<string[]> {
  const files = folder ? await readdir(folder).catch(() => []) : [];
  const names = files.filter((file) => file.endsWith('.txt')).map((file) => file.slice(0, -'.txt'.length));
  return [...new Set([...names.filter((name) => templateName.test(name)), ...Object.keys(builtIn)])].sort();
}

function wrong(name: string, what: string): NonRetryableError {
  return new NonRetryableError(`the template "${name}": ${what}`);
}

function unknown(name: string, known: readonly string[]): NonRetryableError {
  const shown = known.slice(0, 20).join(', ') + (known.length > 20 ? `, and ${known.length - 20} more` : '');
  return new NonRetryableError(`there is no template ${withNearest(name, known)}; there are: ${shown}`);
}
