"use strict";

/** What NumPy's RandomState(seed).randn(count) gives, in 32 bit: MT19937 and the polar method of normal numbers. */
function randn(seed, count) {
  const key = new Uint32Array(624).fill(seed);
  for (let i = 1; i < 624; i++) key[i] = Math.imul(1812433253, key[i - 1] ^ (key[i - 1] >>> 30)) + i;
  let next = 624;

  function word() {
    if (next === 624) {
      for (let i = 0; i < 624; i++) {
        const bits = (key[i] & 0x80000000) | (key[(i + 1) % 624] & 0x7fffffff);
        key[i] = key[(i + 397) % 624] ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
      }
      next = 0;
    }
    let bits = key[next++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return bits ^ (bits >>> 18);
  }

  const uniform = () => (((word() >>> 5) * 67108864 + (word() >>> 6)) / 2 ** 53) * 2 - 1; // of 53 random bits
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    let x, y, square;
    do {
      x = uniform();
      y = uniform();
      square = x * x + y * y;
    } while (square >= 1 || square === 0);
    const scale = Math.sqrt((-2 * Math.log(square)) / square);
    values[i] = scale * y; // the second one first, as NumPy has it
    values[i + 1] = scale * x;
  }
  return values;
}
