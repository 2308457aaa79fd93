/**
 * Notifications of the nf_tables multicast group, gathered into one event for each committed batch.
 * Layer: linux (pure). The kernel tells every object of a batch in a message of its own and the generation at last; our own
 * batches are skipped by their port number, unread.
 */
import { type MessageCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import { messageType, NFNL_SUBSYS_NFTABLES, NFT_MSG, NFTA_SET_ELEM_LIST } from './constants.ts';
import type { NftablesChange, NftablesNotification } from './edge.ts';
import {
  decodeChain,
  decodeGeneration,
  decodeRule,
  decodeTable,
  messageFamily,
  nftAttributes,
} from './object-decode.ts';

export class NotificationReader {
  readonly #ownPortId: number;
  readonly #listener: (notification: NftablesNotification) => void;
  #changes: NftablesChange[] = [];

  constructor(ownPortId: number, listener: (notification: NftablesNotification) => void) {
    this.#ownPortId = ownPortId;
    this.#listener = listener;
  }

  /** Something was lost before what comes next. */
  overrun(): void {
    this.#changes = [];
    this.#listener({ event: 'overrun' });
  }

  /** @throws NetlinkFormatError; then the rest of these bytes is lost */
  read(message: MessageCursor): void {
    if (message.type >> 8 !== NFNL_SUBSYS_NFTABLES) return;
    const own = message.portId === this.#ownPortId;
    if (message.type === messageType(NFT_MSG.NEWGEN)) {
      const changes = this.#changes;
      this.#changes = [];
      this.#listener({ event: 'transaction', ...decodeGeneration(message), own, portId: message.portId, changes });
    } else if (!own) {
      this.#add(message);
    }
  }

  #add(message: MessageCursor): void {
    const change = decodeChange(message);
    if (change === undefined) return;
    const last = this.#changes.at(-1);
    if ('set' in change && last !== undefined && 'set' in last && sameSet(change, last)) last.count += change.count;
    else this.#changes.push(change);
  }
}

type ElementsChange = Extract<NftablesChange, { set: string }>;

const sameSet = (a: ElementsChange, b: ElementsChange): boolean =>
  a.change === b.change && a.set === b.set && a.table === b.table && a.family === b.family;

/** Undefined for objects that Keelson does not have, e.g. flowtables. @throws NetlinkFormatError */
function decodeChange(message: MessageCursor): NftablesChange | undefined {
  const type = message.type & 0xff;
  switch (type) {
    case NFT_MSG.NEWTABLE:
    case NFT_MSG.DELTABLE: {
      const { family, name } = decodeTable(message);
      return { change: type === NFT_MSG.NEWTABLE ? 'tableNew' : 'tableDelete', family, table: name };
    }
    case NFT_MSG.NEWCHAIN:
    case NFT_MSG.DELCHAIN: {
      const { family, table, name } = decodeChain(message);
      return { change: type === NFT_MSG.NEWCHAIN ? 'chainNew' : 'chainDelete', family, table, name };
    }
    case NFT_MSG.NEWRULE:
    case NFT_MSG.DELRULE: {
      const { family, table, chain, handle } = decodeRule(message);
      return { change: type === NFT_MSG.NEWRULE ? 'ruleNew' : 'ruleDelete', family, table, chain, handle };
    }
    case NFT_MSG.NEWSET:
    case NFT_MSG.DELSET: {
      const { table, name } = inTable(message);
      return { change: type === NFT_MSG.NEWSET ? 'setNew' : 'setDelete', family: messageFamily(message), table, name };
    }
    case NFT_MSG.NEWSETELEM:
    case NFT_MSG.DELSETELEM: {
      const { table, name } = inTable(message);
      const change = type === NFT_MSG.NEWSETELEM ? 'elementsNew' : 'elementsDelete';
      return { change, family: messageFamily(message), table, set: name, count: countElements(message) };
    }
    default:
      return undefined;
  }
}

/** Sets and element lists carry the table as attribute 1 and the set as attribute 2. */
function inTable(message: MessageCursor): { table: string; name: string } {
  const attributes = nftAttributes(message);
  const table = attributes.string(NFTA_SET_ELEM_LIST.TABLE);
  const name = attributes.string(NFTA_SET_ELEM_LIST.SET);
  if (table === undefined || name === undefined) throw new NetlinkFormatError('set without a name');
  return { table, name };
}

function countElements(message: MessageCursor): number {
  const list = nftAttributes(message).nested(NFTA_SET_ELEM_LIST.ELEMENTS);
  let count = 0;
  while (list?.next()) count++;
  return count;
}
