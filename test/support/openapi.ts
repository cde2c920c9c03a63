import type { Express, Router } from 'express';
import { z } from 'zod';

// biome-ignore lint/suspicious/noExplicitAny: a document is JSON of many shapes, and the tests ask it for all of them
export type Json = any;

/** An operation of a document, references followed as far as its own parts. */
export interface Described {
  readonly name: string;
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly query: readonly string[];
  /** The schema of its body, where it takes one. */
  readonly body: Json | null;
  readonly statuses: readonly number[];
  /** Whether a key is wanted. */
  readonly keyed: boolean;
  readonly scope: string | null;
  /** What is wrong with an answer by the document; null where nothing is. */
  faultOf(status: number, type: string, body: unknown): string | null;
}

/** The operations of a document, each with a judge of its answers. */
export function operationsOf(document: Json): Described[] {
  const judge = createJudge(document);
  return Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      id: operation.operationId,
      method: method.toUpperCase(),
      path,
      query: (operation.parameters ?? []).filter((it: Json) => it.in === 'query').map((it: Json) => it.name),
      body: operation.requestBody?.content['application/json'].schema ?? null,
      statuses: Object.keys(operation.responses).map(Number),
      keyed: operation.security === undefined,
      scope: /scope `(\w+)`/.exec(operation.description)?.[1] ?? null,
      faultOf: (status, type, body) => judge(operation.responses[status], type, body),
    })),
  );
}

function createJudge(document: Json) {
  const schemas = closedSchemas(document);
  const readers = new Map<string, z.ZodType>();
  const readerOf = (schema: Json) => {
    const text = JSON.stringify(schema);
    const reader = readers.get(text) ?? z.fromJSONSchema(asStandalone(schema, schemas));
    readers.set(text, reader);
    return reader;
  };
  return (given: Json, type: string, body: unknown): string | null => {
    if (!given) return 'a status that is not told';
    const { content = {} } = given.$ref ? at(document, given.$ref) : given;
    const [told, { schema }] = Object.entries<Json>(content)[0] ?? [null, {}];
    if (told === null) return null;
    if (!type.startsWith(told)) return `${type}, where ${told} is told`;
    return told.includes('json') ? (readerOf(schema).safeParse(body).error?.message ?? null) : null;
  };
}

/** What is called `$ref` anywhere in the document, and leads nowhere. */
export function danglingRefs(document: Json): string[] {
  const refs: string[] = [];
  const walk = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, item] of Object.entries(value)) {
      if (key === '$ref' && typeof item === 'string') refs.push(item);
      else walk(item);
    }
  };
  walk(document);
  return refs.filter((ref) => !ref.startsWith('#/') || at(document, ref) === undefined);
}

/** The fields that a schema of the document names, through its references. */
export function fieldsOf(document: Json, schema: Json): string[] {
  const { $ref, properties = {}, allOf = [], oneOf = [] } = schema;
  const within = [...($ref ? [at(document, $ref)] : []), ...allOf, ...oneOf];
  return [...new Set([...Object.keys(properties), ...within.flatMap((part) => fieldsOf(document, part))])];
}

/** The routes of an app as Express will follow them: `GET /v1/jobs/{job}`. */
export function routesOf(app: Express): string[] {
  return routesIn(app.router.stack as unknown as readonly Layer[], '');
}

interface Layer {
  readonly slash: boolean;
  readonly route?: { readonly path: string | RegExp; readonly methods: Record<string, boolean> };
  readonly handle: Partial<Router> & { readonly stack?: readonly Layer[] };
  match(path: string): { readonly path: string } | false;
}

function routesIn(stack: readonly Layer[], prefix: string): string[] {
  return stack.flatMap((layer) => {
    const { route, handle } = layer;
    if (route) {
      const path = (prefix + String(route.path)).replaceAll(/:(\w+)/g, '{$1}');
      return Object.keys(route.methods).map((method) => `${method.toUpperCase()} ${path}`);
    }
    return handle.stack ? routesIn(handle.stack, prefix + prefixOf(layer)) : [];
  });
}

/** Express keeps no text of where a router hangs: it can be asked alone. */
function prefixOf(layer: Layer): string {
  if (layer.slash) return '';
  const found = ['/v1', '/workers', '/board', '/board/api'].find(
    (path) => (layer.match(`${path}/x`) || null)?.path === path,
  );
  if (found === undefined) throw new Error('a router hangs where this test does not know');
  return found;
}

function at(document: Json, ref: string): Json {
  const path = ref.slice(2).split('/');
  return path.reduce((value, key) => value?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document);
}

/** The document's schemas, none of which takes a field that it does not name: what is answered must all be told. */
function closedSchemas(document: Json): Json {
  return Object.fromEntries(
    Object.entries(document.components.schemas).map(([name, schema]) => [
      name,
      name.includes('.') ? {} : close(schema),
    ]),
  );
}

function close(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(close);
  if (typeof schema !== 'object' || schema === null) return schema;
  const parts = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, close(value)]));
  return schema.type === 'object' && schema.properties ? { additionalProperties: false, ...parts } : parts;
}

function asStandalone(schema: Json, schemas: Json): Json {
  const text = JSON.stringify({ ...schema, $defs: schemas });
  return JSON.parse(text.replaceAll('"#/components/schemas/', '"#/$defs/'));
}
