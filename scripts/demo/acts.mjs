/** The tour, in its order: what is due by a schedule is triggered as an operator would, the rest enqueued as a service would. */
export function acts(client, target) {
  const trigger = (job, title = job) => ({ title, job, begin: () => client.schedules.trigger(job) });
  const enqueue = (job, payload, title = job) => ({
    ...{ title, job },
    begin: () => client.enqueue(job, payload, { attempts: 1 }),
  });
  const onData = (payload) => enqueue('process-data', payload, `process-data ${payload.operation}`);
  return [
    trigger('heartbeat'),
    enqueue('ping', { bytes: 4 }),
    enqueue('http-request', { url: target, method: 'POST', body: { hello: 'from the demo' } }),
    enqueue('send-email', {
      to: 'ann@example.com',
      template: 'message',
      variables: { subject: 'Greetings from the demo', text: 'This went no further than the demo itself.' },
    }),
    onData({
      operation: 'transform',
      from: { file: 'in/orders.csv' },
      to: { file: 'out/large.ndjson' },
      where: [{ field: 'total', is: 'gte', value: 100 }],
      pick: ['id', 'total'],
    }),
    onData({
      operation: 'aggregate',
      from: { file: 'in/orders.csv' },
      to: { file: 'out/by-country.csv' },
      groupBy: ['country'],
      compute: { orders: { function: 'count' }, revenue: { function: 'sum', field: 'total' } },
    }),
    onData({
      operation: 'import',
      from: { file: 'in/orders.csv' },
      table: 'orders',
      rejects: { file: 'out/orders.bad.ndjson' },
    }),
    onData({ operation: 'export', query: 'orders-above', parameters: [100], to: { file: 'out/above.csv.gz' } }),
    trigger('monthly-credit-top-up'),
    trigger('stale-purchase-cleanup'),
    trigger('sync-tokens'),
    trigger('sync-tokens', 'sync-tokens once more'),
    trigger('sweep-retention'),
    trigger('memory-report'),
  ];
}
