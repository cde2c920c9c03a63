import type { JobDefinition } from '../../jobs/define-job.js';
import { payloadSchemaOf } from '../../jobs/describe.js';

type Json = Record<string, unknown>;

/** The name of a job's payload among the document's schemas. */
export function payloadName(job: JobDefinition): string {
  return `Payload.${job.name}`;
}

/** What a job takes, as a schema of the document: references inside it are told from the document's root. */
export function payloadComponent(job: JobDefinition): Json {
  const { $schema: _dialect, ...schema } = payloadSchemaOf(job);
  return moved(schema, refTo(payloadName(job)));
}

/** Whether a run may come without a payload, which stands for `{}`. */
export function takesNothing(job: JobDefinition): boolean {
  try {
    return job.payload.safeParse({}).success;
  } catch {
    return false;
  }
}

export function refTo(name: string): string {
  return `#/components/schemas/${name}`;
}

const single = /^(items|contains|additionalProperties|propertyNames|not|if|then|else|unevaluated(Items|Properties))$/;
const lists = /^(allOf|anyOf|oneOf|prefixItems)$/;
const maps = /^(properties|patternProperties|dependentSchemas|\$defs)$/;

/** Looks only where schemas are: a payload may have a field, a default or an example that is called `$ref`. */
function moved(schema: unknown, root: string): Json {
  if (!isObject(schema)) return schema as never;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (key === '$ref' && typeof value === 'string') return [key, value.replace(/^#/, () => root)];
      if (single.test(key)) return [key, moved(value, root)];
      if (lists.test(key) && Array.isArray(value)) return [key, value.map((item) => moved(item, root))];
      if (maps.test(key) && isObject(value)) return [key, mapped(value, root)];
      return [key, value];
    }),
  );
}

function mapped(schemas: Json, root: string): Json {
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, moved(schema, root)]));
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
