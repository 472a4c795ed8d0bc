/**
 * VM fork as a library: a running program asks for resources with a ticket, clones itself with one call, and goes on.
 *
 * All times are milliseconds: a timeout of 0 tries once, a negative one waits for ever. Quick calls (`vmid`, `ismaster`,
 * `my_ip`) answer at once from memory; only the first of a process asks the host and may start a private one. All others
 * take a callback last, called with the result first and the error second, or return a promise. Nothing blocks the
 * event loop: each open call waits in a thread of its own. Every call works in worker_threads.
 *
 * A wrong argument throws a TypeError at once. What the host refuses is a {@link Failure}.
 */

// Nothing below needs @types/node or lib "dom": where one of them is there its AbortSignal and Buffer are meant, elsewhere a
// stand-in of what both have.

/** Node's Buffer; for a program without Node's types the Uint8Array that each Buffer is. */
export type Bytes = typeof globalThis extends { Buffer: { isBuffer(value: any): value is infer B } } ? B : Uint8Array;

/** The runtime's AbortSignal; for a program without its type, what of it is used. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer S } }
  ? S : { readonly aborted: boolean; readonly reason: any };

/** The name of a ticket: 36 characters of a UUID. */
export type Ticket = string;

export type TicketStatus = 'pending' | 'reserved' | 'cloning' | 'active' | 'closed';

/** The words of all errors, as on the wire. */
export type ErrorCode =
  | 'invalid_argument'
  | 'no_such_ticket'
  | 'not_your_ticket'
  | 'ticket_used'
  | 'timed_out'
  | 'barrier_broken'
  | 'interrupted_by_clone'
  | 'too_large'
  | 'clone_failed'
  | 'not_supported'
  | 'host_unreachable'
  | 'protocol'
  | 'no_such_domain'
  | 'not_in_domain';

/**
 * The error of a call: `message` says what was given, what was expected and what to do. Any call may meet
 * `interrupted_by_clone` (another call cloned the domain while this one was open; this is the clone),
 * `host_unreachable` and `protocol`.
 */
export interface Failure extends Error {
  code: ErrorCode;
  /** The number of the error in C: a positive value of errno. */
  errno: number;
}

/** For every call that waits, after its arguments. */
export interface CallOptions {
  /** Takes the call back when it is aborted: the promise rejects with the signal's reason, the host forgets the call. */
  signal?: Signal;
  /** Does the open call keep the process alive? true unless said; with false Node may exit while it waits. */
  ref?: boolean;
}

export interface TicketInfo {
  id: Ticket;
  status: TicketStatus;
  /** CPUs reserved. */
  cpus: number;
  /** Clones that clone() will make, or has made: cpus / mincpuspervm. */
  vms: number;
  /** CPUs of each clone. */
  mincpuspervm: number;
}

export interface Domain {
  /** 0: the master. */
  vmid: number;
  /** vmid of the domain that cloned it; -1 for the master. */
  parent: number;
  /** Its address, numeric. */
  ip: string;
  /** The ticket it was born of. */
  ticket: Ticket;
  state: 'starting' | 'running' | 'ending';
}

export interface Result {
  vmid: number;
  /** `lost`: it is gone and nobody knows how. */
  how: 'joined' | 'exited' | 'killed' | 'lost';
  /** Exit code (`exited`), number of the signal (`killed`), else 0. */
  status: number;
  /** undefined: it ended without one. */
  report: Bytes | undefined;
}

export interface Explanation {
  can_clone: boolean;
  /** One line a finding. */
  report: string;
}

/** `error` is undefined exactly when the call has succeeded; with an error the result is undefined. */
export type Callback<T> = (result: T | undefined, error: Failure | undefined) => void;

/** For clone: with an error `vmid` is negative. */
export type CloneCallback = (vmid: number, error: Failure | undefined) => void;

/** The version of the package, "0.1.0". */
export const version: string;

/** Who am I: 0 in the master, positive and never used again in a clone. Below a microsecond. Throws a Failure. */
export function vmid(): number;

