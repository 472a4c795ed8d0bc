#define _DEFAULT_SOURCE /* setenv() */
/* gridcentric/gc-binding.h as a language binding uses it: identity, the host, hooks around the copy, calls that a runtime
* gives up, generators that only it can see. Prints what failed; exit code 0: nothing did. */
#include <gridcentric/gc-binding.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/guest_checks.h"

static int befores = 0, afters = 0, refusing = 0, ordered = 0;

static int before_copy(void *data) {
  CHECK(data == &befores);
  ++befores;
  return refusing;
}

static void after_copy(void *data) {
  CHECK(data == &befores);
  ++afters;
}

static size_t threads_in_clone = 0;

static void in_clone(int vmid, void *data) {
  uintptr_t *pointers = NULL;
  (void)data;
  CHECK(vmid == gc_vmid() && gc_generation() == 1);
  CHECK(befores == (ordered ? 1 : 2) && afters == 0); /* still stopped */
  CHECK(gc_thread_pointers(&pointers, &threads_in_clone) == 0);
  CHECK(threads_in_clone == (ordered ? 2 : 1) && pointers[0] != 0);
  gc_free(pointers);
}

static void check_arguments(void) {
  uintptr_t *pointers;
  gc_info_t *info;
  size_t count;
  const gc_repeating_t unknown = {"no such generator", "/somewhere"}, nowhere = {"pyarrow", NULL};
  FAILS(gc_identity(NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_host_info(NULL, &count), GC_E_INVALID_ARGUMENT);
  FAILS(gc_host_info(&info, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_around_copy(NULL, after_copy, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_around_copy(before_copy, NULL, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_thread_pointers(NULL, &count), GC_E_INVALID_ARGUMENT);
  FAILS(gc_thread_pointers(&pointers, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_tell_repeating(NULL, 1), GC_E_INVALID_ARGUMENT);
  FAILS(gc_tell_repeating(&unknown, 1), GC_E_INVALID_ARGUMENT);
  CHECK(strstr(gc_error_text(), "'no such generator'") != NULL);
  FAILS(gc_tell_repeating(&nowhere, 1), GC_E_INVALID_ARGUMENT);
  FAILS(gc_no_locks_in_chunks(4095), GC_E_INVALID_ARGUMENT);
  CHECK(gc_no_locks_in_chunks(0) == 0);
  gc_call_on_interrupt(NULL, NULL, NULL);
}

static void check_host(void) {
  gc_info_t *info = NULL;
  size_t count = 0, at, found = 0;
  CHECK(gc_host_info(&info, &count) == 0);
  for (at = 0; at < count; ++at) {
    found += strcmp(info[at].key, "hypervisor") == 0 && strcmp(info[at].value, "process") == 0;
    found += strcmp(info[at].key, "version") == 0 && strcmp(info[at].value, gc_version()) == 0;
  }
  CHECK(found == 2);
  gc_free(info);
}

static int asked = 0;

static int give_up(void *data) {
  ++asked;
  return *(int *)data;
}

static void check_giving_up(void) {
  static int yes = 1;
  gc_uuid_t all, one;
  gc_call_t *call = gc_call_new();
  CHECK(call != NULL);
  CHECK(gc_request_ticket(INT_MAX, 1, 1, 0, &all) == 0);
  gc_call_on_interrupt(call, give_up, &yes);
  gc_use_call(call);
  FAILS(gc_request_ticket(1, 1, 1, -1, &one), EINTR);
  CHECK(asked == 1);
  gc_call_on_interrupt(call, NULL, NULL);
  gc_use_call(NULL);
  gc_call_free(call);
  CHECK(gc_release_ticket(all) == 0);
}

static void check_repeating(gc_uuid_t ticket) {
  const gc_repeating_t found = {"pyarrow", "/opt/a/arrow"};
  char *report = NULL;
  CHECK(gc_tell_repeating(&found, 1) == 0);
  CHECK(gc_explain(&report) == 1);
  CHECK(report != NULL && strstr(report, "/opt/a/arrow") != NULL);
  gc_free(report);
  CHECK(setenv("GRIDCENTRIC_STRICT", "1", 1) == 0);
  FAILS(gc_clone(ticket), GC_E_NOT_SUPPORTED);
  CHECK(strstr(gc_error_text(), "/opt/a/arrow") != NULL);
  CHECK(unsetenv("GRIDCENTRIC_STRICT") == 0);
  CHECK(gc_tell_repeating(NULL, 0) == 0);
  CHECK(gc_explain(&report) == 1 && strstr(report, "/opt/a/arrow") == NULL);
  gc_free(report);
}

static void check_clones(void) {
  gc_identity_t master, self;
  gc_uuid_t ticket;
  gc_result_t *results = NULL;
  uintptr_t *pointers = NULL;
  size_t count = 0;
  int vmid;
  CHECK(gc_identity(&master) == 0);
  CHECK(master.vmid == 0 && master.parent == -1 && strcmp(master.hypervisor, "process") == 0);
  CHECK(strlen(master.family) == 36 && gc_generation() == 0);
  CHECK(gc_around_copy(before_copy, after_copy, &befores) == 0);
  CHECK(gc_on_clone(in_clone, NULL) == 0);
  CHECK(gc_request_ticket(2, 2, 1, 1000, &ticket) == 0);
  check_repeating(ticket);
  refusing = 3;
  FAILS(gc_clone(ticket), GC_E_CLONE_FAILED);
  CHECK(strstr(gc_error_text(), "returned 3, not 0") != NULL);
  CHECK(befores == 1 && afters == 0);
  refusing = 0;
  vmid = gc_clone(ticket);
  CHECK(vmid >= 0 && befores == 2 && afters == 1);
  CHECK(gc_identity(&self) == 0 && self.vmid == vmid && strcmp(self.family, master.family) == 0);
  if (vmid > 0) {
    CHECK(self.parent == 0 && strcmp(self.ip, master.ip) != 0 && threads_in_clone == 1);
    fflush(stdout);
    _Exit(failures == 0 ? 7 : 99);
  }
  CHECK(gc_generation() == 0);
  CHECK(gc_thread_pointers(&pointers, &count) == 0 && count == 0);
  gc_free(pointers);
  CHECK(gc_wait(ticket, -1, &results, &count) == 0 && count == 2);
  CHECK(count == 2 && results[0].status == 7 && results[1].status == 7);
  gc_free(results);
}

static int declining = 0;

/* As a runtime carries out an order: by its own clone(). */
static int carry_out(gc_uuid_t ticket, void *data) {
  int vmid;
  CHECK(data == &ordered && strlen(ticket.value) == 36);
  ++ordered;
  if (declining) {
    FAILS(gc_kill(0), GC_E_INVALID_ARGUMENT); /* has a text */
    return GC_E_NOT_SUPPORTED;
  }
  vmid = gc_clone(ticket);
  if (vmid > 0) {
    fflush(stdout);
    _Exit(failures == 0 ? 7 : 99);
  }
  return vmid == 0 ? 0 : errno;
}

static void check_orders(void) {
  gc_uuid_t ticket;
  gc_domain_t *clones = NULL;
  gc_result_t *results = NULL;
  size_t count = 0;
  int status;
  befores = afters = 0;
  FAILS(gc_carry_out_orders_with(NULL, NULL), GC_E_INVALID_ARGUMENT);
  CHECK(gc_carry_out_orders_with(carry_out, &ordered) == 0);
  CHECK(gc_serve() == 0); /* leaves it to the runtime */
  CHECK(gc_request_ticket(2, 2, 1, 1000, &ticket) == 0);
  declining = 1;
  FAILS(gc_clone_of(0, ticket, &clones, &count), GC_E_NOT_SUPPORTED);
  CHECK(strstr(gc_error_text(), "vmid") != NULL && ordered == 1 && befores == 0);
  declining = 0;
  status = gc_clone_of(0, ticket, &clones, &count);
  while (gc_vmid() > 0) pause(); /* the thread that has carried out the order ends the clone */
  CHECK(status == 0 && count <= 2);
  gc_free(clones);
  CHECK(ordered == 2 && befores == 1 && afters == 1);
  CHECK(gc_wait(ticket, -1, &results, &count) == 0 && count == 2);
  CHECK(count == 2 && results[0].status == 7 && results[1].status == 7);
  gc_free(results);
}

int main(void) {
  check_arguments();
  check_host();
  check_giving_up();
  check_clones();
  check_orders();
  return failures == 0 ? 0 : 1;
}
