import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { payloadComponent, takesNothing } from '../../src/http/openapi/payloads.js';
import { defineJob } from '../../src/jobs/define-job.js';

const componentOf = (payload: z.ZodType) => payloadComponent(defineJob({ name: 'tree', payload, run: () => null }));

describe("a job's payload in the API's document", () => {
  const node = z.object({
    text: z.string(),
    get children() {
      return z.array(node).optional();
    },
  });
  const root = '#/components/schemas/Payload.tree';

  it('refers to itself by where it stands there', () => {
    expect(componentOf(node)).toMatchObject({ properties: { children: { items: { $ref: root } } } });
  });

  it('refers to its parts by where these stand there', () => {
    const { $defs, properties } = componentOf(z.object({ left: node, right: z.union([node, z.null()]) }));
    const [name] = Object.keys($defs as object);
    const ref = { $ref: `${root}/$defs/${name}` };
    expect(properties).toEqual({ left: ref, right: { anyOf: [ref, { type: 'null' }] } });
    expect($defs).toMatchObject({ [String(name)]: { properties: { children: { items: ref } } } });
  });

  it('keeps a field, a default and a constant that are called as a reference', () => {
    const found = componentOf(
      z.object({
        $ref: z.literal('#/nowhere'),
        properties: z.object({ $ref: z.string() }).default({ $ref: '#/nowhere' }),
      }),
    );
    expect(found.properties).toEqual({
      $ref: { type: 'string', const: '#/nowhere' },
      properties: expect.objectContaining({ properties: { $ref: { type: 'string' } }, default: { $ref: '#/nowhere' } }),
    });
  });

  it.each([
    [z.object({}), true],
    [z.object({ to: z.string().optional() }), true],
    [z.object({ to: z.string() }), false],
    [z.string(), false],
    [z.any(), true],
  ])('may be left out where {} does: %#', (payload, may) => {
    expect(takesNothing(defineJob({ name: 'tree', payload, run: () => null }))).toBe(may);
  });
});
