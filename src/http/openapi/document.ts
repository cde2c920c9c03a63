import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type ErrorCode, errorTable } from '../../errors.js';
import type { JobDefinition } from '../../jobs/define-job.js';
import { auditOperations } from './audit.js';
import { backfillOperations } from './backfills.js';
import { doctorOperations } from './doctor.js';
import { jobOperations } from './jobs.js';
import { errorsOf, type Operation } from './operation.js';
import { payloadComponent, payloadName, refTo, takesNothing } from './payloads.js';
import { planOperations } from './plan.js';
import { runOperations } from './runs.js';
import { putBody, scheduleOperations } from './schedules.js';
import { serviceOperations } from './service.js';
import * as views from './views.js';
import { processView, workerOperations } from './workers.js';

type Json = Record<string, unknown>;

/** What the API can be asked, in the order in which it is read. */
export const operations: readonly Operation[] = [
  ...jobOperations,
  ...runOperations,
  ...scheduleOperations,
  ...backfillOperations,
  ...workerOperations,
  ...planOperations,
  ...doctorOperations,
  ...auditOperations,
  ...serviceOperations,
];

/**
 * The API as OpenAPI 3.1, from the schemas that validate. Each job has paths of its own beside those with `{job}`, so
 * that its payload stands there.
 */
export function createDocument(jobs: readonly JobDefinition[]): Json {
  const { names, schemas } = componentsOf(jobs);
  const paths: Record<string, Json> = {};
  const add = (path: string, method: string, described: Json) => {
    paths[path] = { ...paths[path], [method]: described };
  };
  for (const operation of operations) {
    const described = describe(operation, names);
    add(operation.path, operation.method, described);
    if (!operation.body?.payloadAt) continue;
    const ref = { $ref: refTo(String(names.get(operation.body.schema))) };
    for (const job of jobs) {
      const own = { ...described, ...differenceFor(job, operation, ref) };
      add(operation.path.replace('{job}', job.name), operation.method, own);
    }
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Rondo',
      version: versionOfProgram(),
      description:
        'Recurring work: jobs, their runs and their schedules. Errors are problem details (RFC 9457), each with a ' +
        '`code`. Where a request may succeed later, `Retry-After` says when; where requests are limited, `RateLimit` and ' +
        '`RateLimit-Policy` say how many are left. What is too long for a header or an address Node.js answers with ' +
        '431 and no body.',
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, { basic: [] }, { session: [] }],
    tags: ['Jobs', 'Runs', 'Enqueue by job', 'Schedules', 'Service'].map((name) => ({ name })),
    paths,
    components: {
      schemas: { ...schemas, ...Object.fromEntries(jobs.map((job) => [payloadName(job), payloadComponent(job)])) },
      responses: { ...problemResponses(), ...otherResponses },
      securitySchemes,
    },
  };
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'A key' },
  basic: { type: 'http', scheme: 'basic', description: 'Any name, and a key as the password' },
  session: { type: 'apiKey', in: 'cookie', name: 'rondo_session', description: 'Of a browser that has signed in' },
};

const problem = z.object({
  type: z.string().describe('`urn:rondo:problem:<code>`'),
  title: z.string(),
  status: z.int(),
  code: z.enum([...new Set(operations.flatMap(errorsOf))]),
  detail: z.string().optional(),
  problems: z
    .array(z.object({ where: z.string(), expected: z.string(), got: z.string() }))
    .optional()
    .describe('Each thing that was wrong'),
});

/** Schemas that several operations share, by name; each operation adds what it alone takes and answers. */
const shared = {
  Problem: problem,
  Run: views.runView,
  RunDetails: views.runDetails,
  RunAddress: views.runAddress,
  Job: views.jobView,
  JobPause: views.jobPause,
  Timing: views.timingView,
  Schedule: views.scheduleView,
  ScheduleDetails: views.scheduleDetails,
  Tick: views.tickView,
  Preview: views.previewView,
  AuditEntry: views.auditEntry,
  Process: processView,
  Backfill: views.backfillView,
  BackfillPlan: views.backfillPlan,
};

function componentsOf(jobs: readonly JobDefinition[]) {
  const names = new Map<z.ZodType, string>(Object.entries(shared).map(([name, schema]) => [schema, name]));
  for (const { id, body, answers } of operations) {
    const own = id.charAt(0).toUpperCase() + id.slice(1);
    if (body && !names.has(body.schema)) names.set(body.schema, `${own}Body`);
    for (const [status, { schema }] of Object.entries(answers)) {
      if (schema && !names.has(schema)) names.set(schema, `${own}${status}`);
    }
  }
  const registry = z.registry<{ id: string }>();
  for (const [schema, id] of names) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, { ...jsonSchema, uri: refTo });
  const put = String(names.get(putBody));
  const found = Object.entries(schemas).map(([name, { $schema: _dialect, $id: _address, ...schema }]) => {
    return [name, name === put ? withPayloads(schema, jobs) : schema];
  });
  return { names, schemas: Object.fromEntries(found) as Record<string, Json> };
}

const jsonSchema = {
  target: 'draft-2020-12',
  io: 'input',
  unrepresentable: 'any',
  // The format says it, and no reader wants the expression.
  override: ({ jsonSchema }: { jsonSchema: { format?: string; pattern?: string } }) => {
    if (jsonSchema.format?.startsWith('date')) delete jsonSchema.pattern;
  },
} as const;