/** Is this the domain that was started, not cloned? Throws a Failure. */
export function ismaster(): boolean;

/** The numeric address of this domain. Throws a Failure. */
export function my_ip(): string;

/**
 * Reserve CPUs for clones: the largest multiple of `mincpuspervm` that is free and at most `maxcpus`, granted once it is
 * enough for `minvms` clones; until then it waits in line, first come first served. Counts are 1 to 2^31 - 1.
 * Errors: `invalid_argument` (it can never be granted), `timed_out`, `clone_failed` (the host has no descriptors for so many).
 */
export function request_ticket(
  maxcpus: number, minvms: number, mincpuspervm: number, timeout: number, options?: CallOptions,
): Promise<Ticket>;
export function request_ticket(
  maxcpus: number, minvms: number, mincpuspervm: number, timeout: number, callback: Callback<Ticket>,
): void;
export function request_ticket(
  maxcpus: number, minvms: number, mincpuspervm: number, timeout: number, options: CallOptions,
  callback: Callback<Ticket>,
): void;

/** Give back a ticket that was not used. Errors: `no_such_ticket`, `not_your_ticket`, `ticket_used`. */
export function release_ticket(ticket: Ticket, options?: CallOptions): Promise<true>;
export function release_ticket(ticket: Ticket, callback: Callback<true>): void;
export function release_ticket(ticket: Ticket, options: CallOptions, callback: Callback<true>): void;

/** The family's tickets in the order of request, the master's own first. */
export function list_tickets(options?: CallOptions): Promise<TicketInfo[]>;
export function list_tickets(callback: Callback<TicketInfo[]>): void;
export function list_tickets(options: CallOptions, callback: Callback<TicketInfo[]>): void;

/** Errors: `no_such_ticket`, `not_your_ticket` (another family's). */
export function ticket_info(ticket: Ticket, options?: CallOptions): Promise<TicketInfo>;
export function ticket_info(ticket: Ticket, callback: Callback<TicketInfo>): void;
export function ticket_info(ticket: Ticket, options: CallOptions, callback: Callback<TicketInfo>): void;

/**
 * Make the ticket's clones of this process, all or none: 0 in the caller, the positive vmid in each clone. The process is
 * copied between two turns of this thread's event loop; handlers of `on('before')` have run in the caller by then. Handlers of
 * `on('clone')` run in each clone before anything else does in this thread; then the child processes and the connections of
 * the master that this thread has end there, and the result is delivered when their owners have been told: a pool makes a new
 * connection for the first request.
 * Errors: `no_such_ticket`, `not_your_ticket`, `ticket_used`, `clone_failed`, `not_supported` (also for a process that is in
 * a cluster of node:cluster); after the last two the ticket is reserved as before.
 */
export function clone(ticket: Ticket, options?: CallOptions): Promise<number>;
export function clone(ticket: Ticket, callback: CloneCallback): void;
export function clone(ticket: Ticket, options: CallOptions, callback: CloneCallback): void;

/** The family's living domains by vmid. */
export function list_domains(options?: CallOptions): Promise<Domain[]>;
export function list_domains(callback: Callback<Domain[]>): void;
export function list_domains(options: CallOptions, callback: Callback<Domain[]>): void;

/**
 * Barrier of the ticket's clones and the domain that cloned them; can be used again and again. A clone leaves the ticket
 * out (or says undefined). Without a timeout it waits for ever.
 * Errors: `timed_out` (this caller's time ran out), `barrier_broken` (another's did, or a member has ended),
 * `no_such_ticket`, `not_your_ticket`, `invalid_argument`.
 */
export function sync(options?: CallOptions): Promise<true>;
export function sync(ticket: Ticket | null | undefined, options?: CallOptions): Promise<true>;
export function sync(
  ticket: Ticket | null | undefined, timeout: number | undefined, options?: CallOptions,
): Promise<true>;
export function sync(callback: Callback<true>): void;
export function sync(options: CallOptions, callback: Callback<true>): void;
export function sync(ticket: Ticket | null | undefined, callback: Callback<true>): void;
export function sync(ticket: Ticket | null | undefined, options: CallOptions, callback: Callback<true>): void;
export function sync(ticket: Ticket | null | undefined, timeout: number | undefined, callback: Callback<true>): void;
export function sync(
  ticket: Ticket | null | undefined, timeout: number | undefined, options: CallOptions, callback: Callback<true>,
): void;

