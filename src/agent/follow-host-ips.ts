/**
 * Keeps `hostIPs` of the machine's facts what the machine has, where no flag names them: a node with DHCP may get another
 * address while it runs, and its Node and pods have to say so (the kubelet looks at each node status, nodestatus/setters.go).
 * Layer: agent, over the rtnetlink edge. Which address is the node's is node-facts.ts' to say.
 */
import type { CancelTimer, Clock } from '../base/clock.ts';
import type { Address, RtnetlinkNotification, RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { MachineFacts } from './node-facts.ts';

/** A DHCP client takes the old address away before it adds the new one and its routes. */
const gatherMs = 1_000;
const retryMs = 10_000;

export interface HostIPsContext {
  /** Changed in place: whoever holds the list has the addresses of now. */
  hostIPs: string[];
  read: () => Promise<Pick<MachineFacts, 'hostIPs'>>;
  rtnetlinkOpener: Pick<RtnetlinkOpener, 'subscribe'>;
  clock: Clock;
  log: Logger;
  /** After each change. */
  onChange: () => void;
}

/** @returns ends it. @throws KernelError when the kernel tells nothing */
export async function followHostIPs(context: HostIPsContext): Promise<() => void> {
  const { hostIPs, read, rtnetlinkOpener, clock, log, onChange } = context;
  let cancel: CancelTimer | undefined;
  let stopped = false;
  const lookAfter = (delayMs: number): void => {
    if (stopped) return;
    cancel ??= clock.after(delayMs, () => {
      cancel = undefined;
      void look();
    });
  };
  const look = async (): Promise<void> => {
    try {
      const { hostIPs: now } = await read();
      // Without any the last ones count: a link that is down for a moment takes nothing away.
      if (stopped || now.length === 0 || now.join() === hostIPs.join()) return;
      log.warn({ before: [...hostIPs], now }, 'the machine has another address');
      hostIPs.splice(0, hostIPs.length, ...now);
      onChange();
    } catch (error) {
      if (stopped) return;
      log.warn({ error: errorLine(error) }, 'cannot read the addresses of the machine; trying again');
      lookAfter(retryMs);
    }
  };
  const unsubscribe = await rtnetlinkOpener.subscribe(
    ['address4', 'address6', 'route4', 'route6'],
    (notification) => concerns(notification) && lookAfter(gatherMs),
  );
  // What came between the first reading and now.
  lookAfter(gatherMs);
  return () => {
    stopped = true;
    cancel?.();
    unsubscribe();
  };
}

/** Routes of pods come and go all day; only default ones decide. */
function concerns(notification: RtnetlinkNotification): boolean {
  switch (notification.event) {
    case 'overrun':
      return true;
    case 'addressNew':
    case 'addressDelete':
      return isGlobal(notification.address);
    case 'routeNew':
    case 'routeDelete':
      return /^(0\.0\.0\.0|::)\/0$/.test(notification.route.destination);
    default:
      return false;
  }
}

const isGlobal = ({ scope }: Address): boolean => scope === 'global';
