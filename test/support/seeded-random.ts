/** mulberry32: small, and good enough to choose victims. The seed is printed, since it repeats the choices. */
export function seededRandom(): () => number {
  const seed = Number(process.env.CHAOS_SEED) || Date.now() % 2 ** 31;
  console.log(`CHAOS_SEED=${seed} repeats the choices of this run`);
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
