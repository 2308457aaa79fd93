/**
 * Layer: linux (test support, not built). Makes table entries without traffic, for tests and benches with very many.
 */
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST } from '../netlink/constants.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { addressKey } from './address-key.ts';
import { CTA, IPCTNL_MSG_CT } from './constants.ts';
import { begin, writeTuple } from './encode.ts';
import type { Flow, Tuple } from './types.ts';

const entrySeconds = 600;

/** One IPCTNL_MSG_CT_NEW for each; the kernel gives ids of its own. */
export function encodeFlowAdds(flows: readonly Flow[], firstSequence: number): Buffer {
  const writer = new MessageWriter();
  for (const [index, flow] of flows.entries()) {
    const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | (index === flows.length - 1 ? NLM_F_ACK : 0);
    begin(writer, IPCTNL_MSG_CT.NEW, flags, firstSequence + index, flow.family);
    writeTuple(writer, CTA.TUPLE_ORIG, flow, flow.original, 0);
    writeTuple(writer, CTA.TUPLE_REPLY, flow, flow.reply, flow.replyZone);
    if (flow.zone !== 0) writer.attributeBytes(CTA.ZONE, Uint8Array.of(flow.zone >> 8, flow.zone & 255));
    writer.attributeU32Be(CTA.TIMEOUT, entrySeconds);
    writer.end();
  }
  return writer.take();
}

/** `10.0.0.1:53` or `[fd00::1]:53`. */
type Endpoint = string;

/** A UDP flow of `client` to `destination`, answered by `replier` (after dnat another one), with id 0. */
export function aFlow(
  client: Endpoint,
  destination: Endpoint,
  replier: Endpoint = destination,
  more: Partial<Flow> = {},
): Flow {
  const tuple = (from: Endpoint, to: Endpoint): Tuple => ({
    source: addressKey(hostOf(from)),
    destination: addressKey(hostOf(to)),
    sourcePort: portOf(from),
    destinationPort: portOf(to),
  });
  return {
    family: client.startsWith('[') ? 'IPv6' : 'IPv4',
    protocol: 'UDP',
    original: tuple(client, destination),
    reply: tuple(replier, client),
    id: 0,
    zone: 0,
    replyZone: 0,
    ...more,
  };
}

const hostOf = (endpoint: Endpoint): string => endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/[[\]]/g, '');
const portOf = (endpoint: Endpoint): number => Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
