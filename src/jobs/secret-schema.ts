import { z } from 'zod';
import { nearest } from '../problems.js';
import type { SecretPaths } from './secrets.js';

type Schema = Record<string, unknown>;

/** JSON Schema of a payload as a caller must send it, without the defaults and examples of what is secret. */
export function inputSchemaOf(payload: z.ZodType, secret: SecretPaths = []): Schema {
  const schema = z.toJSONSchema(payload, { io: 'input', unrepresentable: 'any' }) as Schema;
  for (const path of secret) {
    for (const place of placesAt(schema, schema, path.split('.'))) hideIn(place);
    // A default or an example of what it lies in shows it too.
    for (const above of ancestorsOf(schema, path.split('.'))) forgetExamples(above);
  }
  return schema;
}

/** The secrets that a schema has no field for, where that can be known, and what was expected of each. */
export function unknownSecrets(payload: z.ZodType, secret: SecretPaths): { index: number; expected: string }[] {
  if (secret.length === 0) return [];
  const schema = z.toJSONSchema(payload, { io: 'input', unrepresentable: 'any' }) as Schema;
  return secret.flatMap((path, index) => {
    const names = path.split('.');
    // What is no path at all has its own complaint.
    if (names.includes('') || placesAt(schema, schema, names).length > 0) return [];
    const known = names.map((_, depth) => placesAt(schema, schema, names.slice(0, depth)).flatMap(namesIn));
    const depth = known.findIndex((there, at) => !there.includes(names[at] ?? ''));
    const near = nearest(names[depth] ?? '', known[depth] ?? []);
    const hint = near ? ` (did you mean "${[...names.slice(0, depth), near].join('.')}"?)` : '';
    return [{ index, expected: `a field of the payload${hint}` }];
  });
}

const keywords = ['anyOf', 'oneOf', 'allOf'] as const;

/** The parts of a schema that tell of a path; where anything may stand, that part. */
function placesAt(root: Schema, schema: unknown, path: readonly string[], seen = 0): Schema[] {
  if (typeof schema !== 'object' || schema === null || seen > 50) return [];
  const node = schema as Schema;
  if (typeof node.$ref === 'string') return placesAt(root, resolve(root, node.$ref), path, seen + 1);
  const branches = keywords.flatMap((keyword) => (Array.isArray(node[keyword]) ? (node[keyword] as unknown[]) : []));
  if (branches.length > 0) return branches.flatMap((branch) => placesAt(root, branch, path, seen + 1));
  const [name, ...rest] = path;
  if (name === undefined || saysNothing(node)) return [node];
  return innerOf(node, name).flatMap((inner) => (inner === true ? [node] : placesAt(root, inner, rest, seen + 1)));
}

function innerOf({ properties, additionalProperties, prefixItems, items }: Schema, name: string): unknown[] {
  if (prefixItems !== undefined || items !== undefined) {
    return name === '*' ? [...(Array.isArray(prefixItems) ? prefixItems : []), items] : [];
  }
  const named = (properties ?? {}) as Record<string, unknown>;
  if (name === '*') return [...Object.values(named), additionalProperties].filter((inner) => inner !== undefined);
  return [Object.hasOwn(named, name) ? named[name] : additionalProperties];
}

function saysNothing(node: Schema): boolean {
  return !['type', 'properties', 'items', 'prefixItems', 'const', 'enum', 'not'].some((keyword) => keyword in node);
}

function resolve(root: Schema, reference: string): unknown {
  const names = reference.split('/').slice(1);
  return names.reduce<unknown>((node, name) => (node as Schema | undefined)?.[name], root);
}

function namesIn({ properties }: Schema): string[] {
  return Object.keys((properties ?? {}) as object);
}

function hideIn(node: Schema): void {
  forgetExamples(node);
  delete node.const;
  delete node.enum;
  node.writeOnly = true;
}

function forgetExamples(node: Schema): void {
  delete node.default;
  delete node.examples;
}

function ancestorsOf(root: Schema, path: readonly string[]): Schema[] {
  return path.flatMap((_, depth) => [root, ...placesAt(root, root, path.slice(0, depth))]);
}
