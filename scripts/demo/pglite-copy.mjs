/**
 * PGlite reads all of a `COPY … FROM STDIN` from one call, and takes what comes in parts for a client that is gone. So the
 * client is told here to go ahead, and what it sends is kept until its end.
 */
export function takeCopies(db) {
  const pass = db.execProtocolRawStream.bind(db);
  let kept = null;
  db.execProtocolRawStream = async (message, { onRawData }) => {
    if (!kept && !isCopyFromStdin(message)) return pass(message, { onRawData });
    if (!kept) {
      kept = [message];
      return onRawData(goAhead);
    }
    kept.push(message);
    if (!endsCopy(message)) return;
    const copy = new Uint8Array(Buffer.concat(kept));
    kept = null;
    await pass(copy, { onRawData: (answer) => onRawData(withoutGoAhead(answer)) });
  };
}

const typeOf = (message) => String.fromCharCode(message[0]);
const endsCopy = (message) => ['c', 'f'].includes(typeOf(message));

function isCopyFromStdin(message) {
  return typeOf(message) === 'Q' && /^copy\s.*\sfrom\s+stdin\b/is.test(Buffer.from(message).toString('utf8', 5));
}

/** CopyInResponse: text, of no columns that anybody would ask for (https://www.postgresql.org/docs/current/protocol-message-formats.html). */
const goAhead = Uint8Array.from([0x47, 0, 0, 0, 7, 0, 0, 0]);

/** Postgres says it too, before all else. */
function withoutGoAhead(answer) {
  if (typeOf(answer) !== 'G') return answer;
  return answer.subarray(1 + Buffer.from(answer).readInt32BE(1));
}
