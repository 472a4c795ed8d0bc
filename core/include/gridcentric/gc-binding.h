/* For bindings to other languages: what a runtime needs besides gc-guest.h to work in clones. C programs do not need it. The
* conventions are those of gc-guest.h: -1 and errno, thread-safe, blocks are for gc_free(). */
#ifndef GRIDCENTRIC_GC_BINDING_H
#define GRIDCENTRIC_GC_BINDING_H
#include <gridcentric/gc-guest.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gc_identity_t {
  char family[37]; /* UUID */
  int vmid;
  int parent; /* -1: the master has none */
  char ip[46];
  char hypervisor[32]; /* its name: "process" */
} gc_identity_t;

/* This domain's identity, from memory like gc_vmid(). */
GC_API int gc_identity(gc_identity_t *identity);

/* How many times this process has become another domain: 0, and one more in each clone. Never asks the host, never fails.
 * A runtime compares it with what it remembers to see that it is in a clone. */
GC_API unsigned gc_generation(void);

typedef struct gc_info_t {
  const char *key;   /* "hypervisor"; docs/protocol.md lists them all */
  const char *value; /* "process" */
} gc_info_t;

/* What the host says about itself. *info is one block for gc_free(). */
GC_API int gc_host_info(gc_info_t **info, size_t *count);

/* Runs hooks around the moment in which this process is copied, in the thread that calls gc_clone(): before(data) right
* before it; after(data) in the caller as soon as its threads run again, and in each clone after the handlers of
* gc_on_clone(). With them a binding stops its interpreter, so that no code of the program runs in a clone before those
* handlers have. If before() does not return 0, gc_clone() fails with CLONE_FAILED and no clone is made. While gc_clone()
* waits for a file lock to be released, after() and then before() run again. Hypervisors that clone whole VMs call neither.
* The pair cannot be removed. INVALID_ARGUMENT: a function is NULL. */
GC_API int gc_around_copy(int (*before)(void *data), void (*after)(void *data), void *data);

/* In a process that is a copy: the thread pointers (%fs base) of the threads that it was copied with; none in a master or in
* a VM. For handlers of gc_on_clone(), as the threads may have ended later. *pointers is one block for gc_free(). */
GC_API int gc_thread_pointers(uintptr_t **pointers, size_t *count);

/* Tells how the runtime's garbage-collected heap looks: in chunks that begin with their size in bytes (a word), at multiples of
* it, and hold no locks of the C library. The plain mode of the process hypervisor need not search them. INVALID_ARGUMENT: the
* size is not a multiple of 4096. */
GC_API int gc_no_locks_in_chunks(size_t size);

/* give_up(data) runs in a thread whose call through `call` is waiting, after each signal handler that has interrupted it and
* every quarter of a second; if it returns 1 the call is cancelled and fails with errno EINTR. give_up NULL: none. Set it
* while no call goes through `call`. */
GC_API void gc_call_on_interrupt(gc_call_t *call, int (*give_up)(void *data), void *data);

typedef struct gc_repeating_t {
  const char *generator; /* a name of generators.def: "nanoid" */
  const char *where;     /* where the runtime has loaded it from: a path */
} gc_repeating_t;

/* Tells about random number generators that repeat in clones and that only the language's runtime can see: gc_explain() names
* them, and gc_clone() fails if GRIDCENTRIC_STRICT is set. Replaces what an earlier call told. INVALID_ARGUMENT: a name that is
* not in generators.def; the error text names it. */
GC_API int gc_tell_repeating(const gc_repeating_t *found, size_t count);

/* Orders (gc_serve()) are carried out by carry_out(ticket, data) instead of gc_clone(), in the thread that listens for them:
* the runtime calls its own clone(), and returns 0 when that has returned, in the caller and in each clone. Another value is a
* GC_E_*: the order is declined with it and the thread's gc_error_text(). Before or after gc_serve(); replaces an earlier one.
* INVALID_ARGUMENT: carry_out NULL. */
GC_API int gc_carry_out_orders_with(int (*carry_out)(gc_uuid_t ticket, void *data), void *data);

#ifdef __cplusplus
}
#endif
#endif
