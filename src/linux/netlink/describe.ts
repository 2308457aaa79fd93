/**
 * An operation as the ip(8) or bridge(8) command that would do the same, for logs, plans and errors.
 * Layer: linux (pure). Links known by ifindex alone are written ifN, a form that ip(8) reads.
 */
import { keelsonRouteProtocol, type LinkRef, type Route, type RtnetlinkOperation } from '../rtnetlink.ts';
import { defaultScope, defaultTable } from './route.ts';

export function describe(operation: RtnetlinkOperation): string {
  switch (operation.op) {
    case 'linkAddVeth': {
      const { name, mac, mtu, peer } = operation;
      const netns = words('netns', peer.netnsPath?.replace(/^\/(var\/)?run\/netns\//, ''));
      const other = `peer name ${peer.name}${words('address', peer.mac)}${words('mtu', peer.mtu)}${netns}`;
      return `ip link add ${name}${words('address', mac)}${words('mtu', mtu)} type veth ${other}`;
    }
    case 'linkAddBridge':
      return `ip link add ${operation.name} type bridge`;
    case 'linkAddIfb':
      return `ip link add ${operation.name} type ifb`;
    case 'linkAddVxlan': {
      const { name, mac, mtu, vni, port, local } = operation;
      return `ip link add ${name} address ${mac} mtu ${mtu} type vxlan id ${vni} local ${local} nolearning dstport ${port} udpcsum`;
    }
    case 'linkSet': {
      const { link, up, alias, mtu, masterIfindex, mac, rename } = operation;
      const state = up === undefined ? '' : up ? ' up' : ' down';
      const master =
        masterIfindex === undefined ? '' : masterIfindex === 0 ? ' nomaster' : ` master if${masterIfindex}`;
      const quoted = alias === undefined ? undefined : /^[\w:./@-]+$/.test(alias) ? alias : JSON.stringify(alias);
      return `ip link set dev ${device(link)}${words('name', rename)}${words('address', mac)}${words('mtu', mtu)}${master}${words('alias', quoted)}${state}`;
    }
    case 'linkDelete':
      return `ip link del dev ${device(operation.link)}`;
    case 'addressAdd': {
      const { prefix, ifindex, scope, replace, noDad } = operation;
      return `ip addr ${replace ? 'replace' : 'add'} ${prefix} dev if${ifindex}${words('scope', scope)}${noDad ? ' nodad' : ''}`;
    }
    case 'addressDelete':
      return `ip addr del ${operation.prefix} dev if${operation.ifindex}`;
    case 'routeReplace': {
      const { onlink, source, protocol = keelsonRouteProtocol, table = defaultTable(operation) } = operation;
      const scope =
        operation.scope !== undefined && operation.scope !== defaultScope(operation) ? operation.scope : undefined;
      return `${routeWords('replace', operation, operation.type)}${words('src', source)}${words('scope', scope)}${onlink ? ' onlink' : ''}${tableWords(table)} proto ${protocol}`;
    }
    case 'routeDelete':
      return `${routeWords('del', operation)}${tableWords(operation.table ?? 254)}${words('proto', operation.protocol)}`;
    case 'neighReplace':
      return `ip neigh replace ${operation.ip} lladdr ${operation.mac} dev if${operation.ifindex} nud permanent`;
    case 'neighDelete':
      return `ip neigh del ${operation.ip} dev if${operation.ifindex}`;
    case 'fdbReplace':
      return `bridge fdb replace ${operation.mac} dev if${operation.ifindex} dst ${operation.ip} self permanent`;
    case 'fdbDelete':
      return `bridge fdb del ${operation.mac} dev if${operation.ifindex}${words('dst', operation.ip)} self`;
    case 'qdiscReplaceTbf': {
      const { ifindex, rateBytes, burstBytes, limitBytes } = operation;
      return `tc qdisc replace dev if${ifindex} root handle 1: tbf rate ${rateBytes}bps burst ${burstBytes} limit ${limitBytes}`;
    }
    case 'qdiscAddIngress':
      return `tc qdisc add dev if${operation.ifindex} ingress`;
    case 'filterRedirect':
      return `tc filter add dev if${operation.ifindex} parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev if${operation.toIfindex}`;
  }
}

function words(word: string, value: string | number | undefined): string {
  return value === undefined ? '' : ` ${word} ${value}`;
}

function tableWords(table: number): string {
  return table === 254 ? '' : ` table ${table}`;
}

function device(ref: LinkRef): string {
  return 'name' in ref ? ref.name : `if${ref.ifindex}`;
}

function routeWords(
  verb: string,
  operation: { destination: string; gateway?: string; ifindex?: number },
  type: Route['type'] = 'unicast',
): string {
  const { destination, gateway, ifindex } = operation;
  const six = destination.includes(':');
  const family = six ? 'ip -6 route' : 'ip route';
  const kind = type === 'unicast' ? '' : ` ${type}`;
  const target = destination === '0.0.0.0/0' || destination === '::/0' ? 'default' : destination;
  const via =
    gateway !== undefined && gateway.includes(':') !== six
      ? words('via', `${six ? 'inet' : 'inet6'} ${gateway}`)
      : words('via', gateway);
  return `${family} ${verb}${kind} ${target}${via}${words('dev', ifindex === undefined ? undefined : `if${ifindex}`)}`;
}
