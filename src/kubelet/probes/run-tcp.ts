/**
 * The tcpSocket probe: a connection that can be made is success; it is closed at once.
 * Layer: kubelet/probes (edge). Source: pkg/probe/tcp/tcp.go.
 */
import { connect } from 'node:net';
import type { TCPSocketAction } from '../../api/core.ts';
import { dialFailure, dialTimeout } from './dial-failure.ts';
import { type ProbeOutcome, probeError } from './probe-outcome.ts';
import { resolvePort } from './resolve-port.ts';
import type { ProbeRequest } from './run-probe.ts';

/** Rejects with the signal's reason when aborted. */
export function runTcpProbe(action: TCPSocketAction, request: ProbeRequest): Promise<ProbeOutcome> {
  const { container, clock, signal, timeoutSeconds } = request;
  const port = resolvePort(action.port, container);
  if (port === undefined) return Promise.resolve(probeError(`invalid port ${JSON.stringify(action.port)}`));
  const host = action.host || request.host;
  if (host === undefined) return Promise.resolve(probeError('the pod has no IP address'));
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const socket = connect({ host, port });
    const leave = (): void => {
      cancelTimer();
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
    };
    const end = (outcome: ProbeOutcome): void => {
      leave();
      resolve(outcome);
    };
    const onAbort = (): void => {
      leave();
      reject(signal.reason);
    };
    const cancelTimer = clock.after(timeoutSeconds * 1000, () =>
      end({ result: 'failure', output: dialTimeout(host, port) }),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => end({ result: 'success', output: '' }));
    socket.on('error', (error) => end({ result: 'failure', output: dialFailure(error, host, port) }));
  });
}