/**
 * End this clone and hand the report (at most 1 MiB; a string is sent as UTF-8; none: it ends without one) to the domain
 * that made it. What was written to stdout and stderr goes out before, then the process ends without 'exit' events. It
 * comes back on an error only: `invalid_argument` (in the master), `too_large`.
 */
export function join(options?: CallOptions): Promise<never>;
export function join(report: string | ArrayBufferView | undefined, options?: CallOptions): Promise<never>;
export function join(callback: Callback<never>): void;
export function join(options: CallOptions, callback: Callback<never>): void;
export function join(report: string | ArrayBufferView | undefined, callback: Callback<never>): void;
export function join(
  report: string | ArrayBufferView | undefined, options: CallOptions, callback: Callback<never>,
): void;

/** join() without a report. */
export function join_noreport(options?: CallOptions): Promise<never>;
export function join_noreport(callback: Callback<never>): void;
export function join_noreport(options: CallOptions, callback: Callback<never>): void;

/**
 * Wait until all clones of the ticket have ended; results by vmid. Without a timeout it waits for ever.
 * Errors: `timed_out`, `no_such_ticket`, `not_your_ticket`, `invalid_argument` (not yet cloned).
 */
export function wait(ticket: Ticket, options?: CallOptions): Promise<Result[]>;
export function wait(ticket: Ticket, timeout: number | undefined, options?: CallOptions): Promise<Result[]>;
export function wait(ticket: Ticket, callback: Callback<Result[]>): void;
export function wait(ticket: Ticket, options: CallOptions, callback: Callback<Result[]>): void;
export function wait(ticket: Ticket, timeout: number | undefined, callback: Callback<Result[]>): void;
export function wait(
  ticket: Ticket, timeout: number | undefined, options: CallOptions, callback: Callback<Result[]>,
): void;

/** End a clone of the family. Errors: `no_such_domain`. */
export function kill(vmid: number, options?: CallOptions): Promise<true>;
export function kill(vmid: number, callback: Callback<true>): void;
export function kill(vmid: number, options: CallOptions, callback: Callback<true>): void;

/** Can this process be cloned here, and if not, because of what? Nothing is stopped or changed. */
export function explain(options?: CallOptions): Promise<Explanation>;
export function explain(callback: Callback<Explanation>): void;
export function explain(options: CallOptions, callback: Callback<Explanation>): void;

/**
 * Run a handler in each clone, in the thread (main or worker) that registered it, in the order of registration, before
 * clone()'s result is delivered there. It is synchronous; what it throws is an uncaught exception. Node's generators of
 * random numbers (crypto, Math.random of the main context) have been reseeded by then: do the same here for your own.
 */
export function on(event: 'clone', handler: (vmid: number) => void): void;
/**
 * Run a handler in this thread each time it calls clone(), before the host is asked and before anybody is stopped: to flush what
 * would otherwise be written by every clone, to close what they must not have. It may return a promise, which is waited for; the
 * handlers run one after the other, in the order of registration, then stdout and stderr are flushed. What one throws or rejects
 * with is clone()'s error: the others don't run, nobody is cloned, the ticket can be used again.
 */
export function on(event: 'before', handler: () => void | PromiseLike<void>): void;
/** Takes a handler back; does nothing when it isn't registered. */
export function off(event: 'clone', handler: (vmid: number) => void): void;
export function off(event: 'before', handler: () => void | PromiseLike<void>): void;

export {
  ismaster as isMaster,
  my_ip as myIp,
  request_ticket as requestTicket,
  release_ticket as releaseTicket,
  list_tickets as listTickets,
  ticket_info as ticketInfo,
  list_domains as listDomains,
  join_noreport as joinNoreport,
};
