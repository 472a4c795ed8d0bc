/* Known random number generators in a C program that has loaded nothing else of this project: master and clones draw different
* numbers, in the thread that clones and in another one. Prints what failed; exit code 0: nothing did. */
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <gridcentric/gc-guest.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLONES = 3, SIZE = 16, LIBRARIES = 3, THREADS = 2, DRAWS = LIBRARIES * THREADS };

typedef void (*function_t)(void);

static void draw_openssl(function_t function, unsigned char *bytes) {
  ((int (*)(unsigned char *, int))function)(bytes, SIZE);
}

static void draw_sqlite(function_t function, unsigned char *bytes) {
  ((void (*)(int, void *))function)(SIZE, bytes);
}

static void draw_gnutls(function_t function, unsigned char *bytes) {
  ((int (*)(int, void *, size_t))function)(0, bytes, SIZE);
}

static const struct {
  const char *library, *name;
  void (*draw)(function_t function, unsigned char *bytes);
  int threads; /* in which the numbers must differ */
} generators[LIBRARIES] = {
    {"libcrypto.so.3", "RAND_bytes", draw_openssl, THREADS},
    {"libsqlite3.so.0", "sqlite3_randomness", draw_sqlite, THREADS},
    {"libgnutls.so.30", "gnutls_rnd", draw_gnutls, 1},
};

static function_t functions[LIBRARIES]; /* NULL: not on this system */
static unsigned char drawn[DRAWS][SIZE];
static pthread_barrier_t turn;

static void draw_all(int thread) {
  for (int i = 0; i < LIBRARIES; ++i) {
    if (functions[i] && thread < generators[i].threads)
      generators[i].draw(functions[i], drawn[i * THREADS + thread]);
  }
}

static void *other_thread(void *unused) {
  draw_all(1);
  pthread_barrier_wait(&turn); /* it has drawn */
  pthread_barrier_wait(&turn); /* the domain has been cloned */
  draw_all(1);
  return unused;
}

static int failed(const char *what) {
  printf("vmid %d: %s: %s\n", gc_vmid(), what, gc_error_text());
  return 1;
}

int main(void) {
  unsigned char of[CLONES + 1][DRAWS][SIZE];
  int found = 0, equal = 0, vmid;
  gc_uuid_t ticket;
  gc_result_t *results;
  size_t count;
  pthread_t thread;
  for (int i = 0; i < LIBRARIES; ++i) {
    void *library = dlopen(generators[i].library, RTLD_NOW);
    void *symbol = library ? dlsym(library, generators[i].name) : NULL;
    memcpy(&functions[i], &symbol, sizeof symbol);
    found += symbol != NULL;
    if (!symbol) printf("not tried: %s\n", dlerror());
  }
  if (!found) return 77; /* skipped */
  pthread_barrier_init(&turn, NULL, 2);
  draw_all(0);
  if (pthread_create(&thread, NULL, other_thread, NULL) != 0) return failed("pthread_create");
  pthread_barrier_wait(&turn);
  if (gc_request_ticket(CLONES, CLONES, 1, 0, &ticket) != 0) return failed("gc_request_ticket");
  vmid = gc_clone(ticket);
  if (vmid < 0) return failed("gc_clone");
  pthread_barrier_wait(&turn);
  draw_all(0);
  pthread_join(thread, NULL);
  if (vmid > 0) return gc_join(drawn, sizeof drawn);
  memcpy(of[0], drawn, sizeof drawn);
  if (gc_wait(ticket, -1, &results, &count) != 0 || count != CLONES) return failed("gc_wait");
  for (int i = 0; i < CLONES; ++i) {
    if (results[i].how != GC_END_JOINED || results[i].report_size != sizeof drawn)
      return failed("a clone has not joined");
    memcpy(of[i + 1], results[i].report, sizeof drawn);
  }
  gc_free(results);
  for (int draw = 0; draw < DRAWS; ++draw) {
    const int library = draw / THREADS, in_thread = draw % THREADS;
    if (!functions[library] || in_thread >= generators[library].threads) continue;
    for (int a = 0; a <= CLONES; ++a) {
      for (int b = 0; b < a; ++b) {
        if (memcmp(of[a][draw], of[b][draw], SIZE) != 0) continue;
        ++equal;
        printf("%s in thread %d: the same in domains %d and %d\n", generators[library].name, in_thread, b, a);
      }
    }
  }
  return equal != 0;
}
