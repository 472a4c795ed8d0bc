/* A barrier of COUNT domains, really cloned: prints the microseconds from the last arrival to the last departure, one
 * line per round. Each clone reports its arrivals and departures with join; the clock is the computer's. */
#include <gridcentric/gc-guest.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 10 };

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

typedef struct {
  double arrived[ROUNDS], left[ROUNDS];
} rounds_t;

static void meet(gc_uuid_t ticket, rounds_t *rounds) {
  for (int i = 0; i < ROUNDS; i++) {
    rounds->arrived[i] = now_us();
    if (gc_sync(ticket, 60000)) exit((perror("gc_sync"), 1));
    rounds->left[i] = now_us();
  }
}

int main(int argc, char **argv) {
  int clones = atoi(argc > 1 ? argv[1] : "61") - 1;
  gc_uuid_t ticket;
  rounds_t mine;
  gc_result_t *results;
  size_t count;
  if (gc_request_ticket(clones, clones, 1, 0, &ticket)) return perror("gc_request_ticket"), 1;
  int vmid = gc_clone(ticket);
  if (vmid < 0) return fprintf(stderr, "%s\n", gc_error_text()), 1;
  meet(vmid ? GC_MY_TICKET : ticket, &mine);
  if (vmid) return gc_join(&mine, sizeof mine);
  if (gc_wait(ticket, 60000, &results, &count)) return perror("gc_wait"), 1;
  for (int i = 0; i < ROUNDS; i++) {
    double last_in = mine.arrived[i], last_out = mine.left[i];
    for (size_t k = 0; k < count; k++) {
      const rounds_t *his = (const rounds_t *)results[k].report;
      if (!his || results[k].report_size != sizeof *his) return fprintf(stderr, "no report\n"), 1;
      if (his->arrived[i] > last_in) last_in = his->arrived[i];
      if (his->left[i] > last_out) last_out = his->left[i];
    }
    printf("%f\n", last_out - last_in);
  }
  gc_free(results);
  return 0;
}
