import { z } from 'zod';

/** `'250ms'`, `'10s'`, `'5m'`, `'1h'`, `'1d'`, or a whole number of milliseconds. */
export type Duration = number | `${number}${Unit}`;

type Unit = 'ms' | 's' | 'm' | 'h' | 'd';

const unitMs: Record<Unit, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @returns milliseconds, or null where the text is no duration: fractions and signs are not. */
export function parseDuration(text: string | number): number | null {
  if (typeof text === 'number') return Number.isSafeInteger(text) && text >= 0 ? text : null;
  const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text);
  if (!match) return null;
  const ms = Number(match[1]) * unitMs[match[2] as Unit];
  return Number.isSafeInteger(ms) ? ms : null;
}

/** The shortest exact spelling: 90000 is `90s`, 3600000 is `1h`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (ms >= unitMs[unit] && ms % unitMs[unit] === 0) return `${ms / unitMs[unit]}${unit}`;
  }
  return `${ms}ms`;
}

/** A zod schema that reads a duration into milliseconds, refusing what lies outside the bounds (in ms). */
export function duration(bounds: { min?: number; max?: number } = {}) {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds;
  const range = [
    min > 0 && `at least ${formatDuration(min)}`,
    max < Number.MAX_SAFE_INTEGER && `at most ${formatDuration(max)}`,
  ].filter(Boolean);
  const expected = ["a duration such as '10s', '5m', '1h', '1d' or whole milliseconds", ...range].join(', ');
  const described = z.custom<Duration>(isText, expected).meta({ type: ['string', 'integer'], description: expected });
  return described.transform((text, context) => {
    const ms = parseDuration(text);
    if (ms !== null && ms >= min && ms <= max) return ms;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
}

const isText = (value: unknown): boolean => typeof value === 'string' || typeof value === 'number';
