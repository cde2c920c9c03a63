export function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

/** An http or https URL that says nothing of who asks. */
export function isPlainHttpUrl(text: string): boolean {
  return isHttpUrl(text) && !new URL(text).username && !new URL(text).password;
}

export function isDecodable(text: string): boolean {
  try {
    return decodeURIComponent(text) !== '';
  } catch {
    return false;
  }
}

/** What is no address at all might be a password, pasted: it is not shown either. */
export function withoutPassword(address: string): string {
  const [, scheme, rest = ''] = /^([a-z+]+:\/\/)(.*)$/i.exec(address) ?? [];
  if (!scheme) return '(not shown)';
  // Either the password or the query holds what usually ends the other.
  if (/[?#].*@/.test(rest)) return `${scheme}***`;
  return scheme + rest.replace(/^.*@/, '***@').replace(/([?#]).*$/, '$1***');
}
