/* A C program that clones itself into three, with what C programs have: threads that fight for a lock, a server, an open
 * file, a timer, a pipe, random numbers. See README.md. It must not know what runs it. C99 and POSIX. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <gridcentric/gc-guest.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CLONES = 3, HANG_GUARD_MS = 60000 };

static int passed;

static void ok(const char *what) {
  ++passed;
  printf("ok %s\n", what);
}

/* Ends the program unless a thing is as it has to be; what went wrong is in gc_error_text() or errno. */
#define MUST(CONDITION)                                                                      \
  do {                                                                                       \
    if (!(CONDITION)) {                                                                      \
      fprintf(stderr, "%s:%d: not so: %s (errno: %m; %s)\n", __FILE__, __LINE__, #CONDITION, \
              gc_error_text());                                                              \
      exit(1);                                                                               \
    }                                                                                        \
  } while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long turns[2];    /* under lock */
static int stopping;     /* under lock */
static int visits = 40;  /* under lock */
static int asked_to_end; /* under lock */
static int listener;

static void *fight(void *who) {
  for (;;) {
    pthread_mutex_lock(&lock);
    ++turns[(size_t)who];
    pthread_cond_broadcast(&changed);
    int stop = stopping;
    pthread_mutex_unlock(&lock);
    if (stop) return NULL;
    usleep(500);
  }
}

/* Answers each connection with the vmid and the number of visits. A first letter of e: this was all; s: stop serving. */
static void *serve(void *unused) {
  (void)unused;
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    MUST(connection >= 0);
    char letter = 0, text[64];
    MUST(read(connection, &letter, 1) == 1);
    pthread_mutex_lock(&lock);
    int length = snprintf(text, sizeof text, "%d %d", gc_vmid(), ++visits);
    pthread_mutex_unlock(&lock);
    MUST(write(connection, text, (size_t)length) == length);
    close(connection);
    if (letter == 'e') { /* not before the answer is out: the domain ends */
      pthread_mutex_lock(&lock);
      asked_to_end = 1;
      pthread_cond_broadcast(&changed);
      pthread_mutex_unlock(&lock);
    }
    if (letter == 's') return NULL;
  }
}

static void ask(const char *ip, int port, char letter, char answer[64]) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  MUST(inet_pton(AF_INET, ip, &address.sin_addr) == 1);
  int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  MUST(connection >= 0 && connect(connection, (struct sockaddr *)&address, sizeof address) == 0);
  MUST(write(connection, &letter, 1) == 1);
  errno = 0;
  ssize_t got = read(connection, answer, 63);
  MUST(got > 0);
  answer[got] = 0;
  close(connection);
}

