/**
 * Runs one Service case on the stage against a mode's writer, and says what was not as it must be.
 * Layer: test. Must not know a mode.
 */
import type { EndpointSlice } from '../../src/api/discovery.ts';
import type { Service } from '../../src/api/service.ts';
import type { DataplaneWriter } from '../../src/proxy/dataplane-writer.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { type TrafficOptions, trafficOfPods } from '../../src/proxy/services/traffic-options.ts';
import { type Ask, caseNode, type ServiceCase, type Step } from './service-cases.ts';
import type { Place, ServiceStage, StageAddresses, StageAnswer } from './service-stage.ts';

/** What must not answer is waited for so long. */
const silenceMs = 300;
const patienceMs = 5000;

export interface CaseEdges {
  stage: ServiceStage;
  at: StageAddresses;
  /** A writer of the mode; closed and cleaned by the caller after the case. */
  open(options: TrafficOptions): Promise<DataplaneWriter>;
  /** Called after each change, with what conntrack must forget. */
  forget?(cleanups: ReturnType<ServiceTracker['flush']>['delta']['conntrack']): Promise<void>;
}

/** @returns faults, one line each */
export async function runServiceCase(serviceCase: ServiceCase, edges: CaseEdges): Promise<string[]> {
  const { at, stage, open } = edges;
  const options: TrafficOptions = { ...trafficOfPods([at.pods]), ...serviceCase.options };
  const writer = await open(options);
  const tracker = new ServiceTracker({ family: at.family, ...caseNode, nodeIps: [at.ip.node] });
  tracker.flush();
  await writer.load(tracker.model);
  const faults: string[] = [];
  /** The pod that answered under a name. */
  const known = new Map<string, string>();
  for (const [index, step] of serviceCase.steps.entries()) {
    feedStep(tracker, step, known, at);
    const { delta } = tracker.flush();
    if (!(await writer.change(delta))) throw new Error('not loaded');
    await edges.forget?.(delta.conntrack);
    const places = [...new Set(step.asks.map(({ from }) => from))];
    await Promise.all(
      places.map(async (from) => {
        const own = step.asks.filter((ask) => ask.from === from);
        const answers = await askAll(stage, from, own);
        for (const [position, ask] of own.entries())
          for (const fault of judge(ask, answers[position] ?? [], known, at))
            faults.push(`step ${index + 1}: ${fault}`);
      }),
    );
  }
  return faults;
}

function feedStep(tracker: ServiceTracker, step: Step, known: ReadonlyMap<string, string>, at: StageAddresses): void {
  for (const { metadata } of step.remove ?? []) tracker.serviceDeleted(metadata);
  for (const object of step.set ?? []) put(tracker, object);
  if (step.serviceCIDRs !== undefined) tracker.setServiceCIDRs(step.serviceCIDRs);
  if (step.withdraw === undefined) return;
  const gone = known.get(step.withdraw.one);
  const { from } = step.withdraw;
  const endpoints = (from.endpoints ?? []).filter(({ addresses }) => addresses[0] !== at.ip[gone as Place]);
  put(tracker, { ...from, endpoints });
}

function put(tracker: ServiceTracker, object: Service | EndpointSlice): void {
  // Objects of a case are made before its steps run: their versions say nothing.
  if ('spec' in object) tracker.serviceSet(object, 'list');
  else tracker.sliceSet(object, 'list');
}

async function askAll(stage: ServiceStage, from: Place, asks: readonly Ask[]): Promise<StageAnswer[][]> {
  const questions = asks.flatMap(({ source, protocol = 'TCP', ip, port, count = 1, expect }) =>
    Array.from({ length: count }, () => ({
      protocol,
      ...(source === undefined ? {} : { source }),
      ip,
      port,
      timeoutMs: expect === 'silent' ? silenceMs : patienceMs,
    })),
  );
  const answers = await stage.ask(from, questions);
  let taken = 0;
  return asks.map(({ count = 1 }) => {
    taken += count;
    return answers.slice(taken - count, taken);
  });
}

function* judge(
  { from, source, protocol = 'TCP', ip, port, expect }: Ask,
  answers: readonly StageAnswer[],
  known: Map<string, string>,
  at: StageAddresses,
): Generator<string, void, undefined> {
  const told = `${from} to ${protocol} ${ip} port ${port}`;
  const podOf = (address: string): string =>
    Object.entries(at.ip).find(([, other]) => other === address)?.[0] ?? address;
  if (answers.length === 0) yield `${told}: no answers at all`;
  const servers = new Set<string>();
  for (const answer of answers) {
    if (typeof expect === 'string') {
      const wanted = expect === 'refused' ? 'ECONNREFUSED' : 'ETIMEDOUT';
      if (!('error' in answer && answer.error === wanted))
        return yield `${told}: wanted ${expect}, got ${JSON.stringify(answer)}`;
      continue;
    }
    if ('error' in answer) return yield `${told}: wanted ${JSON.stringify(expect)}, got ${answer.error}`;
    const pod = podOf(answer.server);
    servers.add(pod);
    const allowed: readonly string[] = 'by' in expect ? expect.by : expect.of;
    if (!allowed.includes(pod)) return yield `${told}: ${pod} answered instead of ${allowed.join(' or ')}`;
    const seenAs = 'by' in expect ? expect.seenAs : undefined;
    const isNode = [at.ip.node, at.node2].includes(answer.client) || /^(169\.254|fe80)/.test(answer.client);
    const isSelf = answer.client === (source ?? at.ip[from]);
    if (seenAs === 'node' ? !isNode : seenAs === 'itself' && !isSelf)
      return yield `${told}: ${pod} saw ${answer.client}, not ${seenAs}`;
  }
  if (typeof expect === 'string') return;
  if ('by' in expect) {
    for (const pod of expect.by)
      if (answers.length >= 10 * expect.by.length && !servers.has(pod))
        yield `${told}: ${pod} never answered in ${answers.length}`;
    return;
  }
  const [pod = '', ...others] = servers;
  const before = known.get(expect.one);
  if (others.length > 0) yield `${told}: answered by ${[...servers].join(' and ')}`;
  else if (before !== undefined && before !== pod) yield `${told}: ${pod} answered, before it was ${before}`;
  else if (expect.not !== undefined && known.get(expect.not) === pod) yield `${told}: ${pod} answered again`;
  known.set(expect.one, pod);
}
