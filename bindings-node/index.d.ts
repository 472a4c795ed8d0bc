/**
 * VM fork as a library: a running program reserves resources with a ticket, then clones itself with one call.
 *
 * All times are milliseconds: a timeout of 0 tries once, a negative one waits forever. Quick calls (`vmid`, `ismaster`,
 * `my_ip`) return at once from memory; only a process's first call asks the host and may start a private one. All others
 * take a callback last, called with the result first and the error second, or return a promise. Nothing blocks the
 * event loop: each open call waits in its own thread. Every call works in worker_threads.
 *
 * An invalid argument throws a TypeError at once. If the host refuses, the error is a {@link Failure}.
 */

// Nothing below needs @types/node or lib "dom": with either, its AbortSignal and Buffer are used; without, a stand-in for the
// part that we use.

/** Node's Buffer; without Node's types, Uint8Array, which Buffer extends. */
export type Bytes = typeof globalThis extends { Buffer: { isBuffer(value: any): value is infer B } } ? B : Uint8Array;

/** The runtime's AbortSignal; without its type, the part of it that is used. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer S } }
  ? S : { readonly aborted: boolean; readonly reason: any };

/** The name of a ticket: a UUID of 36 characters. */
export type Ticket = string;

export type TicketStatus = 'pending' | 'reserved' | 'cloning' | 'active' | 'closed';

/** The codes of all errors, as on the wire. */
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
 * The error of a call: `message` says what was given, what was expected and what to do. Any call may fail with
 * `interrupted_by_clone` (another call cloned the domain while this one was open; this is the clone),
 * `host_unreachable` and `protocol`.
 */
export interface Failure extends Error {
  code: ErrorCode;
  /** The error's number in C: a positive errno value. */
  errno: number;
}

/** Options of every call that waits, after its arguments. */
export interface CallOptions {
  /** Cancels the call when aborted: the promise rejects with the signal's reason, and the host forgets the call. */
  signal?: Signal;
  /** Whether the open call keeps the process alive. Default true; if false, Node may exit while it waits. */
  ref?: boolean;
}

export interface WaitOptions extends CallOptions {
  /**
   * The host forgets the ticket once the results are here, with the reports that it kept: for a program that clones for a long
   * time. Otherwise a family's last 1,000 closed tickets are kept, and at most 128 MiB of reports.
   */
  forget?: boolean;
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
  /** Numeric address. */
  ip: string;
  /** The ticket that it was made with. */
  ticket: Ticket;
  state: 'starting' | 'running' | 'ending';
}

export interface Result {
  vmid: number;
  /** `lost`: it is gone, and how is unknown. */
  how: 'joined' | 'exited' | 'killed' | 'lost';
  /** Exit code (`exited`), signal number (`killed`), otherwise 0. */
  status: number;
  /** undefined if it ended without one. */
  report: Bytes | undefined;
}

export interface Explanation {
  can_clone: boolean;
  /** One line per finding. */
  report: string;
}

/** If the call succeeded, `error` is undefined; otherwise `result` is. */
export type Callback<T> = (result: T | undefined, error: Failure | undefined) => void;

/** For clone: on error, `vmid` is negative. */
export type CloneCallback = (vmid: number, error: Failure | undefined) => void;

/** The version of the package, "0.1.0". */
export const version: string;

/** This domain's number: 0 in the master; in a clone positive and never reused. Takes less than a microsecond. Throws a Failure. */
export function vmid(): number;

/** Whether this domain was started, not cloned. Throws a Failure. */
export function ismaster(): boolean;

/** The numeric address of this domain. Throws a Failure. */
export function my_ip(): string;

