/* What the kernel alone takes for each step of a clone: the floors of the row `stages`. One line, JSON, medians in ms.
 *   floors THREADS DESCRIPTORS REAPER    of a program with that many threads and open files; REAPER: the binary gc-reaper
 * It has next to no memory: what copying memory takes is a plain fork() of the server itself. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { rounds = 31, most_threads = 64 };

static int thread_count, descriptor_count;
static const char *reaper;
static pid_t threads[most_threads];
static atomic_int started, parked, released, waits;
static char stack[64 * 1024];

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void wait_while(atomic_int *word, int value) {
  while (*word == value) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL);
}

static void wake_all(atomic_int *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most_threads); }

static void require(int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "floors: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void stop_here(int signal) {
  (void)signal;
  const int error = errno, round = released;
  parked++;
  wake_all(&parked);
  wait_while(&released, round);
  errno = error;
}

static void *sleeper(void *index) {
  threads[(long)index] = (pid_t)syscall(SYS_gettid);
  started++;
  wake_all(&started);
  for (;;) wait_while(&waits, 0);
  return NULL;
}

/* Every other thread is stopped by a signal, as parking does; they are let go without being measured. */
static double park(void) {
  const double start = now_ms();
  parked = 0;
  for (int i = 0; i < thread_count; i++) syscall(SYS_tgkill, getpid(), threads[i], SIGUSR1);
  for (int n; (n = parked) < thread_count;) wait_while(&parked, n);
  const double ms = now_ms() - start;
  released++;
  wake_all(&released);
  return ms;
}

static void read_all(const char *path) {
  static char text[65536];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  require(fd >= 0, path);
  while (read(fd, text, sizeof text) > 0) {
  }
  close(fd);
}

/* What /proc says of mappings, and of each thread and each descriptor. */
static double read_facts(void) {
  const double start = now_ms();
  read_all("/proc/self/maps");
  for (int i = 0; i < thread_count; i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)threads[i]);
    read_all(path);
  }
  DIR *folder = opendir("/proc/self/fdinfo");
  require(folder != NULL, "/proc/self/fdinfo");
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    char path[300];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%s", entry->d_name);
    if (entry->d_name[0] != '.') read_all(path);
  }
  closedir(folder);
  return now_ms() - start;
}

static int end_at_once(void *nothing) {
  (void)nothing;
  _exit(0);
}

static int become_reaper(void *nothing) {
  (void)nothing;
  char *const argv[] = {"gc-reaper", NULL}, *const none[] = {NULL};
  dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2); /* without arguments it says what it is for */
  execve(reaper, argv, none);
  _exit(1);
}

static double process(int (*main)(void *), int flags) {
  const double start = now_ms();
  const pid_t pid = clone(main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD | flags, NULL);
  const double ms = now_ms() - start;
  require(pid > 0, "clone");
  waitpid(pid, NULL, 0);
  return ms;
}

static double helper(void) { return process(end_at_once, 0); }
static double namespaces(void) { return process(end_at_once, CLONE_NEWUSER | CLONE_NEWPID); }
static double exec_reaper(void) { return process(become_reaper, 0); }

static void *nothing_to_do(void *nothing) { return nothing; }

static double make_threads(void) {
  pthread_t made[most_threads];
  const double start = now_ms();
  for (int i = 0; i < thread_count; i++)
    require(pthread_create(&made[i], NULL, nothing_to_do, NULL) == 0, "pthread_create");
  const double ms = now_ms() - start;
  for (int i = 0; i < thread_count; i++) pthread_join(made[i], NULL);
  return ms;
}

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double (*step)(void)) {
  double times[rounds];
  for (int i = 0; i < rounds; i++) times[i] = step();
  qsort(times, rounds, sizeof times[0], by_size);
  return times[rounds / 2];
}

int main(int argc, char **argv) {
  if (argc != 4 || (thread_count = atoi(argv[1]) - 1) < 0 || thread_count >= most_threads) {
    fprintf(stderr, "usage: floors THREADS (1 to %d) DESCRIPTORS REAPER\n", most_threads);
    return 2;
  }
  reaper = argv[3];
  for (descriptor_count = atoi(argv[2]) - 3; descriptor_count > 0; descriptor_count--)
    require(dup(0) >= 0, "dup");
  struct sigaction action = {.sa_handler = stop_here, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  for (long i = 0; i < thread_count; i++) {
    pthread_t thread;
    require(pthread_create(&thread, NULL, sleeper, (void *)i) == 0, "pthread_create");
  }
  for (int n; (n = started) < thread_count;) wait_while(&started, n);
  printf(
      "{\"park\": %.4f, \"facts\": %.4f, \"helper\": %.4f, \"namespaces\": %.4f, \"exec\": %.4f, "
      "\"threads\": %.4f}\n",
      median(park), median(read_facts), median(helper), median(namespaces), median(exec_reaper),
      median(make_threads));
  return 0;
}
