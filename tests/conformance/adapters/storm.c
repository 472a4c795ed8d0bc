/* Many calls at once: `storm THREADS ROUNDS`. In each round a thread asks for a ticket (and waits for it in
 * line), looks at it and gives it back: three calls. Prints the number of calls that were answered as they
 * must be; the first that was not is told on stderr, and the status is 1. */
#include <gridcentric/gc-guest.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rounds;
static pthread_barrier_t all_ready;

static int told(const char *what) {
  fprintf(stderr, "storm: %s: %s\n", what, gc_error_text());
  return 0;
}

static int one_round(void) { /* 1: all three were answered right */
  gc_uuid_t ticket;
  gc_ticket_info_t info;
  if (gc_request_ticket(1, 1, 1, -1, &ticket) != 0) return told("request_ticket");
  if (gc_ticket_info(ticket, &info) != 0) return told("ticket_info");
  if (strcmp(info.id.value, ticket.value) != 0 || info.status != GC_TICKET_RESERVED || info.cpus != 1) {
    fprintf(stderr, "storm: asked about %s, the reply is about %s\n", ticket.value, info.id.value);
    return 0;
  }
  return gc_release_ticket(ticket) == 0 ? 1 : told("release_ticket");
}

static void *thread(void *calls) {
  pthread_barrier_wait(&all_ready);
  for (int round = 0; round < rounds && one_round(); round++) *(int *)calls += 3;
  return NULL;
}

int main(int argc, char **argv) {
  int threads = argc == 3 ? atoi(argv[1]) : 0, sum = 0;
  rounds = argc == 3 ? atoi(argv[2]) : 0;
  pthread_t *made = calloc((size_t)threads + 1, sizeof *made);
  int *calls = calloc((size_t)threads + 1, sizeof *calls);
  if (threads < 1 || rounds < 1 || !made || !calls ||
      pthread_barrier_init(&all_ready, NULL, (unsigned)threads) != 0) {
    fprintf(stderr, "usage: storm THREADS ROUNDS\n");
    return 2;
  }
  for (int i = 0; i < threads; i++) {
    if (pthread_create(&made[i], NULL, thread, &calls[i]) != 0) {
      fprintf(stderr, "storm: no thread %d\n", i);
      return 2;
    }
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(made[i], NULL);
    sum += calls[i];
  }
  free(made);
  free(calls);
  printf("%d\n", sum);
  return sum == threads * rounds * 3 ? 0 : 1;
}