/**
 * Reserve CPUs for clones: the largest multiple of `mincpuspervm` that is free and at most `maxcpus`, granted as soon as
 * that is enough for `minvms` clones. Until then the call waits in line, first come, first served. Counts are 1 to 2^31 - 1.
 * Errors: `invalid_argument` (it can never be granted), `timed_out`, `clone_failed` (too few descriptors in the host).
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

/** Give back an unused ticket. Errors: `no_such_ticket`, `not_your_ticket`, `ticket_used`. */
export function release_ticket(ticket: Ticket, options?: CallOptions): Promise<true>;
export function release_ticket(ticket: Ticket, callback: Callback<true>): void;
export function release_ticket(ticket: Ticket, options: CallOptions, callback: Callback<true>): void;

/**
 * Shorten the pause of the next clone() of a program with hundreds of megabytes: move its memory into huge pages, for at most
 * `timeout` milliseconds (without it: until all has been seen). Returns how many MiB are in huge pages. The program goes on
 * meanwhile; what maps memory may wait for 1 ms, or longer if the computer is busy. It costs about 0.5 ms of CPU for each MiB.
 * The result is 0 where it is not possible: before Linux 6.1, if transparent_hugepage is set to never, and in a VM, which is
 * cloned as a whole. Ends early when a clone() begins. With GRIDCENTRIC_PREPARE=1 in the environment a thread of the library does
 * the same whenever request_ticket() has returned a ticket.
 */
export function prepare(options?: CallOptions): Promise<number>;
export function prepare(timeout: number | undefined, options?: CallOptions): Promise<number>;
export function prepare(callback: Callback<number>): void;
export function prepare(options: CallOptions, callback: Callback<number>): void;
export function prepare(timeout: number | undefined, callback: Callback<number>): void;
export function prepare(timeout: number | undefined, options: CallOptions, callback: Callback<number>): void;

/** The family's tickets in order of request, the master's own first. */
export function list_tickets(options?: CallOptions): Promise<TicketInfo[]>;
export function list_tickets(callback: Callback<TicketInfo[]>): void;
export function list_tickets(options: CallOptions, callback: Callback<TicketInfo[]>): void;

/** One ticket of the family. Errors: `no_such_ticket`, `not_your_ticket` (another family's). */
export function ticket_info(ticket: Ticket, options?: CallOptions): Promise<TicketInfo>;
export function ticket_info(ticket: Ticket, callback: Callback<TicketInfo>): void;
export function ticket_info(ticket: Ticket, options: CallOptions, callback: Callback<TicketInfo>): void;

/**
 * Make the ticket's clones of this process, all or none. Returns 0 in the caller, the positive vmid in each clone. The process is
 * copied between two turns of this thread's event loop, after the caller's `on('before')` handlers have run. In each clone,
 * `on('clone')` handlers run before anything else in this thread. Then this thread's inherited child processes and connections
 * end there, and the result is delivered after their owners have been notified, so that a pool opens a new connection for the
 * first request.
 * Errors: `no_such_ticket`, `not_your_ticket`, `ticket_used`, `clone_failed`, `not_supported` (also for a process in a cluster
 * of node:cluster); after the last two the ticket is still reserved.
 */
export function clone(ticket: Ticket, options?: CallOptions): Promise<number>;
export function clone(ticket: Ticket, callback: CloneCallback): void;
export function clone(ticket: Ticket, options: CallOptions, callback: CloneCallback): void;

/**
 * Order another domain of the family (0: the master) to clone itself with this ticket. Returns the clones once they exist. The
 * ticket is one that this domain has requested; it becomes the other domain's, which is then the one that can wait for the
 * clones. That domain must listen for orders, see {@link serve}. Aborting the call does not cancel an order that has been given.
 * Errors: `no_such_domain`, `not_supported` (it does not listen), and those of clone() in that domain; then the ticket is this
 * domain's again, if it has not been used.
 */
export function clone_of(vmid: number, ticket: Ticket, options?: CallOptions): Promise<Domain[]>;
export function clone_of(vmid: number, ticket: Ticket, callback: Callback<Domain[]>): void;
export function clone_of(vmid: number, ticket: Ticket, options: CallOptions, callback: Callback<Domain[]>): void;

