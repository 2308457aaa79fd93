/**
 * The command line: subcommands and their flags, nothing else. Each subcommand is a file of its own, loaded when called,
 * so that `keelson status` does not pay for the daemon.
 * Layer: cli; nothing imports it. A user's mistake ends in one clear line and exit code 1 (2 for wrong usage).
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { packageJsonPath } from '../agent/install-paths.ts';
import { ConfigError } from '../config/config-error.ts';
import { runDefaults } from '../config/flags.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';
import type { RenderFlags } from './proxy-render.ts';

const runDirOption = (): Option =>
  new Option('--run-dir <dir>', 'where the daemon keeps its sockets').default(runDefaults.runDir);

const program = new Command('keelson')
  .description('One daemon that makes a Linux machine a Kubernetes node.')
  .version(ownVersion(), '--version', 'print the version')
  // Wrong usage, too, is one line, in the form of every other error.
  .configureOutput({ outputError: (text, write) => write(`keelson: ${usageErrorLine(text)} (see keelson --help)\n`) })
  .exitOverride();

/** May be given several times, as the kubelet's lists may. */
const joined = (value: string, previous: string | undefined): string =>
  previous === undefined ? value : `${previous},${value}`;

const runCommand = program
  .command('run')
  .description('run the daemon')
  .optionsGroup('One of:')
  .option('--standalone <dir>', 'run the pods of the manifests in this folder, without an API server')
  .option('--kubeconfig <file>', 'join the cluster of this kubeconfig')
  .optionsGroup('Node:')
  .option('--config <file>', 'KubeletConfiguration (kubelet.config.k8s.io/v1beta1); flags win over it')
  .option('--config-dir <dir>', 'drop-ins *.conf that are merged over --config, in the order of their names')
  .option('--hostname-override <name>', "node name (default: the machine's)")
  .option('--node-ip <ips>', "node address, or one of each family with a comma (default: the default route's)")
  .option('--container-runtime-endpoint <socket>', 'CRI socket (default: unix:///run/containerd/containerd.sock)')
  .option('--max-pods <number>', 'pods that may run here (default: 110)')
  .option('--pod-manifest-path <dir>', 'folder of static pods')
  .option('--cluster-dns <ips>', 'name servers of pods, with commas', joined)
  .option('--cluster-domain <domain>', 'search domain of pods')
  .option('--root-dir <dir>', `pod directories and volumes (default: ${runDefaults.rootDir})`)
  .option('--pod-log-dir <dir>', 'container logs (default: /var/log/pods)')
  .option('--run-dir <dir>', `sockets (default: ${runDefaults.runDir})`)
  .optionsGroup('Pod network:')
  .option(
    '--pod-cidr <cidr>',
    `addresses of this node's pods, one network or one of each family (default: ${runDefaults.podCidr}; in a cluster the Node's spec.podCIDR)`,
  )
  .option('--service-cidr <cidr>', `standalone: addresses of Services that ask for none (${runDefaults.serviceCidr})`)
  .option('--ipv6-masquerade [boolean]', 'IPv6 pods reach other networks with the address of the node (default: true)')
  .option('--mtu <bytes>', "of pods (default: the default route's link's, 50 less with vxlan)")
  .option('--network-backend <name>', 'way to pods of other nodes: vxlan, host-gw, alloc, none (default: vxlan)')
  .option('--vxlan-vni <number>', 'the same on every node (default: 1)')
  .option('--vxlan-port <port>', 'UDP, the same on every node (default: 8472)')
  .option('--direct-routing [bool]', 'vxlan: plain routes to nodes on the same network (default: false)')
  .option('--cni-conf-dir <dir>', 'where the runtime reads CNI configurations (default: ask the runtime)')
  .option('--cni-bin-dir <dir>', 'where the runtime finds CNI plugins (default: ask the runtime)')
  .option(
    '--image-credential-provider-config <path>',
    'CredentialProviderConfig of plugins for registries: file or folder',
  )
  .option('--image-credential-provider-bin-dir <dir>', 'where these plugins are')
  .optionsGroup('Cluster, with --kubeconfig:')
  .option('--network-kubeconfig <file>', 'identity of the proxy and network roles (default: --kubeconfig)')
  .option('--roles <roles>', 'what to run: kubelet,proxy,network (default: all)', joined)
  .option('--bootstrap-kubeconfig <file>', 'asks for a certificate while --kubeconfig, which is then written, has none')
  .option('--rotate-certificates [bool]', 'renew the certificate of --kubeconfig (default: false)')
  .option('--proxy-config <file>', 'KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1); flags win over it')
  .option('--cluster-cidr <cidr>', 'networks of all pods of the cluster, one of each family, with a comma')
  .option('--node-labels <labels>', 'labels that the Node is created with: key=value,...', joined)
  .option('--register-with-taints <taints>', 'taints that the Node is created with: key=value:effect,...', joined)
  .option('--register-node [bool]', 'create the Node (default: true)')
  .option('--address <ip>', "where the kubelet's API listens (default: 0.0.0.0)")
  .option('--port <port>', "of the kubelet's API (default: 10250)")
  .option('--read-only-port <port>', 'pods, stats, metrics and health without identity; 0: none (default: 0)')
  .option('--cert-dir <dir>', 'keeps the certificates of the node (default: pki below --root-dir)')
  .option('--cloud-provider <name>', 'external: a cloud controller initialises the Node')
  .option('--additional-api-servers <urls>', 'further addresses of the same API server, with commas', joined)
  .option('--allow-insecure-api-server [bool]', 'take a kubeconfig without TLS checks; for tests')
  .optionsGroup('Health, metrics and log:')
  .option('--healthz-port <port>', 'health of the daemon; 0: none (default: 10248)')
  .option('--healthz-bind-address <ip>', '(default: 127.0.0.1)')
  .option('--proxy-healthz-bind-address <ip:port>', "health of the proxy role; '': none (default: 0.0.0.0:10256)")
  .option('--metrics-bind-address <ip:port>', "metrics; '': none (default: 127.0.0.1:10249)")
  .option('-v, --v <level>', 'log verbosity, 0 to 10; 3 and more is debug')
  .addOption(new Option('--event-loop-lag', 'measure event-loop lag and report it in status (for benches)').hideHelp())
  .action(async ({ eventLoopLag, ...flags }: Record<string, string | undefined> & { eventLoopLag?: boolean }) => {
    const { run } = await import('./run.ts');
    await run({ ...flags, verbosity: flags.v }, eventLoopLag === true);
  });

