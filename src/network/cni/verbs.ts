/**
 * The CNI commands: a checked request in, the text for stdout out.
 * Layer: network/cni. Must not know sockets; everything it throws becomes an error result here, so a request always gets
 * an answer.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { PodLinks } from '../links/pod-links.ts';
import { collectGarbage, type KnownSandbox } from '../links/reconcile.ts';
import { CniError, cniErrorCode, toCniError } from './cni-error.ts';
import { type CniCommand, type CniEnvironment, parseEnvironment, type RawEnvironment } from './environment.ts';
import { answerVersion, type NetworkConf, parseNetworkConf, requestedVersion } from './network-conf.ts';
import { type CniResult, renderResult } from './result.ts';
import { type CniVersion, isAtLeast, supportedVersions } from './version.ts';

export interface CniCall {
  env: RawEnvironment;
  stdin: string;
}

export interface CniAnswer {
  exit: 0 | 1;
  stdout: string;
}

export interface VerbsDependencies {
  links: PodLinks;
  /** Bytes, for pods whose configuration names none. */
  mtu: number;
  /** One line saying why no ADD can be served now, or undefined. */
  unavailable: () => string | undefined;
  /** Every sandbox of the runtime; may reject while the runtime is away. */
  knownSandboxes: () => Promise<readonly KnownSandbox[]>;
  log: Logger;
}

/** The version in which a command appeared; a configuration of an older one may not call it. */
const since: Partial<Record<CniCommand, CniVersion>> = { CHECK: '0.4.0', STATUS: '1.1.0', GC: '1.1.0' };

/** Never rejects. */
export async function runVerb(deps: VerbsDependencies, call: CniCall): Promise<CniAnswer> {
  const started = performance.now();
  const fields = { command: call.env.CNI_COMMAND, containerID: call.env.CNI_CONTAINERID };
  try {
    const stdout = await dispatch(deps, call);
    const milliseconds = Math.round((performance.now() - started) * 1000) / 1000;
    deps.log.debug({ ...fields, milliseconds }, 'CNI command');
    return { exit: 0, stdout };
  } catch (error) {
    const cniError = toCniError(error);
    deps.log.warn({ ...fields, cniCode: cniError.cniCode, error: cniError.message }, 'CNI command failed');
    return { exit: 1, stdout: renderError(cniError, answerVersion(call.stdin)) };
  }
}

/** The error result of SPEC.md section 5. */
export function renderError(error: CniError, cniVersion: string): string {
  return JSON.stringify({
    cniVersion,
    code: error.cniCode,
    msg: error.message,
    ...(error.details === '' ? {} : { details: error.details }),
  });
}

async function dispatch(deps: VerbsDependencies, call: CniCall): Promise<string> {
  const environment = parseEnvironment(call.env);
  const { command } = environment;
  if (command === 'VERSION') {
    return JSON.stringify({ cniVersion: requestedVersion(call.stdin), supportedVersions });
  }
  const conf = parseNetworkConf(call.stdin);
  const minimum = since[command];
  if (minimum !== undefined && !isAtLeast(conf.cniVersion, minimum)) {
    throw new CniError(
      cniErrorCode.incompatibleVersion,
      `${command} needs cniVersion ${minimum}, the configuration says ${conf.cniVersion}`,
    );
  }
  switch (command) {
    case 'ADD':
      return add(deps, environment, conf);
    case 'DEL':
      await deps.links.detach(environment.containerID, environment.ifname);
      return '';
    case 'CHECK':
      await check(deps, environment, conf);
      return '';
    case 'STATUS':
      status(deps);
      return '';
    case 'GC':
      await collect(deps, conf);
      return '';
  }
}

async function add(deps: VerbsDependencies, environment: CniEnvironment, conf: NetworkConf): Promise<string> {
  const { containerID, ifname, netns, args } = environment;
  const pod = {
    namespace: args.get('K8S_POD_NAMESPACE') ?? '',
    name: args.get('K8S_POD_NAME') ?? '',
    uid: args.get('K8S_POD_UID') ?? '',
  };
  const { mtu = deps.mtu, portMappings, bandwidth } = conf;
  const attached = await deps.links.attach({
    containerID,
    ifname,
    netnsPath: netns,
    mtu,
    pod,
    network: conf.name,
    portMappings,
    bandwidth,
  });
  deps.log.info(
    {
      containerID,
      pod: `${pod.namespace}/${pod.name}`,
      ips: attached.addresses.map(({ ip }) => ip),
    },
    'pod attached',
  );
  return renderResult(conf.cniVersion, attached, netns, conf.dns, conf.prevResult);
}

async function check(deps: VerbsDependencies, environment: CniEnvironment, conf: NetworkConf): Promise<void> {
  const { containerID, ifname, netns } = environment;
  if (!conf.prevResult) throw new CniError(cniErrorCode.invalidConfig, 'prevResult: CHECK needs it');
  await deps.links.check(containerID, ifname, netns, expectationOf(conf.prevResult, ifname, netns));
}

/** What of a remembered result is ours: the addresses of our interface and the default route through our gateway. */
function expectationOf(
  result: CniResult,
  ifname: string,
  netns: string,
): { ips: string[]; routes: { destination: string; gateway: string }[] } {
  const index = result.interfaces.findIndex((entry) => entry.name === ifname && entry.sandbox === netns);
  if (index < 0) {
    throw new CniError(cniErrorCode.damaged, `prevResult has no interface ${ifname} in ${netns}`);
  }
  const ours = result.ips.filter((ip) => ip.interface === index);
  const gateways = new Set(ours.map(({ gateway }) => gateway));
  return {
    ips: ours.map(({ address }) => String(address).replace(/\/\d+$/, '')),
    routes: result.routes.flatMap(({ dst, gw }) =>
      typeof dst === 'string' && typeof gw === 'string' && gateways.has(gw) ? [{ destination: dst, gateway: gw }] : [],
    ),
  };
}

function status(deps: VerbsDependencies): void {
  const reason = deps.unavailable();
  if (reason !== undefined) throw new CniError(cniErrorCode.notAvailable, reason);
}

async function collect(deps: VerbsDependencies, conf: NetworkConf): Promise<void> {
  if (!conf.validAttachments) {
    // Taking its absence for "none is valid" would unplug every pod of the node.
    throw new CniError(cniErrorCode.invalidConfig, 'cni.dev/valid-attachments: GC needs it');
  }
  const failures = await collectGarbage(deps.links, conf.name, conf.validAttachments, deps.knownSandboxes);
  if (failures.length === 0) return;
  throw new CniError(cniErrorCode.kernelRefused, failures.map(errorLine).join('; '));
}