/**
 * Listen for orders from now on, here and in this domain's clones: those of clone_of() and of `gc clone --of`. They are carried
 * out by clone() in the event loop of the thread that called this last, and do not keep the process alive. GRIDCENTRIC_SERVE=1
 * has the same effect once the program makes its first call. Errors: `invalid_argument` (in a child of the domain's process).
 */
export function serve(options?: CallOptions): Promise<true>;
export function serve(callback: Callback<true>): void;
export function serve(options: CallOptions, callback: Callback<true>): void;

/** The family's living domains, ordered by vmid. */
export function list_domains(options?: CallOptions): Promise<Domain[]>;
export function list_domains(callback: Callback<Domain[]>): void;
export function list_domains(options: CallOptions, callback: Callback<Domain[]>): void;

/**
 * Wait at the barrier of the ticket's clones and the domain that cloned them; it can be used repeatedly. A clone omits the
 * ticket (or passes undefined). Without a timeout the call waits forever.
 * Errors: `timed_out` (this caller's timeout expired), `barrier_broken` (another's did, or a member has ended),
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
 * End this clone and pass the report (optional; at most 1 MiB; a string is sent as UTF-8) to the domain that made it. stdout
 * and stderr are flushed first; then the process ends without 'exit' events. The call returns only on error:
 * `invalid_argument` (in the master), `too_large`.
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
 * Wait until all clones of the ticket have ended; results are ordered by vmid. Without a timeout the call waits forever.
 * Errors: `timed_out`, `no_such_ticket`, `not_your_ticket`, `invalid_argument` (not yet cloned).
 */
export function wait(ticket: Ticket, options?: WaitOptions): Promise<Result[]>;
export function wait(ticket: Ticket, timeout: number | undefined, options?: WaitOptions): Promise<Result[]>;
export function wait(ticket: Ticket, callback: Callback<Result[]>): void;
export function wait(ticket: Ticket, options: WaitOptions, callback: Callback<Result[]>): void;
export function wait(ticket: Ticket, timeout: number | undefined, callback: Callback<Result[]>): void;
export function wait(
  ticket: Ticket, timeout: number | undefined, options: WaitOptions, callback: Callback<Result[]>,
): void;

/** End a clone of the family. Errors: `no_such_domain`. */
export function kill(vmid: number, options?: CallOptions): Promise<true>;
export function kill(vmid: number, callback: Callback<true>): void;
export function kill(vmid: number, options: CallOptions, callback: Callback<true>): void;

/** Whether this process can be cloned here, and if not, why. Stops and changes nothing. */
export function explain(options?: CallOptions): Promise<Explanation>;
export function explain(callback: Callback<Explanation>): void;
export function explain(options: CallOptions, callback: Callback<Explanation>): void;

/**
 * Run a handler in each clone, in the thread (main or worker) that registered it, in order of registration, before
 * clone()'s result is delivered there. It is synchronous; if it throws, that is an uncaught exception. Node's random number
 * generators (crypto, Math.random of the main context) have been reseeded by then: reseed your own here.
 */
export function on(event: 'clone', handler: (vmid: number) => void): void;
/**
 * Run a handler in this thread each time it calls clone(), before the host is asked and any thread is stopped: to flush data
 * that every clone would otherwise write, and to close what they must not have. It may return a promise, which is awaited. The
 * handlers run one after the other, in order of registration; then stdout and stderr are flushed. If one throws or rejects,
 * clone() fails with its error, the others don't run, no clone is made, and the ticket can be used again.
 */
export function on(event: 'before', handler: () => void | PromiseLike<void>): void;
/** Removes a handler; does nothing if it isn't registered. */
export function off(event: 'clone', handler: (vmid: number) => void): void;
export function off(event: 'before', handler: () => void | PromiseLike<void>): void;

export {
  ismaster as isMaster,
  my_ip as myIp,
  request_ticket as requestTicket,
  release_ticket as releaseTicket,
  list_tickets as listTickets,
  ticket_info as ticketInfo,
  clone_of as cloneOf,
  list_domains as listDomains,
  join_noreport as joinNoreport,
};
