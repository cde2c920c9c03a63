import type { z } from 'zod';

export function commaSeparated(text: string): string[] {
  return text.split(',').flatMap((entry) => entry.trim() || []);
}

export function readConcurrency(text: string, context: z.RefinementCtx): Map<string, number> {
  const given = new Map<string, number>();
  for (const entry of commaSeparated(text)) {
    const [, job = '', count = ''] = /^([a-z0-9-]+|\*)=(\d{1,5})$/.exec(entry) ?? [];
    if (Number(count) < 1 || Number(count) > 10_000 || given.has(job)) {
      context.addIssue({
        code: 'custom',
        message: 'job=count pairs such as "send-email=10,*=5", counts from 1 to 10000',
      });
    }
    given.set(job, Number(count));
  }
  return given;
}
