import { defineJob } from 'rondo';
import { z } from 'zod';

/** What a worker of another process runs: `RONDO_JOBS` names this module there. */
const jobs = [
  defineJob({
    name: 'send-receipt',
    description: 'Mails a customer the receipt of an order',
    payload: z.object({ order: z.string().min(1), to: z.email(), copies: z.int().min(1).default(1) }),
    run: async ({ payload, log }) => {
      log.info(`mailing the receipt of ${payload.order}`);
      return { mailed: payload.copies };
    },
  }),
];

export default jobs;
