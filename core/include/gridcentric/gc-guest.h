/* SPDX-License-Identifier: Apache-2.0 */
/* gridcentric/gc-guest.h - the guest's API of VM fork, for C99 and C++.
 *
 * Link with -lgridcentric. Every function may be called from any thread at any time; calls of different threads
 * do not wait for each other. Timeouts are in milliseconds: 0 tries once, a negative one waits for ever.
 * A function that fails returns -1 and sets errno to a GC_E_* value, so perror() works; gc_error_text() says what
 * was given, what was expected and what to do.
 *
 * Tickets are passed by value. Anything else that a call returns is one block of memory, which the caller must release
 * with gc_free(). A call only reads its arguments and keeps no reference to them.
 *
 * The first call of a program that has no host (no GRIDCENTRIC_HOST in its environment) starts a private one.
 * If one thread is in a call while another clones the domain, the call goes on in the caller and fails at once with
 * GC_E_INTERRUPTED_BY_CLONE in each clone. Signal handlers do not end a call, and pthread_cancel() takes effect only when
 * it has ended; use gc_cancel() to end it.
 */
#ifndef GRIDCENTRIC_GC_GUEST_H
#define GRIDCENTRIC_GC_GUEST_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef GC_API
#define GC_API __attribute__((visibility("default")))
#endif

enum {
#define GC_ERROR(NAME, ERRNO, EXIT, PYTHON, PYTHON_BASE, TEXT) GC_E_##NAME = ERRNO,
#include <gridcentric/errors.def>
#undef GC_ERROR
  GC_OK = 0
};

/* The name of a ticket: 36 characters of a UUID and a final 0. Plain data: copy it, compare it with strcmp(). */
typedef struct gc_uuid_t {
  char value[37];
} gc_uuid_t;

/* For gc_sync() in a clone: the ticket that this clone was made from. It is all zeros. */
static const gc_uuid_t GC_MY_TICKET __attribute__((unused)) = {{0}};

typedef enum gc_ticket_status {
  GC_TICKET_PENDING,  /* waits in line for CPUs */
  GC_TICKET_RESERVED, /* has its CPUs; clone() may use it */
  GC_TICKET_CLONING,  /* the clones are being made */
  GC_TICKET_ACTIVE,   /* at least one clone is alive */
  GC_TICKET_CLOSED    /* all clones have ended, the CPUs are free */
} gc_ticket_status_t;

typedef struct gc_ticket_info_t {
  gc_uuid_t id;
  gc_ticket_status_t status;
  int cpus;         /* CPUs reserved */
  int vms;          /* clones that clone() will make, or has made: cpus / mincpuspervm */
  int mincpuspervm; /* CPUs of each clone */
} gc_ticket_info_t;

typedef struct gc_domain_t {
  int vmid;         /* 0: the master */
  int parent;       /* vmid of the domain that cloned it; -1 for the master */
  char ip[46];      /* its address, numeric */
  gc_uuid_t ticket; /* the ticket that it was made from */
  char state[16];   /* "starting", "running" or "ending" */
} gc_domain_t;

typedef enum gc_end_kind {
  GC_END_JOINED, /* called gc_join() or gc_join_noreport(); status is 0 */
  GC_END_EXITED, /* ended by itself without joining; status is its exit code */
  GC_END_KILLED, /* ended by a signal or by gc_kill(); status is the signal */
  GC_END_LOST    /* gone, cause unknown; status is 0 */
} gc_end_kind_t;

typedef struct gc_result_t {
  int vmid;
  gc_end_kind_t how;
  int status;
  int has_report; /* 0 if it ended without one */
  size_t report_size;
  const unsigned char *report; /* NULL without a report; followed by a 0 byte that is not part of it */
} gc_result_t;

/* Text of the calling thread's last error; "" if there was none. Valid until the thread's next gc_ call. */
GC_API const char *gc_error_text(void);
/* The name of an error (GC_E_*) on the wire and in JavaScript, such as "timed_out"; NULL for any other number. */
GC_API const char *gc_error_name(int error);
/* "0.1.0" */
GC_API const char *gc_version(void);

