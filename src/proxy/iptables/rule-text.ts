/**
 * Rules in the words and the order in which iptables-save prints them, so that what the kernel has can be compared with
 * what it should have as text.
 * Layer: proxy/iptables (pure). Whatever comes from objects goes through here: nothing in it may end a quote or a line.
 */
import type { IpFamily } from '../../api/service.ts';

export interface RuleParts {
  /** An address or a prefix. One with every address matches always and is left out, as iptables does. */
  from?: string | undefined;
  notFrom?: string;
  to?: string | undefined;
  /** A link, or with a `+` behind it all that begin so. */
  link?: string;
  notLink?: string;
  /** In lower case. */
  protocol?: string;
  /** Each with a blank before it. */
  matches?: readonly string[];
  /** With its options; absent: the rule does nothing. */
  target?: string;
}

export function rule({ from, notFrom, to, link, notLink, protocol, matches = [], target }: RuleParts): string {
  let text = notFrom === undefined ? address('-s', from) : ` !${address('-s', notFrom)}`;
  text += address('-d', to);
  if (link !== undefined) text += ` -i ${link}`;
  if (notLink !== undefined) text += ` ! -i ${notLink}`;
  if (protocol !== undefined) text += ` -p ${protocol}`;
  text += matches.join('');
  if (target !== undefined) text += ` -j ${target}`;
  return text.slice(1);
}

function address(letter: '-s' | '-d', prefix: string | undefined): string {
  if (prefix === undefined || isEverywhere(prefix)) return '';
  return ` ${letter} ${prefix.includes('/') ? prefix : `${prefix}/${prefix.includes(':') ? 128 : 32}`}`;
}

export const loopback = '127.0.0.0/8';

export const isEverywhere = (prefix: string): boolean => prefix.endsWith('/0');

/** xt_comment.h: XT_MAX_COMMENT_LEN is 256 with the terminating NUL. */
const maxComment = 255;

/** Characters that no name of an object has become `_`. */
export function comment(text: string): string {
  const safe = text.replace(/[^A-Za-z0-9 ._:/>;,[\]-]/g, '_').slice(0, maxComment);
  return ` -m comment --comment "${safe}"`;
}

/** 1/n: the kernel has it in units of 2^-31, which iptables-save prints. @param among 2 or more */
export function chance(among: number): string {
  let text = probabilities[among];
  if (text === undefined) {
    text = (Math.round(0x80000000 / among) / 0x80000000).toFixed(11);
    if (among < 1000) probabilities[among] = text;
  }
  return ` -m statistic --mode random --probability ${text}`;
}

const probabilities: (string | undefined)[] = [];

/** The match `recent` by source address. @param action what it does, e.g. `--set` */
export function recent(family: IpFamily, action: string, name: string): string {
  const mask = family === 'IPv4' ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
  return ` -m recent ${action} --name ${name} --mask ${mask} --rsource`;
}

export const reject = (family: IpFamily): string =>
  `REJECT --reject-with ${family === 'IPv4' ? 'icmp-port-unreachable' : 'icmp6-port-unreachable'}`;

export const isNew = ' -m conntrack --ctstate NEW';
export const fromThisNode = ' -m addrtype --src-type LOCAL';
export const toThisNode = ' -m addrtype --dst-type LOCAL';

/** Hexadecimal without leading zeros. */
export const mark = (bit: number): string => `0x${(2 ** bit).toString(16)}`;
