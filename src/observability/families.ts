import type { Metric, Registry } from 'prom-client';

/** One line of a family: what its name has beside the family's, its labels, its value. */
export interface Sample {
  readonly suffix?: '_bucket' | '_sum' | '_count';
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A metric as it is read when somebody asks: what happens meanwhile only adds to numbers. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  read(): readonly Sample[] | Promise<readonly Sample[]>;
}

/** Lets a registry of prom-client tell a family beside its own metrics. */
export function addFamily(registry: Registry, { name, help, type, read }: Family): void {
  const metric = {
    name,
    async get() {
      const values = (await read()).map(({ suffix = '', labels, value }) => ({
        metricName: name + suffix,
        labels,
        value,
      }));
      return { name, help, type, values };
    },
  };
  // It asks its metrics for no more than their name and what `get` answers; its types know its own four alone.
  registry.registerMetric(metric as unknown as Metric);
}

/**
 * Counts values by how large they are, each by one addition.
 *
 * @param bounds the upper end of each bucket but the last, which has none; rising
 */
export function createBuckets(bounds: readonly number[]) {
  const counts = new Array<number>(bounds.length + 1).fill(0);
  let sum = 0;
  let isExpected = false;
  return {
    /** Lets it be told before its first value. */
    expect(): void {
      isExpected = true;
    },
    add(value: number): void {
      let at = 0;
      while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
      counts[at] = (counts[at] ?? 0) + 1;
      sum += value;
    },
    /** Each bucket counts what the ones before it do, as Prometheus wants it. Nothing before the first value, unless one is expected. */
    samples(labels: Sample['labels']): Sample[] {
      if (!isExpected && !counts.some(Boolean)) return [];
      let total = 0;
      const buckets = counts.map((count, at): Sample => {
        total += count;
        return { suffix: '_bucket', labels: { ...labels, le: bounds[at] ?? '+Inf' }, value: total };
      });
      return [...buckets, { suffix: '_sum', labels, value: sum }, { suffix: '_count', labels, value: total }];
    },
  };
}

export type Buckets = ReturnType<typeof createBuckets>;
