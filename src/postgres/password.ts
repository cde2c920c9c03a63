/** The error as it was, with `***` wherever it quotes the password of an address. */
export function withoutPassword(url: string, error: unknown): unknown {
  const secrets = secretsIn(url);
  if (!(error instanceof Error) || secrets.length === 0) return error;
  const hide = (text: string) => secrets.reduce((hidden, secret) => hidden.replaceAll(secret, '***'), text);
  for (const field of ['message', 'stack', 'detail', 'hint', 'where'] as const) {
    const said: unknown = Reflect.get(error, field);
    if (typeof said === 'string') Object.assign(error, { [field]: hide(said) });
  }
  return error;
}

function secretsIn(url: string): string[] {
  const written = [/^\w+:\/\/[^:@/]*:([^@/]*)@/.exec(url)?.[1], /[?&]password=([^&#]*)/.exec(url)?.[1]];
  return written.flatMap((secret) => (secret ? [secret, decoded(secret)] : []));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
