import { InvalidArgumentError } from 'commander';
import { parseDuration } from '../duration.js';

/** Readers of option values: each throws an InvalidArgumentError, which is wrong usage. */

export function commaSeparated(text: string): string[] {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
  if (parts.length === 0) throw new InvalidArgumentError(`Expected one or more names, comma-separated; got "${text}".`);
  return parts;
}

export function durationMs(text: string): number {
  const ms = parseDuration(/^\d+$/.test(text) ? Number(text) : text);
  if (ms === null) throw new InvalidArgumentError(`Expected a duration such as 10s, 5m, 1h or 1d; got "${text}".`);
  return ms;
}

export function moment(text: string): number {
  // Without a zone it would mean another moment on each machine.
  const time = /^\d{4}-\d\d-\d\d(T.+(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time))
    throw new InvalidArgumentError(`Expected an ISO time such as 2026-11-21T07:00:00Z; got "${text}".`);
  return time;
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}; got "${text}".`);
  };
}

export function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`Expected JSON: ${(error as Error).message}.`);
  }
}

export function oneOf<Name extends string>(names: readonly Name[]): (text: string) => Name {
  return (text) => {
    const name = names.find((candidate) => candidate === text);
    if (name) return name;
    throw new InvalidArgumentError(`Expected one of ${names.join(', ')}; got "${text}".`);
  };
}
