/**
 * The address of an API server as kubeconfigs write it.
 * Layer: config (pure). It only judges the text; whether somebody answers there is the client's work.
 */
import { type SchemaProblem, shown } from './schema.ts';

const example = 'write it as https://10.0.0.1:6443';

/** `https://host:port/path` without a slash at the end, or what is wrong with it. */
export function parseServerUrl(
  text: string,
  allowInsecure: boolean,
): { readonly url: string } | { readonly problem: SchemaProblem } {
  const bad = (message: string, fix = example) => ({ problem: { code: 'CONFIG_VALUE' as const, message, fix } });
  // client-go takes a bare host:port for http; that is never meant today, and URL would read the host as a scheme.
  if (!/^https?:\/\//i.test(text)) return bad(`${shown(text)} is no address of an API server`);
  if (!URL.canParse(text)) return bad(`${shown(text)} is no address of an API server`);
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    return bad('holds a user name or password', 'give the user a certificate or a token');
  }
  if (url.search !== '' || url.hash !== '') return bad(`${shown(text)} has a query or fragment`);
  if (url.protocol === 'http:' && !allowInsecure) {
    const message = 'http would send credentials in the clear';
    return { problem: { code: 'CONFIG_UNSUPPORTED', message, fix: 'use the https address of the API server' } };
  }
  return { url: `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}` };
}
