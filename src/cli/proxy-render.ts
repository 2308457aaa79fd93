/**
 * `keelson proxy render FILE...`: what the proxy would make of Services and EndpointSlices, without touching the kernel.
 * Layer: cli. The text goes to standard output; what is wrong with the objects, and what was left out, to standard error.
 */
import { readProxyFiles } from '../agent/proxy-files.ts';
import type { IpFamily } from '../api/service.ts';
import { networkOf } from '../linux/ip-bytes.ts';
import { KeelsonError } from '../observe/keelson-error.ts';
import { renderDataplane } from '../proxy/render.ts';
import { reportLine } from '../proxy/services/service-report.ts';
import { trafficOfPods } from '../proxy/services/traffic-options.ts';

export interface RenderFlags {
  from?: string[];
  family?: IpFamily;
  nodeName?: string;
  zone?: string;
  podCidr?: string[];
}

/** @returns the exit code: 1 when something is wrong with the objects */
export async function proxyRender(files: string[], flags: RenderFlags): Promise<number> {
  const options = {
    nodeName: flags.nodeName ?? '',
    zone: flags.zone,
    ...trafficOfPods((flags.podCidr ?? []).map(readPrefix)),
  };
  const before = flags.from === undefined ? undefined : await readProxyFiles(flags.from);
  const objects = await readProxyFiles(files);
  for (const line of [...(before?.ignored ?? []), ...objects.ignored])
    process.stderr.write(`keelson: left out ${line}\n`);
  const wrong = new Set<string>();
  const families: IpFamily[] = flags.family === undefined ? ['IPv4', 'IPv6'] : [flags.family];
  for (const family of families) {
    const { isUsed, text, reports } = renderDataplane(family, objects, options, before);
    if (isUsed || flags.family !== undefined || family === 'IPv4') process.stdout.write(text);
    for (const report of reports) wrong.add(`${reportLine(report)} [${report.code}]`);
  }
  for (const line of wrong) process.stderr.write(`keelson: ${line}\n`);
  return wrong.size === 0 ? 0 : 1;
}

function readPrefix(text: string): string {
  try {
    return networkOf(text);
  } catch (cause) {
    throw new KeelsonError('CONFIG_FLAG', `${JSON.stringify(text)} is no prefix`, {
      object: '--pod-cidr',
      fix: 'write it like 10.244.0.0/16',
      cause,
    });
  }
}
