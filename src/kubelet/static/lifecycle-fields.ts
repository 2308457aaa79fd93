/**
 * Fields of what happens to a container while it runs: probes, lifecycle hooks, restart rules, resize policies.
 * Layer: kubelet/static (pure data). Source: Probe, LifecycleHandler, ContainerRestartRule in
 * staging/src/k8s.io/api/core/v1/types.go; rules that compare fields are in lifecycle-rules.ts.
 */
import { checkPortName } from '../../config/names.ts';
import type { ObjectSpec, ValueSpec } from './field-spec.ts';
import { integer, integerOrName, list, maxInt32, object, oneOf, read, refused, required, text } from './field-spec.ts';

const int32 = integer(-maxInt32 - 1, maxInt32);
const notNegative = integer(0, maxInt32);
const port = integerOrName(1, 65535, checkPortName);

/** IsHTTPHeaderName in apimachinery's pkg/util/validation. */
function checkHeaderName(name: string): string[] {
  return /^[-A-Za-z0-9]+$/.test(name) ? [] : ["must consist of letters, digits or '-' (such as X-Header-Name)"];
}

const actions: ObjectSpec = {
  exec: read(object({ command: required(list(text())) })),
  httpGet: read(
    object({
      path: read(text()),
      port: required(port),
      host: read(text()),
      scheme: read(oneOf('HTTP', 'HTTPS')),
      httpHeaders: read(list(object({ name: required(text(checkHeaderName)), value: read(text()) }))),
    }),
  ),
  tcpSocket: read(object({ port: required(port), host: read(text()) })),
};

export const probe: ValueSpec = object({
  ...actions,
  grpc: read(object({ port: required(integer(1, 65535)), service: read(text()) })),
  initialDelaySeconds: read(notNegative),
  timeoutSeconds: read(notNegative),
  periodSeconds: read(notNegative),
  successThreshold: read(notNegative),
  failureThreshold: read(notNegative),
  terminationGracePeriodSeconds: read(integer(1, maxInt32)),
});

const handler = object({ ...actions, sleep: read(object({ seconds: required(notNegative) })) });

export const lifecycle: ValueSpec = object({
  postStart: read(handler),
  preStop: read(handler),
  stopSignal: refused('the feature gate ContainerStopSignals is off in Kubernetes 1.36'),
});

export const restartPolicyRules: ValueSpec = list(
  object({
    action: required(oneOf('Restart', 'RestartAllContainers')),
    exitCodes: required(object({ operator: required(oneOf('In', 'NotIn')), values: read(list(int32)) })),
  }),
);

export const resizePolicy: ValueSpec = list(
  object({
    resourceName: required(oneOf('cpu', 'memory')),
    restartPolicy: required(oneOf('NotRequired', 'RestartContainer')),
  }),
);
