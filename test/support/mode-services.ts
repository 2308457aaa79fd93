/**
 * Services for tests of what happens to a mode's rules over time: changes under load, damage, restarts. What each kind of
 * Service must do is service-cases.ts'.
 * Layer: test.
 */
import { aService, aSlice, type ServiceFields } from '../../src/proxy/services/fake-objects.ts';
import type { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { nodeIps, type ServiceLab, type Source, sourceIps } from './service-lab.ts';

export const at = (ip: string, nodeName = 'node-a') => ({ addresses: [ip], nodeName });
export const [pod1, pod2, podB] = [at(sourceIps['pod-1']), at(sourceIps['pod-2']), at(sourceIps['pod-b'], 'node-b')];
export const clusterIP = (ip: string): Pick<ServiceFields, 'clusterIP' | 'clusterIPs' | 'ipFamilies'> => ({
  clusterIP: ip,
  clusterIPs: [ip],
  ipFamilies: ['IPv4'],
});
export const lb = (ip: string) => ({ loadBalancer: { ingress: [{ ip }] } });

export function fill(tracker: ServiceTracker): void {
  const add = (name: string, fields: ServiceFields, endpoints: (typeof pod1)[], protocol?: 'UDP') => {
    tracker.serviceSet(aService(name, fields));
    tracker.sliceSet(
      aSlice(name, name, { endpoints, ports: [{ name: '', port: 8080, ...(protocol && { protocol }) }] }),
    );
  };
  const nodePort = (port: number) => ({ type: 'NodePort' as const, ports: [{ port: 80, nodePort: port }] });
  const all = [pod1, pod2, podB];
  add('web', { ...clusterIP('10.96.0.1'), ...nodePort(30080), externalIPs: ['203.0.113.1'] }, all);
  add('dns', { ...clusterIP('10.96.0.2'), ports: [{ port: 53, protocol: 'UDP' }] }, all, 'UDP');
  add('none', { ...clusterIP('10.96.0.3'), ...nodePort(30081) }, []);
  add('local', { ...clusterIP('10.96.0.4'), ...nodePort(30082), externalTrafficPolicy: 'Local' }, [pod1, podB]);
  add('far', { ...clusterIP('10.96.0.5'), ...nodePort(30083), externalTrafficPolicy: 'Local' }, [podB]);
  add('inside', { ...clusterIP('10.96.0.6'), internalTrafficPolicy: 'Local' }, [pod1, podB]);
  add('inside-far', { ...clusterIP('10.96.0.7'), internalTrafficPolicy: 'Local' }, [podB]);
  const type = 'LoadBalancer' as const;
  const ranges = (...loadBalancerSourceRanges: string[]) => ({ type, loadBalancerSourceRanges });
  add('open', { ...clusterIP('10.96.0.8'), ...ranges('198.51.100.0/24'), status: lb('203.0.113.8') }, all);
  add('shut', { ...clusterIP('10.96.0.9'), ...ranges('192.0.2.0/24'), status: lb('203.0.113.9') }, all);
  add('shut-none', { ...clusterIP('10.96.0.10'), ...ranges('198.51.100.0/24'), status: lb('203.0.113.10') }, []);
  add('sticky', { ...clusterIP('10.96.0.11'), sessionAffinity: 'ClientIP' }, all);
  add('self', { ...clusterIP('10.96.0.12') }, [pod1]);
}

export interface ModeQuestion {
  what: string;
  from: Source;
  to: string;
  protocol?: 'TCP' | 'UDP';
  /** Names of pods that answer, each at least once of 40 times; or the error. */
  by: Source[] | 'refused' | 'nothing';
  /** Whom the pod sees: the client itself, or the node. */
  as?: 'client' | 'node';
}

/** What is wrong, or undefined. */
export async function judge(
  lab: ServiceLab,
  { what, from, to, protocol = 'TCP', by, as }: ModeQuestion,
): Promise<string | undefined> {
  const [ip = '', port = ''] = to.split(':');
  const count = by === 'nothing' ? 2 : 40;
  const timeoutMs = by === 'nothing' ? 1500 : 5000;
  const answers = await lab.ask(from, Array(count).fill({ protocol, ip, port: Number(port), timeoutMs }));
  const found = [...new Set(answers.map((answer) => ('error' in answer ? answer.error : answer.endpoint)))].sort();
  const error = { refused: 'ECONNREFUSED', nothing: 'ETIMEDOUT' } as const;
  const wanted = typeof by === 'string' ? [error[by]] : by.map((name) => `${sourceIps[name]}:8080`).sort();
  if (String(found) !== String(wanted)) return `${what}: ${from} asks ${to} and gets ${found}, not ${wanted}`;
  for (const answer of answers) {
    if ('error' in answer) continue;
    const client = answer.client.replace(/:\d+$/, '');
    // A pod that gets to itself sees the node whatever else holds.
    const isNode = as === 'node' || answer.endpoint.startsWith(`${sourceIps[from]}:`);
    if (isNode ? !nodeIps.includes(client) : client !== sourceIps[from])
      return `${what}: ${answer.endpoint} sees ${client}, not the ${isNode ? 'node' : 'client'}`;
  }
  return undefined;
}
