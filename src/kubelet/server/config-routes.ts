/**
 * What this node was told: /configz, and the pages /statusz and /flagz for people.
 * Layer: kubelet/server. Texts and documents are made by their owners. Formats: component-base/configz and
 * component-base/zpages.
 */
import { HttpStatusError } from './http-status-error.ts';
import { sendJson, sendText } from './plain-answer.ts';
import type { Route } from './route.ts';

export interface NodeSettings {
  /** The KubeletConfiguration in effect, as a v1beta1 document. */
  configuration(): object;
  /** By flag name without dashes, in the order of the page. */
  flags(): Readonly<Record<string, string>>;
  /** `v1.36.0`, and of the daemon itself. */
  kubeletVersion: string;
  version: string;
  startedAt: Date;
  /** Paths that are served. */
  paths(): readonly string[];
  now(): number;
}

export function configRoutes(settings: NodeSettings): Route[] {
  const page = (title: string, lines: readonly string[]): string =>
    [`kubelet ${title}`, 'Warning: this page is for people, and its form may change.', '', ...lines, ''].join('\n');
  return [
    {
      methods: ['GET'],
      path: '/configz',
      subresources: ['configz', 'proxy'],
      async handle(_request, response) {
        sendJson(response, { kubeletconfig: settings.configuration() });
      },
    },
    {
      methods: ['GET'],
      path: '/statusz',
      subresources: ['statusz'],
      async handle({ request }, response) {
        plainOnly(request.headers.accept);
        const { startedAt, kubeletVersion, version } = settings;
        const lines = [
          `Started: ${startedAt.toISOString()}`,
          `Up: ${upTime(settings.now() - startedAt.getTime())}`,
          `Keelson version: ${version}`,
          `Node version: ${process.version}`,
          `Emulation version: ${kubeletVersion}`,
          `Paths: ${settings.paths().join(' ')}`,
        ];
        sendText(response, 200, page('statusz', lines));
      },
    },
    {
      methods: ['GET'],
      path: '/flagz',
      subresources: ['configz'],
      async handle({ request }, response) {
        plainOnly(request.headers.accept);
        const lines = Object.entries(settings.flags()).map(([name, value]) => `${name}=${value}`);
        sendText(response, 200, page('flagz', lines));
      },
    },
  ];
}

/** @throws HttpStatusError 406 for who wants a structured answer */
function plainOnly(accept: string | undefined): void {
  if (accept === undefined || /\*\/\*|text\/(plain|\*)/.test(accept)) return;
  throw new HttpStatusError(406, 'only text/plain is served');
}

/** `1 day 2 hr 03 min 04 sec` */
function upTime(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number): string => String(value).padStart(2, '0');
  const days = Math.floor(seconds / 86_400);
  const rest = `${Math.floor(seconds / 3600) % 24} hr ${two(Math.floor(seconds / 60) % 60)} min ${two(seconds % 60)} sec`;
  return days > 0 ? `${days} day ${rest}` : rest;
}
