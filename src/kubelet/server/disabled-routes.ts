/**
 * Paths that are switched off, or not served without identity: they answer 405 with the reason instead of 404.
 * Layer: kubelet/server. Rules: InstallDebuggingDisabledHandlers and its neighbours in pkg/kubelet/server/server.go.
 */
import { sendText } from './plain-answer.ts';
import type { Route } from './route.ts';

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

function disabled(path: string, message: string, subresources: Route['subresources'] = ['proxy']): Route {
  return {
    methods,
    path,
    subresources,
    readOnlyPort: true,
    async handle(_request, response) {
      sendText(response, 405, `${message}\n`);
    },
  };
}

const debugging = ['run', 'exec', 'attach', 'portForward', 'containerLogs', 'debug/pprof'];

/** For a server with enableDebuggingHandlers: false, and for the read-only port. */
export const debuggingDisabled = (): Route[] => {
  const message = 'Debug endpoints are disabled.';
  return [
    ...debugging.map((name) => disabled(`/${name}/{rest...}`, message)),
    disabled('/runningpods', message, ['pods', 'proxy']),
    ...logPaths(message),
  ];
};

export const systemLogDisabled = (): Route[] => logPaths('logs endpoint is disabled.');

export const profilingDisabled = (): Route[] => [disabled('/debug/pprof/{rest...}', 'profiling endpoint is disabled.')];

export const debugFlagsDisabled = (): Route[] => [disabled('/debug/flags/v', 'flags endpoint is disabled.')];

const logPaths = (message: string): Route[] => [
  disabled('/logs', message, ['log']),
  disabled('/logs/{rest...}', message, ['log']),
];

/** Of the routes that are served to identities, those that enableDebuggingHandlers: false takes away. */
export function withoutDebugging(routes: readonly Route[]): Route[] {
  const gone = new Set([...debugging, 'runningpods', 'logs', 'configz', 'checkpoint', 'statusz', 'flagz', 'debug']);
  return routes.filter(({ path }) => !gone.has(path.split('/')[1] ?? ''));
}
