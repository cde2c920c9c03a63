/** One line: the name that it has itself, its labels, its value. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

/**
 * Reads Prometheus's text format (0.0.4), and is strict where Prometheus itself or promtool would complain: HELP and
 * TYPE once and first, lines of a family together, no line twice, the conventions of names, and whole histograms.
 *
 * @throws Error that names the line
 */
export function parseMetrics(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, Family & { samples: Sample[] }>();
  const lines = text.split('\n').filter((line) => line !== '');
  let current = '';
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (line.startsWith('#')) {
      const { name, ...family } = parseHead(line, lines[++at] ?? '');
      if (families.has(name)) throw new Error(`a second time: ${line}`);
      families.set(name, { ...family, samples: [] });
      current = name;
    } else {
      const sample = parseSample(line);
      const family = families.get(current);
      if (!family || !belongs(sample.name, current, family.type)) throw new Error(`not of ${current}: ${line}`);
      family.samples.push(sample);
    }
  }
  for (const [name, family] of families) checkFamily(name, family);
  return families;
}

/** The value of the one line of a family with these labels. */
export function metricValue(families: ReadonlyMap<string, Family>, name: string, labels: Record<string, string> = {}) {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
  const wanted = Object.entries(labels);
  const found = family?.samples.filter(
    (sample) => sample.name === name && wanted.every(([label, value]) => sample.labels[label] === value),
  );
  if (found?.length !== 1) throw new Error(`${found?.length ?? 'no'} lines of ${name} ${JSON.stringify(labels)}`);
  return found[0]?.value;
}

/** The two lines before a family's own: what it means, and of which type it is. */
function parseHead(first: string, second: string): { name: string; help: string; type: string } {
  const [, name = '', help = ''] = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(first) ?? [];
  const [, ofType, type = ''] = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(second) ?? [];
  if (!name || ofType !== name) throw new Error(`no HELP and TYPE: ${first}, ${second}`);
  return { name, help, type };
}

function parseSample(line: string): Sample {
  const [, name, inner = '', value = ''] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (!name || !/^([+-]?Inf|NaN|[+-]?\d+(\.\d+)?(e[+-]?\d+)?)$/.test(value)) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  let rest = inner;
  while (rest !== '') {
    const [whole, label, text] = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(?:,(?=.)|$)/.exec(rest) ?? [];
    if (whole === undefined || !label || label in labels || text === undefined) throw new Error(`labels: ${line}`);
    labels[label] = text;
    rest = rest.slice(whole.length);
  }
  return { name, labels, value: Number(value.replace('Inf', 'Infinity')) };
}

function belongs(name: string, family: string, type: string): boolean {
  const suffixes = { histogram: ['_bucket', '_sum', '_count'], summary: ['', '_sum', '_count'] }[type] ?? [''];
  return suffixes.some((suffix) => name === family + suffix);
}

function checkFamily(name: string, { type, samples }: Family): void {
  const lines = samples.map((sample) => JSON.stringify([sample.name, ...Object.entries(sample.labels).sort()]));
  if (new Set(lines).size < lines.length) throw new Error(`${name} has a line twice`);
  // prom-client's own nodejs_active_handles_total is none.
  const ours = !name.startsWith('nodejs_');
  if (ours && (type === 'counter') !== name.endsWith('_total')) throw new Error(`${name} is a ${type}`);
  const labels = new Set(samples.map((sample) => Object.keys(sample.labels).filter(isOwn).sort().join()));
  if (labels.size > 1 && name.startsWith('rondo_')) throw new Error(`${name} has ${[...labels].join(' and ')}`);
  if (type === 'counter' && samples.some(({ value }) => !(value >= 0))) throw new Error(`${name} is below 0`);
  if (type === 'histogram') checkHistogram(name, samples);
}

const isOwn = (label: string) => label !== 'le';

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples) series.set(keyOf(sample), [...(series.get(keyOf(sample)) ?? []), sample]);
  for (const [key, ofSeries] of series) {
    const buckets = ofSeries.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels.le?.replace('Inf', 'Infinity')));
    const count = ofSeries.find((sample) => sample.name === `${name}_count`)?.value;
    const isRising = (values: readonly number[]) =>
      values.every((value, at) => at === 0 || value >= (values[at - 1] ?? 0));
    const whole =
      bounds.at(-1) === Number.POSITIVE_INFINITY &&
      new Set(bounds).size === bounds.length &&
      isRising(bounds) &&
      isRising(buckets.map(({ value }) => value)) &&
      buckets.at(-1)?.value === count &&
      ofSeries.some((sample) => sample.name === `${name}_sum`) &&
      ofSeries.length === buckets.length + 2;
    if (!whole) throw new Error(`the histogram ${name}{${key}} is not whole`);
  }
}

function keyOf({ labels }: Sample): string {
  return JSON.stringify(
    Object.entries(labels)
      .filter(([label]) => isOwn(label))
      .sort(),
  );
}
