/** Asks once for each key. Answers are kept for `most` keys, and none of them is undefined. */
export function memo<Key, Answer>(ask: (key: Key) => Answer, most = 10_000): (key: Key) => Answer {
  const answers = new Map<Key, Answer>();
  return (key) => {
    const known = answers.get(key);
    if (known !== undefined) return known;
    if (answers.size >= most) answers.clear();
    const answer = ask(key);
    answers.set(key, answer);
    return answer;
  };
}
