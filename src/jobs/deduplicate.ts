/**
 * One run in place of many that have the same key. `throttle`: the first wins, for `ttl`, or until it has ended where
 * there is none. `debounce`: the last wins; it starts when none came for `ttl`.
 */
export type Deduplicate =
  | { readonly key: string; readonly mode: 'throttle'; readonly ttl?: number }
  | { readonly key: string; readonly mode: 'debounce'; readonly ttl: number };

export const deduplicationKey = /^[^\p{C}]{1,200}$/u;
export const deduplicationKeyWords = '1 to 200 characters, none of them a control character';
