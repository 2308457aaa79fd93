/**
 * The fingerprint that tells whether a running container still is what its pod asks for. As the kubelet's since 1.31 it
 * covers name and image only: other fields of a running pod cannot change (pkg/kubelet/container/helpers.go HashContainer).
 * Layer: kubelet/plan (pure).
 */
import type { Container } from '../../api/core.ts';

/** FNV-1a, 32 bits, as 8 hex digits. */
export function containerHash(container: Pick<Container, 'name' | 'image'>): string {
  return fnv1a32(JSON.stringify([container.name, container.image]));
}

export function fnv1a32(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, '0');
}