/* Both threads take the lock again after this moment. */
static void threads_go_on(void) {
  pthread_mutex_lock(&lock);
  long first = turns[0], second = turns[1];
  while (turns[0] <= first + 1 || turns[1] <= second + 1) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

struct resources {
  int epoll, timer, pipe[2], port, pid;
  FILE *file;
  char name[64];
};

static struct resources open_all(void) {
  struct resources made;
  struct sockaddr_in any = {.sin_family = AF_INET};
  socklen_t size = sizeof any;
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  MUST(listener >= 0 && bind(listener, (struct sockaddr *)&any, sizeof any) == 0 &&
       listen(listener, 64) == 0);
  MUST(getsockname(listener, (struct sockaddr *)&any, &size) == 0);
  made.port = ntohs(any.sin_port);
  made.epoll = epoll_create1(EPOLL_CLOEXEC);
  made.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  struct itimerspec once = {.it_value = {.tv_nsec = 150000000}};
  MUST(made.epoll >= 0 && made.timer >= 0 && timerfd_settime(made.timer, 0, &once, NULL) == 0);
  struct epoll_event event = {.events = EPOLLIN};
  MUST(epoll_ctl(made.epoll, EPOLL_CTL_ADD, made.timer, &event) == 0);
  MUST(pipe(made.pipe) == 0 && write(made.pipe[1], "bytes", 5) == 5);
  char name[] = "/tmp/gridcentric-smoke-XXXXXX";
  int file = mkstemp(name);
  made.file = fdopen(file, "w+");
  MUST(made.file && fputs("abcdefgh", made.file) >= 0 && fflush(made.file) == 0 &&
       fseek(made.file, 4, SEEK_SET) == 0);
  strcpy(made.name, name);
  made.pid = getpid();
  return made;
}

/* What a domain is and has, as one line: "VMID MASTER IP READ PIPE RANDOM SAME_PID". */
static void describe(const struct resources *has, char text[256]) {
  char ip[46], read_[5] = "", bytes[6] = "";
  unsigned long random_;
  struct epoll_event event;
  MUST(epoll_wait(has->epoll, &event, 1, HANG_GUARD_MS) == 1);
  MUST(fread(read_, 1, 4, has->file) == 4);
  MUST(read(has->pipe[0], bytes, 5) == 5);
  MUST(getrandom(&random_, sizeof random_, 0) == sizeof random_);
  MUST(gc_my_ip(ip, sizeof ip) == 0);
  snprintf(text, 256, "%d %d %s %s %s %lx %d", gc_vmid(), gc_ismaster(), ip, read_, bytes, random_,
           getpid() == has->pid);
}

/* 1 if the clones had the master's pid, 0 if others. */
static int one_round(void) {
  pthread_t threads[3];
  stopping = asked_to_end = 0;
  visits = 40;
  struct resources has = open_all();
  MUST(pthread_create(&threads[0], NULL, fight, (void *)0) == 0);
  MUST(pthread_create(&threads[1], NULL, fight, (void *)1) == 0);
  MUST(pthread_create(&threads[2], NULL, serve, NULL) == 0);
  threads_go_on();

  gc_uuid_t ticket;
  MUST(gc_request_ticket(CLONES, CLONES, 1, 10000, &ticket) == 0);
  int vmid = gc_clone(ticket);
  MUST(vmid >= 0);
  threads_go_on();
  char own[256];
  describe(&has, own);
  if (vmid > 0) {
    MUST(gc_sync(GC_MY_TICKET, -1) == 0);
    pthread_mutex_lock(&lock);
    while (!asked_to_end) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    gc_join(own, strlen(own));
    MUST(!"gc_join came back");
  }

  MUST(gc_sync(ticket, HANG_GUARD_MS) == 0);
  ok("threads and locks");
  gc_domain_t *domains;
  size_t count, clones = 0;
  char answer[64], expected[64];
  MUST(gc_list_domains(&domains, &count) == 0);
  for (size_t i = 0; i < count; i++) {
    if (domains[i].vmid == 0 || strcmp(domains[i].ticket.value, ticket.value) != 0) continue;
    ask(domains[i].ip, has.port, 'w', answer);
    snprintf(expected, sizeof expected, "%d 41", domains[i].vmid);
    MUST(strcmp(answer, expected) == 0);
    ask(domains[i].ip, has.port, 'e', answer);
    ++clones;
  }
  MUST(clones == CLONES);
  gc_free(domains);
  ask("127.0.0.1", has.port, 'w', answer);
  MUST(strcmp(answer, "0 41") == 0);
  ok("servers on addresses of their own");

  gc_result_t *results;
  MUST(gc_wait(ticket, HANG_GUARD_MS, &results, &count) == 0 && count == CLONES);
  char randoms[CLONES + 1][20];
  int same_pid = 1;
  for (size_t i = 0; i <= CLONES; i++) {
    int who, master, same;
    char ip[46], read_[8], bytes[8];
    const char *line = i < CLONES ? (const char *)results[i].report : own;
    MUST(i == CLONES || results[i].how == GC_END_JOINED);
    MUST(sscanf(line, "%d %d %45s %7s %7s %19s %d", &who, &master, ip, read_, bytes, randoms[i], &same) == 7);
    MUST(i == CLONES ? who == 0 && master == 1 : who == results[i].vmid && master == 0);
    MUST(strcmp(read_, "efgh") == 0 && strcmp(bytes, "bytes") == 0);
    for (size_t k = 0; k < i; k++) MUST(strcmp(randoms[k], randoms[i]) != 0);
    if (i < CLONES && !same) same_pid = 0;
  }
  gc_free(results);
  ok("identity, memory, files, pipes and timers");
  ok("random numbers");

  pthread_mutex_lock(&lock);
  stopping = 1;
  pthread_mutex_unlock(&lock);
  ask("127.0.0.1", has.port, 's', answer);
  for (int i = 0; i < 3; i++) MUST(pthread_join(threads[i], NULL) == 0);
  fclose(has.file);
  unlink(has.name);
  int descriptors[] = {listener, has.epoll, has.timer, has.pipe[0], has.pipe[1]};
  for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) close(descriptors[i]);
  return same_pid;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 3, same_pid = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 0; i < rounds; i++) same_pid = one_round();
  printf("mode %s\n%d passed\n", same_pid ? "pidns" : "plain", passed);
  return 0;
}
