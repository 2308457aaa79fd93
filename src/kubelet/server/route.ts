/**
 * What the parts of the kubelet's API (pods, logs, streams, stats) hand to its server: a method, a path pattern, the
 * subresources of the Node that allow it, and who answers.
 * Layer: kubelet/server (types only). Authentication and authorisation are done before a handler is called.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** The fine-grained name comes first; any that is allowed suffices (pkg/kubelet/server/auth.go). */
export type NodeSubresource =
  | 'pods'
  | 'healthz'
  | 'configz'
  | 'stats'
  | 'metrics'
  | 'log'
  | 'checkpoint'
  | 'statusz'
  | 'proxy';

export interface RouteRequest {
  /** Decoded values of the pattern's `{names}`. */
  params: Readonly<Record<string, string>>;
  url: URL;
  method: string;
  request: IncomingMessage;
  /** Aborted when the client goes away or the server stops. */
  signal: AbortSignal;
}

export interface Route {
  methods: readonly string[];
  /** `/containerLogs/{namespace}/{pod}/{container}`; a last segment `{rest...}` takes all that follows. */
  path: string;
  subresources: readonly NodeSubresource[];
  /** Also on the read-only port 10255, which asks for no identity. */
  readOnlyPort?: true;
  /** Writes the whole answer. A HttpStatusError that it throws before that becomes the answer. */
  handle(request: RouteRequest, response: ServerResponse): Promise<void>;
  /** For requests with `Connection: Upgrade`; owns the socket, and writes even its refusals itself. */
  upgrade?(request: RouteRequest, socket: Duplex, head: Buffer): Promise<void>;
}
