// Types of require('gridcentric/autoscale'). docs/autoscale.md tells what the options do.

/** A clone as strategy functions see it. */
export interface Candidate {
  vmid: number;
  ip: string;
  /** active users on it */
  users: number;
}

/** What has happened, for onScale. */
export interface ScaleEvent {
  kind: 'cloned' | 'failed' | 'drain' | 'ended' | 'killed';
  /** active users and living clones afterwards */
  users: number;
  clones: number;
  /** the clones it happened to (not for `failed`) */
  vmids?: number[];
  /** what the cloning took, in ms (`cloned`) */
  ms?: number;
  /** why no clone could be made (`failed`) */
  reason?: string;
}

/** What functions see of a request: the part of node's http.IncomingMessage that this file can name without its types. */
export interface IncomingRequest {
  method?: string;
  url?: string;
  headers: Record<string, string | string[] | undefined>;
  socket: { remoteAddress?: string };
}

/** All times are milliseconds. */
export interface Options {
  /** users for each clone; default 2 */
  usersPerClone?: number;
  /** clones that are there without users; default 0 */
  minClones?: number;
  /** the most clones there will be; default 32 */
  maxClones?: number;
  /** time between two rounds; default 1000 */
  interval?: number;
  /** which clone with room a new user goes to: a function gets these clones and the user's id and returns one, or its vmid; default 'latest' */
  strategy?: 'latest' | 'round-robin' | 'least-loaded' | 'random' | ((clones: Candidate[], user: string) => Candidate | number);
  /** least time between two scalings; default 0 */
  cooldown?: number;
  /** how long a clone without users is kept, false: for ever; default 60000 */
  drain?: number | false;
  /** how long a user without a request counts as active; default 30000 */
  userTimeout?: number;
  /** how long a request is held for a clone at most; default 15000 */
  holdTimeout?: number;
  /** how many requests are held at most; one more is answered 503 at once; default 1000 */
  maxHeld?: number;
  /** how long a clone may say nothing to a request before it is answered 504; default 60000 */
  requestTimeout?: number;
  /** connections at a time; one more is closed at once; default 10000 */
  maxConnections?: number;
  /**
   * who is a user: by the proxy's own cookie, the client's address, a header's value, or what a function returns (undefined: a
   * stranger, who counts only while its request is open); default 'cookie'
   */
  users?: 'cookie' | 'address' | { header: string } | ((request: IncomingRequest) => string | undefined);
  /** believe the X-Forwarded-* headers of whoever connects: set it when only your own front can; default false */
  trustProxy?: boolean;
  /** address to listen on; default: all */
  host?: string;
  /**
   * the dashboard at /_gridcentric: true shows it to this computer alone, a token to whoever brings it (?token=, Authorization:
   * Bearer), a function to whom it returns true for, false to nobody; default true
   */
  dashboard?: boolean | { token: string } | ((request: IncomingRequest) => boolean);
  /** on SIGINT and SIGTERM end all clones first; default true */
  signals?: boolean;
  /** called when something has happened */
  onScale?: (event: ScaleEvent) => void;
  /** gets a line for each thing that happened; default: to stderr */
  log?: (text: string) => void;
  /** time in ms; for tests */
  clock?: () => number;
  /** chance, from 0 to below 1; for tests */
  random?: () => number;
}

export interface Autoscaler {
  /** Resolves once the proxy listens; rejects when it can't. */
  readonly ready: Promise<void>;
  /** One round now, besides those of every interval. */
  tick(): Promise<void>;
  /** What the dashboard shows: docs/autoscale.md, "The feed". */
  state(): Record<string, unknown>;
  /** End all clones, close all connections and the proxy. The app in this process goes on. */
  close(): Promise<void>;
}

/**
 * Make this process the master of a family: a proxy on listenPort that hands each user to a clone of the app on appPort.
 * @throws {TypeError} a wrong argument, by name
 */
export function setup(listenPort: number, appPort: number, options?: Options): Autoscaler;
