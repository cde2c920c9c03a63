import type { Family } from './prometheus.js';

/** Labels that Prometheus itself adds to whatever it scrapes. */
const ofTarget = ['instance', 'job'];

/**
 * What of a query there is nothing for: metrics that do not come out, labels that they do not have, and values that a
 * label never has.
 */
export function strangersIn(query: string, families: ReadonlyMap<string, Family>): string[] {
  const found = [...query.matchAll(/\b((?:rondo|nodejs|process)_[a-z0-9_]+)(\{[^}]*\})?/g)];
  const selectors = found.map(([, name = '', matchers = '']) => ({ name, matchers, family: familyOf(name, families) }));
  const known = new Set([...ofTarget, ...selectors.flatMap(({ family }) => [...valuesOf(family).keys()])]);
  const groups = [...query.matchAll(/\b(?:by|on|without|ignoring)\s*\(([^)]*)\)/g)];
  const labels = groups.flatMap(([, list = '']) => list.split(',').map((label) => label.trim()));
  return [
    ...(selectors.length === 0 ? [`no metric in ${query}`] : []),
    ...selectors.flatMap(({ name, matchers, family }) => (family ? strangersAmong(matchers, name, family) : [name])),
    ...labels.filter((label) => !known.has(label)),
  ];
}

function strangersAmong(matchers: string, name: string, family: Family): string[] {
  const values = valuesOf(family);
  return [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"/g)].flatMap(([, label = '', value = '']) => {
    const words = value.startsWith('$') ? [] : value.split('|');
    if (!values.has(label)) return [`${name}{${label}}`];
    return words.filter((word) => !values.get(label)?.has(word)).map((word) => `${name}{${label}="${word}"}`);
  });
}

/** The family that has lines of this name: a histogram's are called otherwise than itself. */
function familyOf(name: string, families: ReadonlyMap<string, Family>): Family | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
  return family?.samples.some((sample) => sample.name === name) ? family : undefined;
}

function valuesOf(family: Family | undefined): Map<string, Set<string>> {
  const labels = new Map<string, Set<string>>();
  for (const sample of family?.samples ?? []) {
    for (const [label, value] of Object.entries(sample.labels)) {
      labels.set(label, (labels.get(label) ?? new Set()).add(value));
    }
  }
  return labels;
}
