/**
 * From decoded JSON to what is done to a running container: probes and lifecycle hooks.
 * Layer: api (pure). Numbers that become timers and ports are bounded here; a number that the API server leaves out or
 * writes as 0 where 0 means the default is left out, so that readers have one case.
 */
import { checkPortName } from '../config/names.ts';
import type {
  Container,
  ExecAction,
  HTTPGetAction,
  IntOrString,
  LifecycleHandler,
  Probe,
  TCPSocketAction,
} from './core.ts';
import { boundedInteger, maxInt32, requiredBoundedInteger } from './project-values.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';

const ports = [1, 65535] as const;
const int32 = [0, maxInt32] as const;
/** IsHTTPHeaderName in apimachinery's pkg/util/validation. */
const headerName = /^[-A-Za-z0-9]+$/;

/** @param path `spec.containers[0].livenessProbe`, for errors. @throws ObjectShapeError */
export function projectProbe(raw: RawObject | undefined, path: string): Probe | undefined {
  if (raw === undefined) return undefined;
  const grpc = raw.object('grpc');
  const counted = (field: string): number | undefined => boundedInteger(raw, field, int32, path) || undefined;
  return {
    ...projectActions(raw, path),
    grpc: grpc && { port: requiredBoundedInteger(grpc, 'port', ports, `${path}.grpc`), service: grpc.text('service') },
    initialDelaySeconds: boundedInteger(raw, 'initialDelaySeconds', int32, path),
    timeoutSeconds: counted('timeoutSeconds'),
    periodSeconds: counted('periodSeconds'),
    successThreshold: counted('successThreshold'),
    failureThreshold: counted('failureThreshold'),
    terminationGracePeriodSeconds: boundedInteger(raw, 'terminationGracePeriodSeconds', [1, maxInt32], path),
  };
}

/** @param path `spec.containers[0].lifecycle`, for errors. @throws ObjectShapeError */
export function projectLifecycle(raw: RawObject | undefined, path: string): Container['lifecycle'] {
  if (raw === undefined) return undefined;
  return {
    postStart: projectHandler(raw.object('postStart'), `${path}.postStart`),
    preStop: projectHandler(raw.object('preStop'), `${path}.preStop`),
  };
}

function projectHandler(raw: RawObject | undefined, path: string): LifecycleHandler | undefined {
  if (raw === undefined) return undefined;
  const sleep = raw.object('sleep');
  return {
    ...projectActions(raw, path),
    // A number that Go leaves out is 0.
    sleep: sleep && { seconds: boundedInteger(sleep, 'seconds', int32, `${path}.sleep`) ?? 0 },
  };
}

interface Actions {
  exec: ExecAction | undefined;
  httpGet: HTTPGetAction | undefined;
  tcpSocket: TCPSocketAction | undefined;
}

function projectActions(raw: RawObject, path: string): Actions {
  const [exec, httpGet, tcpSocket] = [raw.object('exec'), raw.object('httpGet'), raw.object('tcpSocket')];
  return {
    exec: exec && { command: exec.texts('command') },
    httpGet: httpGet && {
      path: httpGet.text('path'),
      port: projectPort(httpGet, `${path}.httpGet`),
      host: httpGet.text('host'),
      scheme: httpGet.word('scheme', ['HTTP', 'HTTPS']),
      httpHeaders: httpGet.objects('httpHeaders').map((header, index) => {
        const name = header.requiredText('name');
        if (headerName.test(name)) return { name, value: header.text('value') ?? '' };
        throw new ObjectShapeError(`${path}.httpGet.httpHeaders[${index}].name`, 'the name of a header', name);
      }),
    },
    tcpSocket: tcpSocket && { port: projectPort(tcpSocket, `${path}.tcpSocket`), host: tcpSocket.text('host') },
  };
}

/** A number, or the name of one of the container's ports. */
function projectPort(raw: RawObject, path: string): IntOrString {
  const value = raw.integerOrText('port');
  if (typeof value === 'number') return requiredBoundedInteger(raw, 'port', ports, path);
  if (typeof value === 'string' && checkPortName(value).length === 0) return value;
  throw new ObjectShapeError(`${path}.port`, 'the number or name of a port', value);
}
