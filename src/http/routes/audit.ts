import { Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { type AuditCursor, readAudit } from '../../producers/audit.js';
import { requires } from '../guard.js';
import { read, refuseReversed } from '../request.js';
import { withinLongMs } from '../within.js';

/** Who changed what. */
export function auditRoutes(broker: Broker): Router {
  const routes = Router();
  routes.get('/audit', requires('admin'), async (request, response) => {
    const query = read(auditQuery, request.query);
    const { entries, next } = await withinLongMs(broker, auditMs, () => readAudit(broker, query));
    response.json({ entries, next: next && `${next.id}.${next.stream}` });
  });
  return routes;
}

/** Ten thousand entries are looked through for those of one key. */
const auditMs = 5_000;

const momentSchema = z.iso
  .datetime({ offset: true, error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' })
  .transform((text) => Date.parse(text))
  .optional();

const auditFields = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  cursor: z
    .string()
    .transform((text, context): AuditCursor => {
      const [, id, stream] = /^(\d{1,15}-\d{1,15})\.(changes|refusals)$/.exec(text) ?? [];
      if (id && stream) return { id, stream: stream as AuditCursor['stream'] };
      context.addIssue({ code: 'custom', message: 'what an earlier page answered as next' });
      return z.NEVER;
    })
    .optional(),
  from: momentSchema,
  to: momentSchema,
  who: z.string().max(200).optional(),
});

export const auditQuery = auditFields.superRefine(refuseReversed);
