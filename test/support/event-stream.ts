/** One event of a stream of server-sent events, as it came. */
export interface SentEvent {
  readonly event: string | undefined;
  readonly id: string | undefined;
  readonly data: string | undefined;
}

/** The events of an answer, one by one, until it ends. */
export async function* sentEvents(response: Response): AsyncGenerator<SentEvent> {
  let text = '';
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const blocks = (text + chunk).split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const [event, id, data] = ['event', 'id', 'data'].map(
        (name) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1],
      );
      yield { event, id, data };
    }
  }
}
