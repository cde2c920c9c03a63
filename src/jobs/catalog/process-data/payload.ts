import { z } from 'zod';
import { headersSchema, httpUrlSchema } from '../../guarded-call.js';
import { isPathBelow } from './folder.js';

export const formats = ['csv', 'ndjson'] as const;
export type Format = (typeof formats)[number];

/** What a file's name says of what is in it; null where it says nothing. */
export function formatOf(path: string): Format | null {
  const [, extension] = /\.(csv|ndjson|jsonl)(?:\.gz)?$/i.exec(path) ?? [];
  if (extension === undefined) return null;
  return extension.toLowerCase() === 'csv' ? 'csv' : 'ndjson';
}

/** What a source holds, as its format says, or its name. */
export function formatOfSource({ file, url, format }: Source): Format {
  return format ?? formatOf(file ?? new URL(String(url)).pathname) ?? 'ndjson';
}

const path = z
  .string()
  .max(1_000)
  .refine(isPathBelow, { error: 'a path below DATA_FOLDER such as in/orders.csv, no part of which begins with a dot' });

const dataPath = path.refine((name) => formatOf(name) !== null, {
  error: 'a name that ends with .csv, .ndjson or .jsonl, and .gz after it where it is packed',
});

const fieldName = z
  .string()
  .min(1)
  .max(256)
  .refine((name) => name !== '__proto__', { error: 'a name that JavaScript leaves to others' });

const delimiter = z.enum([',', ';', '\t', '|']).default(',');

const source = z
  .strictObject({
    file: dataPath.optional(),
    url: httpUrlSchema.optional(),
    headers: headersSchema.optional(),
    /** Of what a URL answers, where its path does not tell. */
    format: z.enum(formats).optional(),
    delimiter,
  })
  .superRefine(({ file, url, headers, format }, context) => {
    const refuse = (message: string, at: string[] = []) => context.addIssue({ code: 'custom', message, path: at });
    if ((file === undefined) === (url === undefined)) return refuse('either a file or a url');
    if (file !== undefined && headers) refuse('headers with a url alone', ['headers']);
    if (file !== undefined && format) refuse('a format with a url alone: the name of a file tells', ['format']);
    const told = url !== undefined && URL.canParse(url) && formatOf(new URL(url).pathname);
    if (url !== undefined && !format && !told) refuse('csv or ndjson, which the URL does not tell', ['format']);
  });

export type Source = z.output<typeof source>;

const target = z.strictObject({
  file: dataPath,
  delimiter,
  /** Puts a quote before what a spreadsheet would take for a formula. */
  escapeFormulas: z.boolean().default(false),
});

export type Target = z.output<typeof target>;

const rejects = z.strictObject({
  file: path.refine((name) => /\.(ndjson|jsonl)$/i.test(name), { error: 'a name that ends with .ndjson or .jsonl' }),
  limit: z.int().min(1).max(1_000_000).default(1_000),
});

export type RejectSettings = z.output<typeof rejects>;

const scalar = z.union([z.string().max(10_000), z.number(), z.boolean()]);

const condition = z.discriminatedUnion('is', [
  z.strictObject({ field: fieldName, is: z.enum(['eq', 'ne']), value: scalar }),
  z.strictObject({ field: fieldName, is: z.enum(['lt', 'lte', 'gt', 'gte']), value: scalar }),
  z.strictObject({ field: fieldName, is: z.literal('in'), value: z.array(scalar).min(1).max(1_000) }),
  z.strictObject({ field: fieldName, is: z.literal('exists'), value: z.boolean().default(true) }),
]);

export type Condition = z.output<typeof condition>;

const where = z.array(condition).max(50).default([]);
const fields = z.array(fieldName).min(1).max(1_000).refine(areDistinct, { error: 'each field once' });

const transform = z.strictObject({
  operation: z.literal('transform'),
  from: source,
  to: target,
  rejects: rejects.optional(),
  /** Rows for which all of these hold. */
  where,
  /** The fields to keep, in this order; all unless told. */
  pick: fields.optional(),
  /** Names of fields to what they are called from now on. */
  rename: z.record(fieldName, fieldName).default({}),
});