program
  .command('status')
  .description('show what the daemon on this machine runs')
  .addOption(runDirOption())
  .addOption(new Option('-o, --output <format>', 'output').choices(['table', 'json']).default('table'))
  .action(async (flags: { runDir: string; output: 'table' | 'json' }) => {
    const { printStatus } = await import('./status.ts');
    await printStatus(flags);
  });

program
  .command('doctor')
  .description('check what Keelson needs of this machine')
  .option('--kubeconfig <file>', 'check for a node of a cluster, and ask its API server')
  .option('--bootstrap-kubeconfig <file>', 'with --kubeconfig: check whether the node may join with it')
  .option('--config <file>', 'KubeletConfiguration to check, and to go by')
  .option('--config-dir <dir>', 'its drop-ins')
  .option('--network-kubeconfig <file>', 'identity of the proxy and network roles (default: --kubeconfig)')
  .option('--network-backend <name>', 'way to pods of other nodes (default: vxlan)')
  .option('--vxlan-vni <number>', 'to check for conflicts (default: 1)')
  .option('--vxlan-port <port>', 'likewise (default: 8472)')
  .option('--roles <roles>', 'with --kubeconfig: check for these roles only', joined)
  .option('--hostname-override <name>', "node name (default: the machine's)")
  .option('--additional-api-servers <urls>', 'further addresses of the same API server, with commas', joined)
  .option('--allow-insecure-api-server [bool]', 'take a kubeconfig without TLS checks; for tests')
  .option('--container-runtime-endpoint <socket>', 'CRI socket')
  .option('--pod-cidr <cidr>', 'pod addresses to check for conflicts')
  .option('--service-cidr <cidr>', 'Service addresses to check for conflicts')
  .option('--root-dir <dir>', 'pod directories')
  .option('--cni-conf-dir <dir>', 'CNI configurations')
  .option('--cni-bin-dir <dir>', 'CNI plugins')
  .addOption(runDirOption())
  .addOption(new Option('-o, --output <format>', 'output').choices(['table', 'json']).default('table'))
  .action(async (flags: Record<string, string | undefined>) => {
    const { doctor } = await import('./doctor.ts');
    process.exitCode = await doctor(flags);
  });

