/* Medians of a guest's quick calls against the host in GRIDCENTRIC_HOST, and of a bare echo over a Unix socket between
 * two processes, a lower bound for any request to a host. Prints one JSON object. */
#include <gridcentric/gc-guest.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 5000 };

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int count) {
  qsort(values, count, sizeof *values, by_size);
  return values[count / 2];
}

static double echo(void) {
  static double times[ROUNDS];
  int pair[2];
  char line[64] = "1 request_ticket 1 1 1 0\n";
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) exit(1);
  if (fork() == 0) {
    close(pair[0]);
    ssize_t n;
    while ((n = read(pair[1], line, sizeof line)) > 0)
      if (write(pair[1], line, n) != n) break;
    _exit(0);
  }
  close(pair[1]);
  for (int i = 0; i < ROUNDS; i++) {
    double start = now_us();
    if (write(pair[0], line, 25) != 25 || read(pair[0], line, sizeof line) != 25) exit(1);
    times[i] = now_us() - start;
  }
  close(pair[0]);
  wait(NULL);
  return median(times, ROUNDS);
}

int main(void) {
  static double times[ROUNDS];
  gc_uuid_t ticket;
  for (int i = 0; i < ROUNDS; i++) {
    double start = now_us();
    if (gc_request_ticket(1, 1, 1, 0, &ticket)) return perror("gc_request_ticket"), 1;
    times[i] = now_us() - start;
    if (gc_release_ticket(ticket)) return perror("gc_release_ticket"), 1;
  }
  double round_trip = median(times, ROUNDS);
  volatile int sum = 0;
  double start = now_us();
  for (int i = 0; i < 1000000; i++) sum += gc_vmid();
  double vmid = (now_us() - start) / 1e6;
  start = now_us();
  for (int i = 0; i < 1000000; i++) sum += getppid();
  double syscall = (now_us() - start) / 1e6;
  printf("{\"round_trip_us\": %f, \"echo_us\": %f, \"vmid_us\": %f, \"syscall_us\": %f}\n", round_trip,
         echo(), vmid, syscall);
  return 0;
}
