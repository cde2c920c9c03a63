/**
 * Where a text stops being JSON, without a word of it: it may hold secrets, which the engine's own message quotes.
 *
 * @returns `at line 3, column 7`, or what else is the matter
 */
export function faultInJson(text: string): string {
  if (text.length > longest) return 'somewhere in it';
  if (mayBegin(text)) return isJson(text) ? 'as a whole: an object or a list' : 'at its end, which comes too early';
  // All that a text may begin with, it may also begin with a letter less.
  let [sound, broken] = [0, text.length];
  while (broken - sound > 1) {
    const middle = (sound + broken) >> 1;
    if (mayBegin(text.slice(0, middle))) sound = middle;
    else broken = middle;
  }
  const lines = text.slice(0, sound).split('\n');
  return `at line ${lines.length}, column ${(lines.at(-1) ?? '').length + 1}`;
}

/** It is read twenty times over. */
const longest = 100_000;

/** Whether some JSON begins with a text. */
function mayBegin(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as Error;
    return (
      /Unexpected end|Unterminated string/.test(message) || / at position (\d+)/.exec(message)?.[1] === `${text.length}`
    );
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