program
  .command('cleanup')
  .description('remove every pod, rule, link, mount and file that Keelson made; the daemon must be stopped')
  .option('--container-runtime-endpoint <socket>', 'CRI socket')
  .option('--root-dir <dir>', 'pod directories')
  .option('--pod-log-dir <dir>', 'container logs')
  .option('--cni-conf-dir <dir>', 'CNI configurations')
  .option('--cni-bin-dir <dir>', 'CNI plugins')
  .addOption(runDirOption())
  .action(async (flags: Record<string, string | undefined>) => {
    const { cleanup } = await import('./cleanup.ts');
    process.exitCode = await cleanup(flags);
  });

const policy = program.command('policy').description('look into NetworkPolicies');

policy
  .command('explain')
  .description('say which rules of NetworkPolicies allow or deny a connection')
  .argument('<from>', 'namespace/pod or an address')
  .argument('<to>', 'namespace/pod or an address')
  .argument('<port>', 'number or name of a port of <to>; with the protocol unless it is TCP: 53/UDP')
  .addOption(runDirOption())
  .addOption(new Option('-o, --output <format>', 'output').choices(['text', 'json']).default('text'))
  .action(async (from: string, to: string, port: string, flags: { runDir: string; output: 'text' | 'json' }) => {
    const { policyExplain } = await import('./policy-explain.ts');
    process.exitCode = await policyExplain({ from, to, port }, flags);
  });

const proxy = program.command('proxy').description('look into the service proxy');

proxy
  .command('render')
  .description(
    'print the dataplane and the nf_tables plan for Services and EndpointSlices, without touching the kernel',
  )
  .argument(
    '<file...>',
    'YAML or JSON, as kubectl get services,endpointslices -A -o json writes it; - is standard input',
  )
  .option('--from <file...>', 'plan the change from the objects of these files')
  .addOption(new Option('--family <family>', 'one address family only').choices(['IPv4', 'IPv6']))
  .option('--node-name <name>', 'node whose endpoints count as local')
  .option('--zone <zone>', 'zone of that node')
  .option('--pod-cidr <cidr...>', 'pod networks of the cluster; traffic from elsewhere is masqueraded')
  .action(async (files: string[], flags: RenderFlags) => {
    const { proxyRender } = await import('./proxy-render.ts');
    process.exitCode = await proxyRender(files, flags);
  });

proxy
  .command('cleanup')
  .description(
    'remove what a Service proxy left in any mode, kube-proxy included; with no daemon or kube-proxy running',
  )
  .addOption(runDirOption())
  .action(async (flags: { runDir: string }) => {
    const { proxyCleanup } = await import('./proxy-cleanup.ts');
    process.exitCode = await proxyCleanup(flags);
  });

/** What follows the name under which a kubelet is called: a link of that name, or `keelson kubelet`. */
function kubeletArguments(): string[] | undefined {
  if (basename(process.argv0) === 'kubelet') return process.argv.slice(2);
  return process.argv[2] === 'kubelet' ? process.argv.slice(3) : undefined;
}

try {
  const asKubelet = kubeletArguments();
  if (asKubelet === undefined) await program.parseAsync();
  else await (await import('./kubelet.ts')).kubelet(asKubelet, runCommand);
} catch (error) {
  process.exitCode = report(error);
}

/** Read at once, since commander wants it before it knows whether anybody asks; a file of a few hundred bytes. */
function ownVersion(): string {
  const { version }: { version?: unknown } = JSON.parse(readFileSync(packageJsonPath, 'utf8'));
  return `Keelson ${String(version)}`;
}

/** commander's `error: ...`, with its guess on a second line. */
function usageErrorLine(text: string): string {
  return text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\(Did you mean (.+)\?\)$/, ', did you mean $1?')
    .replaceAll('\n', ' ');
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof ConfigError) for (const line of error.lines) console.error(`keelson: ${line}`);
  else if (error instanceof KeelsonError) console.error(`keelson: ${errorLine(error)} [${error.code}]`);
  // Not a user's mistake but ours: the stack belongs into the report about it.
  else console.error(error);
  return 1;
}