/** Which payload a schedule has depends on its job. */
function withPayloads(body: Json, jobs: readonly JobDefinition[]): Json {
  const ofJob = jobs.map((job) => ({
    title: job.name,
    type: 'object',
    properties: { job: { const: job.name }, payload: { $ref: refTo(payloadName(job)) } },
    required: takesNothing(job) ? ['job'] : ['job', 'payload'],
  }));
  const kinds = ['cron', 'every', 'at'].map((kind) => ({ title: kind, required: [kind] }));
  return { ...body, allOf: [{ oneOf: kinds }, ...(ofJob.length > 0 ? [{ oneOf: ofJob }] : [])] };
}

function describe(operation: Operation, names: ReadonlyMap<z.ZodType, string>): Json {
  const { id, tag, summary, description, scope, body } = operation;
  const parameters = parametersOf(operation);
  return {
    operationId: id,
    tags: [tag],
    summary,
    description: inSentences(description, scopeWanted(scope)),
    ...(scope === null && { security: [] }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: bodyOf(body.required, { $ref: refTo(String(names.get(body.schema))) }) }),
    responses: responsesOf(operation, names),
  };
}

/** What is told of one job's own path: its payload in the place of any. */
function differenceFor(job: JobDefinition, operation: Operation, ref: Json): Json {
  const { id, path, summary, description, scope, body } = operation;
  const required = !takesNothing(job);
  const run = {
    type: 'object',
    properties: { payload: { $ref: refTo(payloadName(job)) } },
    ...(required && { required: ['payload'] }),
  };
  const runs = { type: 'object', properties: { runs: { type: 'array', items: run } } };
  return {
    operationId: `${id}.${job.name}`,
    tags: ['Enqueue by job'],
    summary: `${summary}: ${job.name}`,
    description: inSentences(job.description && `${job.description}.`, description, scopeWanted(scope)),
    parameters: parametersOf({ ...operation, path: path.replace('{job}', job.name) }),
    requestBody: bodyOf(required || body?.required === true, {
      allOf: [ref, body?.payloadAt === 'payload' ? run : runs],
    }),
  };
}

function scopeWanted(scope: Operation['scope']): string | null {
  return scope && `Wants a key with the scope \`${scope}\`.`;
}

function inSentences(...parts: readonly (string | null | undefined)[]): string {
  return parts.filter(Boolean).join(' ');
}

function bodyOf(required: boolean, schema: Json): Json {
  return { required, content: { 'application/json': { schema } } };
}

function parametersOf({ path, query, headers }: Operation): Json[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    ...{ name, in: 'path', required: true },
    schema: { type: 'string', ...(name === 'id' && path.includes('/runs/') ? {} : { pattern: namePattern }) },
  }));
  return [...inPath, ...fieldsOf(query, 'query'), ...fieldsOf(headers, 'header')];
}

const namePattern = '^[a-z0-9][a-z0-9-]{0,63}$';

function fieldsOf(schema: z.ZodObject | undefined, place: 'query' | 'header'): Json[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(schema, jsonSchema);
  return Object.entries(properties).map(([name, field]) => {
    const { description, ...rest } = field as Json;
    return {
      name,
      in: place,
      required: required.includes(name),
      ...(description ? { description } : {}),
      schema: rest,
    };
  });
}

function responsesOf(operation: Operation, names: ReadonlyMap<z.ZodType, string>): Json {
  const responses: Record<number, Json> = {};
  for (const [status, { description, schema, type = 'application/json', headers = {} }] of Object.entries(
    operation.answers,
  )) {
    const said = Object.entries(headers).map(([name, what]) => [
      name,
      { description: what, schema: { type: 'string' } },
    ]);
    responses[Number(status)] = {
      description,
      ...(said.length > 0 && { headers: Object.fromEntries(said) }),
      ...(schema && { content: { [type]: { schema: { $ref: refTo(String(names.get(schema))) } } } }),
    };
  }
  for (const [status, codes] of byStatus(errorsOf(operation))) {
    responses[status] = { $ref: `#/components/responses/${responseName(codes)}` };
  }
  if (operation.scope !== null && operation.method === 'get') {
    responses[303] = { $ref: '#/components/responses/SignIn' };
  }
  responses[431] = { $ref: '#/components/responses/TooLong' };
  return responses;
}

const otherResponses = {
  SignIn: {
    description: 'A browser without a key, which accepts text/html, is sent to the sign-in page',
    headers: { Location: { schema: { type: 'string' } } },
  },
  TooLong: { description: 'The address or the headers are too long' },
};

/** One for each set of codes that some operation answers with one status. */
function problemResponses(): Record<string, Json> {
  const found = operations.flatMap((operation) => byStatus(errorsOf(operation)));
  return Object.fromEntries(found.map(([status, codes]) => [responseName(codes), problemResponse(status, codes)]));
}

function problemResponse(status: number, codes: readonly ErrorCode[]): Json {
  const code = codes.length === 1 ? { const: codes[0] } : { enum: codes };
  const own = { type: 'object', properties: { status: { const: status }, code } };
  const retryable = codes.some((name) => errorTable[name].retryable);
  return {
    description: codes.map((name) => `\`${name}\`: ${errorTable[name].message}`).join('. '),
    ...(retryable && { headers: { 'Retry-After': { description: 'Seconds', schema: { type: 'string' } } } }),
    content: { 'application/problem+json': { schema: { allOf: [{ $ref: refTo('Problem') }, own] } } },
  };
}

function responseName(codes: readonly ErrorCode[]): string {
  return codes.join('.');
}

function byStatus(codes: readonly ErrorCode[]): [number, ErrorCode[]][] {
  const found = new Map<number, ErrorCode[]>();
  for (const code of codes) {
    const { status } = errorTable[code];
    found.set(status, [...(found.get(status) ?? []), code]);
  }
  return [...found];
}

function versionOfProgram(): string {
  return JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')).version;
}
