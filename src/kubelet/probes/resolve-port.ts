/**
 * The number of a port that a probe or hook names. Layer: kubelet/probes (pure), shared with kubelet/lifecycle.
 * Rule: pkg/probe/util.go ResolveContainerPort.
 */
import type { Container, IntOrString } from '../../api/core.ts';

/** 1 to 65535, or undefined when the container has no port of that name, or the number is none. */
export function resolvePort(port: IntOrString, container: Container): number | undefined {
  const number = typeof port === 'number' ? port : namedPort(port, container);
  return Number.isInteger(number) && number > 0 && number < 65536 ? number : undefined;
}

function namedPort(name: string, { ports }: Container): number {
  const named = ports?.find((port) => port.name === name);
  if (named) return named.containerPort;
  // A number that was written as text.
  return /^\+?\d{1,10}$/.test(name) ? Number(name) : Number.NaN;
}