const measure = z.discriminatedUnion('function', [
  z.strictObject({ function: z.literal('count'), field: fieldName.optional() }),
  z.strictObject({ function: z.enum(['sum', 'average', 'min', 'max']), field: fieldName }),
]);

export type Measure = z.output<typeof measure>;

const aggregate = z.strictObject({
  operation: z.literal('aggregate'),
  from: source,
  to: target,
  rejects: rejects.optional(),
  where,
  /** A row comes out for each combination of their values; one for all where there are none. */
  groupBy: z.array(fieldName).max(10).refine(areDistinct, { error: 'each field once' }).default([]),
  /** Names of fields of what comes out, to what they are computed from. */
  compute: z.record(fieldName, measure).refine(hasUpTo(20), { error: '1 to 20 fields' }),
});

const exporting = z.strictObject({
  operation: z.literal('export'),
  /** Of a file below `queries/`, without its `.sql`. */
  query: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,63}$/i, { error: 'the name of a file in queries/, without its .sql' }),
  /** For `$1` and on. */
  parameters: z.array(scalar.nullable()).max(100).default([]),
  to: target,
});

const importing = z.strictObject({
  operation: z.literal('import'),
  from: source,
  rejects: rejects.optional(),
  where,
  /** As DATA_IMPORT_TABLES names it. */
  table: z.string().min(1).max(200),
  /** Names of fields to columns, for those that are to be imported; all under their own names unless told. */
  columns: z.record(fieldName, fieldName).refine(hasUpTo(1_000), { error: '1 to 1000 fields' }).optional(),
});

export const payloadSchema = z
  .discriminatedUnion('operation', [transform, aggregate, exporting, importing])
  .superRefine((payload, context) => {
    const clash = clashOf(payload);
    if (clash) context.addIssue({ code: 'custom', ...clash });
  });

export type Payload = z.output<typeof payloadSchema>;
export type Operation<Name extends Payload['operation']> = Extract<Payload, { operation: Name }>;

/** What no field by itself can show. */
function clashOf(payload: Payload): { message: string; path: string[] } | null {
  const shared = sharedFile(payload);
  if (shared) return shared;
  if (payload.operation === 'transform' && payload.pick) {
    const names = payload.pick.map((name) => renamed(name, payload.rename));
    if (!areDistinct(names))
      return { message: 'names that differ from each other and from what is kept', path: ['rename'] };
  }
  if (payload.operation === 'aggregate' && payload.groupBy.some((name) => Object.hasOwn(payload.compute, name))) {
    return { message: 'other names than those of groupBy', path: ['compute'] };
  }
  if (payload.operation === 'import' && payload.columns && !areDistinct(Object.values(payload.columns))) {
    return { message: 'each column once', path: ['columns'] };
  }
  return null;
}

/** By their letters alone. A run may happen twice: the second one would read what the first made of its source. */
function sharedFile(payload: Payload): { message: string; path: string[] } | null {
  const from = 'from' in payload ? payload.from.file : undefined;
  const to = 'to' in payload ? payload.to.file : undefined;
  const aside = 'rejects' in payload ? payload.rejects?.file : undefined;
  if (to !== undefined && to === from) return { message: 'another file than that of from', path: ['to', 'file'] };
  if (aside === undefined || (aside !== from && aside !== to)) return null;
  return { message: `another file than that of ${aside === from ? 'from' : 'to'}`, path: ['rejects', 'file'] };
}

export function renamed(name: string, rename: Readonly<Record<string, string>>): string {
  return Object.hasOwn(rename, name) ? String(rename[name]) : name;
}

function areDistinct(names: readonly string[]): boolean {
  return new Set(names).size === names.length;
}

function hasUpTo(most: number) {
  return (given: object) => Object.keys(given).length >= 1 && Object.keys(given).length <= most;
}