/* Reserve CPUs for clones: the largest multiple of mincpuspervm that is free and at most maxcpus, granted once it is
* enough for minvms clones; until then the call waits in line, first come first served. All counts must be at least 1.
* Errors: INVALID_ARGUMENT (a count below 1, minvms * mincpuspervm above maxcpus or above what the host has, ticket
* NULL), TIMED_OUT, CLONE_FAILED (the host lacks descriptors for minvms more clones), INTERRUPTED_BY_CLONE,
* HOST_UNREACHABLE, PROTOCOL. Any call may fail with the last three. */
GC_API int gc_request_ticket(int maxcpus, int minvms, int mincpuspervm, int timeout, gc_uuid_t *ticket);

/* Give back a ticket that was not used. Errors: INVALID_ARGUMENT, NO_SUCH_TICKET, NOT_YOUR_TICKET, TICKET_USED. */
GC_API int gc_release_ticket(gc_uuid_t ticket);

/* Shorten the pause of the next gc_clone() of a program with hundreds of megabytes: move its memory into huge pages, for at most
 * timeout ms, while the program goes on. Returns how many MiB are in huge pages: 0 where that is not possible (Linux before 6.1,
 * transparent_hugepage set to never, or in a VM, which is cloned as a whole). Costs about 0.5 ms of CPU for each MiB; while it
 * works, calls of other threads that map memory may wait for 1 ms, or longer if the computer is busy. Returns when a cloning begins.
 * With GRIDCENTRIC_PREPARE=1 in the environment a thread does the same whenever gc_request_ticket() has returned a ticket. */
GC_API int gc_prepare(int timeout);

/* The family's tickets in the order of request, the master's own first. *tickets is one block for gc_free(). */
GC_API int gc_list_tickets(gc_ticket_info_t **tickets, size_t *count);
GC_API int gc_ticket_info(gc_uuid_t ticket, gc_ticket_info_t *info);
GC_API const char *gc_ticket_status_string(
    gc_ticket_status_t status); /* "reserved"; "unknown" out of range */

/* Make the ticket's clones, all or none. Returns 0 in the caller and the (positive) vmid in each clone.
* In each clone OpenSSL, SQLite and GnuTLS draw different random numbers; reseed your own generators in gc_on_clone().
* Errors: INVALID_ARGUMENT, NO_SUCH_TICKET, NOT_YOUR_TICKET, TICKET_USED, CLONE_FAILED, NOT_SUPPORTED (also if
* GRIDCENTRIC_STRICT is set and a library is loaded whose random numbers repeat). After CLONE_FAILED and NOT_SUPPORTED the
* ticket is still reserved and no clone was made. */
GC_API int gc_clone(gc_uuid_t ticket);

/* Order domain vmid of the family to clone itself with this ticket: one that this domain has requested; it then belongs to the
* ordered domain, which is the one that may wait for its clones. That domain must listen for orders: its program was started
* by `gc run`, has called gc_serve() (in Python and Node serve()), or has GRIDCENTRIC_SERVE=1 in its environment. Returns when
* the clones exist. *clones, one block for gc_free(), are those that still do.
* Errors: those of gc_clone() in that domain, NO_SUCH_DOMAIN; NOT_SUPPORTED if it does not listen. After an error the ticket
* belongs to this domain again, if it has not been used. Cancelling the call does not cancel an order that has been given. */
GC_API int gc_clone_of(int vmid, gc_uuid_t ticket, gc_domain_t **clones, size_t *count);

/* Listen for orders from now on, here and in the clones of this domain. A thread of the library carries them out, one after
* the other, as gc_clone() would. GRIDCENTRIC_SERVE=1 does the same when the program makes its first call. Calling it again
* does nothing. Errors: INVALID_ARGUMENT (in a child of the domain's own process). */
GC_API int gc_serve(void);

/* This domain's vmid, from memory, in less than a microsecond; only a process's first call asks the host. -1 on an error. */
GC_API int gc_vmid(void);
GC_API int gc_ismaster(void); /* 1 in the master, 0 in a clone, -1: error */
/* Copies the numeric address into ip; INVALID_ARGUMENT if size is too small (46 is always enough). */
GC_API int gc_my_ip(char *ip, size_t size);

