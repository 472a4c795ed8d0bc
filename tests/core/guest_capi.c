/* The C API as a C99 program sees it: bad arguments, and a family's whole life on the private host of the process
* hypervisor: ticket, clone, barrier, reports. Prints what failed; exit code 0: nothing did. */
#define _DEFAULT_SOURCE /* usleep() */
#include <gridcentric/gc-guest.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/guest_checks.h"

static void check_arguments(void) {
  gc_uuid_t ticket, unknown = {"8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11"}, malformed = {"what"}, endless;
  gc_ticket_info_t info;
  gc_ticket_info_t *tickets;
  gc_domain_t *domains;
  gc_result_t *results;
  size_t count;
  char small[4];
  char *big = calloc(1, 1024 * 1024 + 1);
  memset(&endless, 'a', sizeof endless);
  FAILS(gc_request_ticket(0, 1, 1, 0, &ticket), GC_E_INVALID_ARGUMENT);
  FAILS(gc_request_ticket(-1, 1, 1, 0, &ticket), GC_E_INVALID_ARGUMENT);
  FAILS(gc_request_ticket(1, INT_MIN, 1, 0, &ticket), GC_E_INVALID_ARGUMENT);
  FAILS(gc_request_ticket(1, 1, 0, 0, &ticket), GC_E_INVALID_ARGUMENT);
  FAILS(gc_request_ticket(INT_MAX, INT_MAX, INT_MAX, -1, &ticket), GC_E_INVALID_ARGUMENT);
  FAILS(gc_request_ticket(1, 1, 1, 0, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_release_ticket(GC_MY_TICKET), GC_E_INVALID_ARGUMENT);
  FAILS(gc_release_ticket(unknown), GC_E_NO_SUCH_TICKET);
  FAILS(gc_release_ticket(malformed), GC_E_INVALID_ARGUMENT);
  FAILS(gc_release_ticket(endless), GC_E_INVALID_ARGUMENT);
  FAILS(gc_list_tickets(NULL, &count), GC_E_INVALID_ARGUMENT);
  FAILS(gc_list_tickets(&tickets, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_ticket_info(GC_MY_TICKET, &info), GC_E_INVALID_ARGUMENT);
  FAILS(gc_ticket_info(unknown, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_ticket_info(unknown, &info), GC_E_NO_SUCH_TICKET);
  FAILS(gc_clone(GC_MY_TICKET), GC_E_INVALID_ARGUMENT);
  FAILS(gc_clone(unknown), GC_E_NO_SUCH_TICKET);
  FAILS(gc_my_ip(NULL, 46), GC_E_INVALID_ARGUMENT);
  FAILS(gc_my_ip(small, sizeof small), GC_E_INVALID_ARGUMENT);
  FAILS(gc_my_ip(small, 0), GC_E_INVALID_ARGUMENT);
  FAILS(gc_list_domains(NULL, &count), GC_E_INVALID_ARGUMENT);
  FAILS(gc_list_domains(&domains, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_sync(GC_MY_TICKET, 0), GC_E_INVALID_ARGUMENT);
  FAILS(gc_sync(unknown, 0), GC_E_NO_SUCH_TICKET);
  FAILS(gc_join(NULL, 1), GC_E_INVALID_ARGUMENT);
  FAILS(gc_join("x", 1), GC_E_INVALID_ARGUMENT); /* the master */
  FAILS(gc_join(big, 1024 * 1024 + 1), GC_E_TOO_LARGE);
  FAILS(gc_join_noreport(), GC_E_INVALID_ARGUMENT);
  FAILS(gc_wait(GC_MY_TICKET, 0, &results, &count), GC_E_INVALID_ARGUMENT);
  FAILS(gc_wait(unknown, 0, NULL, &count), GC_E_INVALID_ARGUMENT);
  FAILS(gc_wait(unknown, 0, &results, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_wait(unknown, 0, &results, &count), GC_E_NO_SUCH_TICKET);
  FAILS(gc_kill(0), GC_E_INVALID_ARGUMENT);
  FAILS(gc_kill(-1), GC_E_INVALID_ARGUMENT);
  FAILS(gc_kill(77), GC_E_NO_SUCH_DOMAIN);
  FAILS(gc_on_clone(NULL, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_before_clone(NULL, NULL), GC_E_INVALID_ARGUMENT);
  FAILS(gc_explain(NULL), GC_E_INVALID_ARGUMENT);
  CHECK(strcmp(gc_error_name(GC_E_TIMED_OUT), "timed_out") == 0);
  CHECK(gc_error_name(12345) == NULL);
  CHECK(strcmp(gc_ticket_status_string(GC_TICKET_RESERVED), "reserved") == 0);
  CHECK(strcmp(gc_ticket_status_string((gc_ticket_status_t)99), "unknown") == 0);
  gc_free(NULL);
  free(big);
}

/* Waits in line until it is cancelled, and returns whether it was. */
static void *wait_in_line(void *call) {
  gc_uuid_t ticket;
  int result;
  gc_use_call((gc_call_t *)call);
  result = gc_request_ticket(1, 1, 1, -1, &ticket);
  CHECK(result == -1 && errno == EINTR);
  pthread_testcancel();
  return call;
}

static void check_cancel(void) {
  gc_uuid_t all, one;
  pthread_t thread;
  void *result;
  int round;
  CHECK(gc_request_ticket(INT_MAX, 1, 1, 0, &all) == 0);
  for (round = 0; round < 50; ++round) {
    gc_call_t *call = gc_call_new();
    CHECK(call != NULL);
    CHECK(pthread_create(&thread, NULL, wait_in_line, call) == 0);
    if (round % 2) CHECK(pthread_cancel(thread) == 0); /* takes effect after the call */
    if (round % 4 < 2) usleep(1000); /* usually cancelled while it waits, else before it begins */
    gc_cancel(call);
    CHECK(pthread_join(thread, &result) == 0);
    /* A thread that was cancelled before its call ends without making one. */
    CHECK(round % 2 ? result == PTHREAD_CANCELED : result == call);
    gc_call_free(call);
  }
  gc_cancel(NULL);
  gc_use_call(NULL);
  CHECK(gc_release_ticket(all) == 0);
  CHECK(gc_request_ticket(1, 1, 1, 0, &one) == 0); /* the line is empty */
  CHECK(gc_release_ticket(one) == 0);
}

static int handled[2];
static int calls = 0;

static void on_clone(int vmid, void *data) { handled[calls++] = vmid * 10 + *(int *)data; }

static gc_uuid_t refused; /* the ticket of a clone() that before_clone() refuses, twice */
static int refusals = 0, prepared = 0;

static int before_clone(void *data) {
  int *left = data;
  if (*left == 0) return 0;
  FAILS(gc_clone(refused), GC_E_CLONE_FAILED); /* a handler must not clone */
  ++refusals;
  return (*left)--;
}

static int count_clones(void *data) {
  (void)data;
  ++prepared;
  return 0;
}

static void check_before_clone(void) {
  static int left = 2;
  gc_ticket_info_t info;
  gc_domain_t *domains = NULL;
  size_t count = 0;
  CHECK(gc_before_clone(before_clone, &left) == 0);
  CHECK(gc_before_clone(count_clones, NULL) == 0);
  CHECK(gc_request_ticket(1, 1, 1, 1000, &refused) == 0);
  FAILS(gc_clone(refused), GC_E_CLONE_FAILED);
  CHECK(strstr(gc_error_text(), "returned 2, not 0") != NULL);
  FAILS(gc_clone(refused), GC_E_CLONE_FAILED);
  CHECK(refusals == 2 && prepared == 0);
  CHECK(gc_ticket_info(refused, &info) == 0 && info.status == GC_TICKET_RESERVED);
  CHECK(gc_list_domains(&domains, &count) == 0 && count == 1);
  gc_free(domains);
  CHECK(gc_release_ticket(refused) == 0);
}

static void check_family(void) {
  static int first = 1, second = 2;
  gc_uuid_t ticket;
  gc_ticket_info_t info;
  gc_domain_t *domains = NULL;
  gc_result_t *results = NULL;
  size_t count = 0;
  char ip[46], mine[46], *report = NULL;
  int vmid;
  CHECK(gc_vmid() == 0);
  CHECK(gc_ismaster() == 1);
  CHECK(gc_explain(&report) == 1);
  CHECK(report != NULL && strstr(report, "can be cloned") != NULL);
  gc_free(report);
  check_before_clone();
  CHECK(gc_on_clone(on_clone, &first) == 0);
  CHECK(gc_on_clone(on_clone, &second) == 0);
  CHECK(gc_request_ticket(4, 4, 1, 1000, &ticket) == 0);
  CHECK(gc_ticket_info(ticket, &info) == 0);
  CHECK(info.status == GC_TICKET_RESERVED && info.vms == 4 && info.cpus == 4);
  CHECK(gc_my_ip(mine, sizeof mine) == 0);
  vmid = gc_clone(ticket);
  CHECK(vmid >= 0 && vmid <= 4);
  CHECK(gc_vmid() == vmid);
  CHECK(gc_ismaster() == (vmid == 0));
  CHECK(gc_my_ip(ip, sizeof ip) == 0);
  if (vmid > 0) {
    char text[64];
    CHECK(prepared == 1);
    CHECK(calls == 2 && handled[0] == vmid * 10 + 1 && handled[1] == vmid * 10 + 2);
    CHECK(strcmp(ip, mine) != 0);
    CHECK(gc_sync(GC_MY_TICKET, -1) == 0);
    fflush(stdout);
    if (vmid == 3) _Exit(failures == 0 ? 7 : 99);
    if (vmid == 4) gc_join_noreport();
    sprintf(text, "I was %d, with %d failures", vmid, failures);
    gc_join(text, vmid == 2 ? 0 : strlen(text));
    CHECK(!"join returned");
    _Exit(99);
  }
  if (vmid < 0) return;
  CHECK(calls == 0);
  CHECK(strcmp(ip, mine) == 0);
  CHECK(gc_list_domains(&domains, &count) == 0);
  CHECK(count == 5 && domains[4].vmid == 4 && domains[4].parent == 0);
  CHECK(strcmp(domains[4].ticket.value, ticket.value) == 0);
  gc_free(domains);
  FAILS(gc_clone(ticket), GC_E_TICKET_USED);
  CHECK(gc_sync(ticket, -1) == 0);
  CHECK(gc_wait(ticket, -1, &results, &count) == 0);
  CHECK(count == 4);
  if (count == 4) {
    CHECK(results[0].how == GC_END_JOINED && results[0].has_report == 1);
    CHECK(strcmp((const char *)results[0].report, "I was 1, with 0 failures") == 0);
    CHECK(results[1].how == GC_END_JOINED && results[1].has_report == 1 && results[1].report_size == 0);
    CHECK(results[2].how == GC_END_EXITED && results[2].status == 7 && results[2].has_report == 0 &&
          results[2].report == NULL);
    CHECK(results[3].how == GC_END_JOINED && results[3].has_report == 0);
  }
  gc_free(results);
  CHECK(gc_ticket_info(ticket, &info) == 0);
  CHECK(info.status == GC_TICKET_CLOSED);
}

int main(void) {
  check_arguments();
  check_cancel();
  check_family();
  return failures == 0 ? 0 : 1;
}
