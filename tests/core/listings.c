/* Calls in the style of the listings of 2010, with tickets by value; must compile as C99, C++98 and C++20 without warnings. */
#include <gridcentric/gc-guest.h>
#include <stdio.h>

static int work(int vmid) {
  printf("worker %d\n", vmid);
  fflush(stdout);
  return 0;
}

/* Makes one clone, which works and ends, as in the listings. */
static int one_worker(void) {
  gc_uuid_t ticket;
  gc_result_t *results;
  size_t count;
  int vmid;
  if (gc_request_ticket(1, 1, 1, 1000, &ticket) < 0) return 1;
  vmid = gc_clone(ticket);
  if (vmid < 0) return 2;
  if (vmid > 0) {
    if (gc_sync(GC_MY_TICKET, -1) < 0 || work(vmid) != 0) return 3;
    gc_join_noreport();
    return 4;
  }
  if (gc_sync(ticket, -1) < 0) return 5;
  if (gc_wait(ticket, -1, &results, &count) < 0) return 6;
  if (count != 1 || results[0].how != GC_END_JOINED) return 7;
  gc_free(results);
  return 0;
}

static int a_ticket_not_used(void) {
  gc_uuid_t ticket;
  gc_ticket_info_t info;
  if (gc_request_ticket(2, 1, 2, 1000, &ticket) < 0) return 8;
  if (gc_ticket_info(ticket, &info) < 0 || info.vms != 1) return 9;
  return gc_release_ticket(ticket) < 0 ? 10 : 0;
}

int main(void) {
  int failed = a_ticket_not_used();
  return failed ? failed : one_worker();
}