/* The family's living domains, by vmid. *domains is one block for gc_free(). */
GC_API int gc_list_domains(gc_domain_t **domains, size_t *count);

/* Barrier of the ticket's clones and the domain that cloned them. In a clone pass GC_MY_TICKET, or the ticket that it was
* made from.
* Errors: TIMED_OUT (this caller timed out), BARRIER_BROKEN (another member timed out or has ended), NO_SUCH_TICKET,
* NOT_YOUR_TICKET, INVALID_ARGUMENT. */
GC_API int gc_sync(gc_uuid_t ticket, int timeout);

/* End this clone and hand report (size bytes, at most 1 MiB) to the domain that made it. Flushes stdout and stderr,
 * then ends the process without running exit handlers. Returns only on an error: INVALID_ARGUMENT (in the master),
 * TOO_LARGE (also when reports of 128 MiB wait in the family to be read). */
GC_API int gc_join(const void *report, size_t size);
GC_API int gc_join_noreport(void);

/* Wait until all clones of the ticket have ended. *results, by vmid and including the reports, is one block for
* gc_free(). Errors: TIMED_OUT, NO_SUCH_TICKET, NOT_YOUR_TICKET, INVALID_ARGUMENT (not yet cloned). */
GC_API int gc_wait(gc_uuid_t ticket, int timeout, gc_result_t **results, size_t *count);

/* The same, and the host forgets the ticket when the results are here, with the reports that it kept: for a master that
 * clones for a long time. Otherwise a family's last 1,000 closed tickets are kept, and at most 128 MiB of reports. */
GC_API int gc_wait_and_forget(gc_uuid_t ticket, int timeout, gc_result_t **results, size_t *count);

/* End a clone of the family. Errors: INVALID_ARGUMENT (the master), NO_SUCH_DOMAIN. */
GC_API int gc_kill(int vmid);

/* Run handler(vmid, data) in each clone, before clone() returns there, in the order of registration.
 * A handler cannot be removed. INVALID_ARGUMENT: handler NULL. */
typedef void (*gc_clone_handler_t)(int vmid, void *data);
GC_API int gc_on_clone(gc_clone_handler_t handler, void *data);

/* Run handler(data) in the thread that calls gc_clone(), before the host is asked and any thread is stopped, in the order
* of registration: to flush what each clone would write again, or to close what clones must not have. If a handler returns
* other than 0, gc_clone() fails with CLONE_FAILED: the remaining handlers do not run, no clone is made and the ticket can
* be used again. While handlers run, another gc_clone(), even by a handler, fails with CLONE_FAILED. A handler cannot be
* removed. INVALID_ARGUMENT: handler NULL. */
typedef int (*gc_before_handler_t)(void *data);
GC_API int gc_before_clone(gc_before_handler_t handler, void *data);

/* Can this process be cloned here? 1 yes, 0 no, -1 error; *report (for gc_free()) is a readable text with one line per
* finding. Nothing is stopped or changed. */
GC_API int gc_explain(char **report);

/* Lets one thread end another's call. With gc_use_call() a thread sends its further calls through `call` (NULL: through
* none); any thread may gc_cancel() it, even before such a call begins, and even in a signal handler. The call then fails
* with errno EINTR, and so does every later one through the same gc_call_t. A cancelled call has had no effect; only
* gc_clone() returns as usual if the clones already exist. In clones the threads have their own copies. Use a gc_call_t in
* one thread at a time, and free it when no thread uses it any more. gc_call_new() returns NULL if it fails (out of memory
* or descriptors). */
typedef struct gc_call gc_call_t;
GC_API gc_call_t *gc_call_new(void);
GC_API void gc_use_call(gc_call_t *call);
GC_API void gc_cancel(gc_call_t *call); /* NULL is allowed and does nothing */
GC_API void gc_call_free(gc_call_t *call);

/* Frees a block that a call has returned; NULL is allowed. */
GC_API void gc_free(void *block);

#ifdef __cplusplus
}
#endif
#endif
