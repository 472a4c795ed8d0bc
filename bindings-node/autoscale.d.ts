// Types of require('gridcentric/autoscale'). docs/autoscale.md describes the options.

/** A clone, as passed to strategy functions. */
export interface Candidate {
  vmid: number;
  ip: string;
  /** its active users */
  users: number;
}

/** An event, as passed to onScale. */
export interface ScaleEvent {
  kind: 'cloned' | 'failed' | 'drain' | 'ended' | 'killed';
  /** active users and living clones afterwards */
  users: number;
  clones: number;
  /** the clones concerned (not for `failed`) */
  vmids?: number[];
  /** how long cloning took, in ms (`cloned`) */
  ms?: number;
  /** why no clone could be made (`failed`) */
  reason?: string;
}

/** A request, as passed to functions: the part of Node's http.IncomingMessage that this file can name without Node's types. */
export interface IncomingRequest {
  method?: string;
  url?: string;
  headers: Record<string, string | string[] | undefined>;
  socket: { remoteAddress?: string };
}

/** All times are milliseconds. */
export interface Options {
  /** active users for each clone; default 2 */
  usersPerClone?: number;
  /** clones kept even without users; default 0 */
  minClones?: number;
  /** the maximum number of clones; default 32 */
  maxClones?: number;
  /** time between rounds; default 1000 */
  interval?: number;
  /** which clone with room gets a new user: a function is given these clones and the user's id and returns one, or its vmid; default 'latest' */
  strategy?: 'latest' | 'round-robin' | 'least-loaded' | 'random' | ((clones: Candidate[], user: string) => Candidate | number);
  /** minimum time between two scaling steps; default 0 */
  cooldown?: number;
  /** how long a clone without users is kept; false: forever; default 60000 */
  drain?: number | false;
  /** how long a user without a request counts as active; default 30000 */
  userTimeout?: number;
  /** how long a request may be held for a clone; default 15000 */
  holdTimeout?: number;
  /** how many requests may be held at once; any further one is answered 503 immediately; default 1000 */
  maxHeld?: number;
  /** how long a clone may be silent before a request is answered 504; default 60000 */
  requestTimeout?: number;
  /** how long requests and WebSockets under way may take once close() is called; then they are cut off; default 5000 */
  endLimit?: number;
  /** simultaneous connections; any further one is closed at once; default 10000 */
  maxConnections?: number;
  /**
   * what identifies a user: the proxy's own cookie, the client's address, a header's value, or what a function returns
   * (undefined: a stranger, which counts only while its request is open); default 'cookie'
   */
  users?: 'cookie' | 'address' | { header: string } | ((request: IncomingRequest) => string | undefined);
  /** trust the X-Forwarded-* headers: set it only if nothing but your own front proxy can connect; default false */
  trustProxy?: boolean;
  /** the address to listen on; default: all */
  host?: string;
  /**
   * who sees the dashboard at /_gridcentric: true: this computer only; a token: requests that carry it (?token=,
   * Authorization: Bearer); a function: requests for which it returns true; false: nobody; default true
   */
  dashboard?: boolean | { token: string } | ((request: IncomingRequest) => boolean);
  /** on SIGINT and SIGTERM close() first; a second signal is cutOff(); default true */
  signals?: boolean;
  /** called after each event */
  onScale?: (event: ScaleEvent) => void;
  /** called with one line per event; default: write it to stderr */
  log?: (text: string) => void;
  /** returns the time in ms; for tests */
  clock?: () => number;
  /** returns a random number from 0 up to but not including 1; for tests */
  random?: () => number;
}

export interface Autoscaler {
  /** Resolves once the proxy listens; rejects if it can't. */
  readonly ready: Promise<void>;
  /** Run a round now, in addition to those of every interval. */
  tick(): Promise<void>;
  /** The state that the dashboard shows: docs/autoscale.md, "The feed". */
  state(): Record<string, unknown>;
  /**
   * Accept nothing new, let what is under way end by itself (for endLimit at most), then end all clones. Resolves when all has
   * ended. The app in this process keeps running.
   */
  close(): Promise<void>;
  /** While close() waits for what is under way: cut it off. Returns whether there was something to wait for. */
  cutOff(): boolean;
}

/**
 * Make this process the master of a family: a proxy on listenPort that routes each user to a clone of the app on appPort.
 * @throws {TypeError} naming the invalid argument
 */
export function setup(listenPort: number, appPort: number, options?: Options): Autoscaler;
