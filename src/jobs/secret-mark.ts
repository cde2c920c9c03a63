import { z } from 'zod';
import { show } from '../problems.js';

/** In a schema's own definition: what is made of the schema (`.min(8)`, `.optional()`) keeps it, as metadata would not. */
const mark = Symbol.for('rondo.secret');

/**
 * Marks a part of a payload's schema as secret, wherever it stands: as if `secret` of the job named its path. The
 * handler alone sees what it reads.
 *
 * @throws TypeError for what is no zod schema
 */
export function secret<Schema extends z.ZodType>(schema: Schema): Schema {
  if (typeof schema !== 'object' || schema === null || !('_zod' in schema)) {
    throw new TypeError(`secret(): expected a zod schema; got ${show(schema)}`);
  }
  const { def } = schema._zod;
  const marked = Object.defineProperties({ [mark]: true }, Object.getOwnPropertyDescriptors(def)) as unknown;
  return z.core.clone(schema, marked as typeof def, { parent: true });
}

/**
 * The paths at which a schema is marked. What no path can name is hidden with what it lies in: a key of a record, a
 * field with a dot in its name, what refers to itself. A part may be named before it is there, in a `z.lazy` or a
 * getter: then nobody knows, and `failure` says why.
 */
export function readMarks(payload: z.ZodType): { readonly marked: readonly string[]; readonly failure: string | null } {
  try {
    return { marked: [...new Set(marksAt(payload, [], []))], failure: null };
  } catch (error) {
    return { marked: [], failure: String(error) };
  }
}

function marksAt(schema: z.ZodType, path: readonly string[], above: readonly z.ZodType[]): string[] {
  const isOver = above.includes(schema) || path.length >= deepest;
  if (isMarked(schema) || (isOver && holdsMark(schema))) return [pathTo(path)];
  return isOver ? [] : partsOf(schema).flatMap((part) => marksOf(part, path, [...above, schema]));
}

function marksOf({ name, schema }: Part, path: readonly string[], above: readonly z.ZodType[]): string[] {
  if (name === null) return marksAt(schema, path, above);
  const isNameable = name !== '' && name.length <= longest && !name.includes('.');
  if (isNameable) return marksAt(schema, [...path, name], above);
  return holdsMark(schema) ? [pathTo(path)] : [];
}

/** As far as `secret` of a job goes. */
const deepest = 20;
const longest = 100;

/** All that a payload has stands for the payload itself. */
const pathTo = (path: readonly string[]) => path.join('.') || '*';

const isMarked = (schema: z.ZodType) => mark in schema._zod.def;

function holdsMark(schema: z.ZodType, seen = new Set<z.ZodType>()): boolean {
  if (seen.has(schema)) return false;
  seen.add(schema);
  return isMarked(schema) || partsOf(schema).some((part) => holdsMark(part.schema, seen));
}

interface Part {
  /** Under which it lies in the value; null where it reads the same value. */
  readonly name: string | null;
  readonly schema: z.ZodType;
}

/** What every kind of schema may have in its definition, as far as others lie in it. */
interface Definition {
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly catchall?: z.ZodType;
  readonly element?: z.ZodType;
  readonly items?: readonly z.ZodType[];
  readonly rest?: z.ZodType | null;
  readonly keyType?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly left?: z.ZodType;
  readonly right?: z.ZodType;
  readonly in?: z.ZodType;
  readonly out?: z.ZodType;
  readonly innerType?: z.ZodType;
  readonly getter?: () => z.ZodType;
}

function partsOf(schema: z.ZodType): Part[] {
  const def = schema._zod.def as Definition;
  const named = (name: string | null, ...schemas: readonly (z.ZodType | null | undefined)[]) =>
    schemas.flatMap((inner): Part[] => (inner ? [{ name, schema: inner }] : []));
  return [
    ...Object.entries(def.shape ?? {}).flatMap(([name, inner]) => named(name, inner)),
    ...(def.items ?? []).flatMap((inner, index) => named(String(index), inner)),
    ...named('*', def.catchall, def.element, def.rest, def.valueType),
    ...named(null, def.keyType, def.left, def.right, def.in, def.out, def.innerType, def.getter?.()),
    ...named(null, ...(def.options ?? [])),
  ];
}
