/**
 * Quantities of a pod spec as the numbers cgroups take. The text was validated when the object was read.
 * Layer: kubelet/plan (pure).
 */
import { parseQuantity, quantityToBytes, quantityToMillis } from '../../config/quantity.ts';

/** `1.5` -> 1500, rounded up. */
export const millicoresOf = (quantity: string): number => Number(quantityToMillis(parseQuantity(quantity)));

/** `1Ki` -> 1024, rounded up. */
export const bytesOf = (quantity: string): number => Number(quantityToBytes(parseQuantity(quantity)));
