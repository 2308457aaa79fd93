/**
 * The 128-bit FNV-1a hash, by which kubelets tell one version of a static pod from another.
 * Layer: kubelet/static (pure). Not a cryptographic hash: it protects nothing.
 * Constants: draft-eastlake-fnv; the prime is 2^88 + 0x13b, so a multiplication is one by 0x13b and one shift.
 */
const offsetBasis = [0x6295c58d, 0x62b82175, 0x07bb0142, 0x6c62272e] as const;
const primeLow = 0x13b;

/** The hash of a text's UTF-8 bytes, as 32 lower-case hexadecimal digits. */
export function fnv128a(text: string): string {
  // Four limbs of 32 bits, lowest first; bigint took 30 times as long.
  let [a, b, c, d]: [number, number, number, number] = [...offsetBasis];
  for (const byte of Buffer.from(text)) {
    a = (a ^ byte) >>> 0;
    // Each product is below 2^41, exact in a double.
    const a2 = a * primeLow;
    const b2 = b * primeLow + carry(a2);
    const c2 = c * primeLow + carry(b2) + ((a << 24) >>> 0);
    const d2 = d * primeLow + carry(c2) + (((b << 24) | (a >>> 8)) >>> 0);
    a = a2 >>> 0;
    b = b2 >>> 0;
    c = c2 >>> 0;
    d = d2 >>> 0;
  }
  return [d, c, b, a].map((limb) => limb.toString(16).padStart(8, '0')).join('');
}

function carry(sum: number): number {
  return Math.floor(sum / 0x1_0000_0000);
}
