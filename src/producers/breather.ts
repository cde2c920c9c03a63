/** For long reckonings: asked on the way, it lets the event loop have its turn every ten milliseconds. */
export function breather(): () => Promise<void> | undefined {
  let pauseAt = performance.now() + 10;
  return () => {
    if (performance.now() < pauseAt) return undefined;
    return new Promise<void>((resolve) => {
      setImmediate(() => {
        pauseAt = performance.now() + 10;
        resolve();
      });
    });
  };
}
