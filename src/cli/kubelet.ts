/**
 * `kubelet`: the name under which systemd units, kubeadm and people call a node agent. It is `keelson run` with the flags,
 * the folders and the one role of a kubelet.
 * Layer: cli. Loaded only when called by that name.
 */
import type { Command } from 'commander';
import { kubernetesVersion } from '../agent/cluster/node-options.ts';
import type { RunFlags } from '../config/flags.ts';
import { type OwnFlag, parseKubeletCommandLine } from '../config/flags-kubelet.ts';
import { kubeletFlags } from '../config/flags-kubelet-table.ts';

/** @param run the subcommand, whose flags a kubelet has, too */
export async function kubelet(args: readonly string[], run: Command): Promise<void> {
  const own = ownFlags(run);
  const { asked, flags, fields, configDir, warnings } = parseKubeletCommandLine(args, own);
  if (asked === 'version') process.stdout.write(`Kubernetes ${kubernetesVersion}\n`);
  else if (asked === 'help') process.stdout.write(helpText(run, own));
  else {
    const { run: start } = await import('./run.ts');
    const given: RunFlags = { ...flags, configDir, verbosity: flags.v };
    await start(given, false, { fields, warnings });
  }
}

function ownFlags(run: Command): OwnFlag[] {
  return run.options
    .filter(({ long }) => long !== undefined && long !== '--standalone')
    .map((option) => ({
      name: option.long?.replace(/^--/, '') ?? '',
      key: option.attributeName(),
      isSwitch: option.optional || option.isBoolean(),
      isList: option.parseArg !== undefined,
    }));
}

function helpText(run: Command, own: readonly OwnFlag[]): string {
  const others = [...kubeletFlags.keys()].filter((name) => !own.some((flag) => flag.name === name)).sort();
  const lines = run.options
    .filter(({ hidden, long }) => !hidden && long !== '--standalone')
    .map(({ flags, description }) => `  ${flags.padEnd(42)} ${description}`);
  return [
    `Usage: kubelet [flags]   (Keelson; the same as keelson run with a kubelet's flags, folders and role)`,
    '',
    ...lines,
    '',
    'Taken as well, as a kubelet takes them; most are fields of the configuration file, and some are without effect:',
    `  ${others.map((name) => `--${name}`).join(' ')}`,
    '',
  ].join('\n');
}
