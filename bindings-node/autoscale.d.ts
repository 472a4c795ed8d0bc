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
  /** address to listen on; default: all */
  host?: string;
  /** serve the dashboard at /_gridcentric; default true */
  dashboard?: boolean;
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
