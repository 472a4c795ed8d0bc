// Threads: many, coming and going, allocating, waiting in the kernel; what belongs to each; clones of clones.
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

static thread_local int mine = -1;

static void many_threads(int count) {
  std::atomic<int> started{0}, right{0};
  std::atomic<int> release{0};
  std::vector<pthread_t> threads((size_t)count);
  struct Shared {
    std::atomic<int> *started, *right;
    std::atomic<int> *release;
  } shared{&started, &right, &release};
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024);
  for (auto &t : threads)
    CHECK(pthread_create(
              &t, &small,
              [](void *p) -> void * {
                auto &s = *static_cast<Shared *>(p);
                mine = (*s.started)++;
                const int id = mine;
                s.release->wait(0);
                if (mine == id && pthread_kill(pthread_self(), 0) == 0) (*s.right)++;
                return (void *)(long)id;
              },
              &shared) == 0);
  until([&] { return started == count; });
  mine = -7;
  clone_here();
  CHECK_EQ(outcome().threads, size_t(count) + 1 + (getpid() != gettid()));
  release = 1;
  release.notify_all();
  long sum = 0;
  for (auto t : threads) {
    void *id;
    CHECK(pthread_join(t, &id) == 0);
    sum += (long)id;
  }
  CHECK_EQ(sum, long(count) * (count - 1) / 2);
  CHECK_EQ(right.load(), count);
  CHECK_EQ(mine, -7);
}

TESTEE(four_hundred_threads) { many_threads(400); }
TESTEE(two_thousand_threads) { many_threads(2000); }

TESTEE(threads_start_and_end_while_parking) {
  std::atomic<bool> stop{false};
  std::atomic<long> made{0};
  std::vector<std::thread> makers;
  for (int i = 0; i < 3; i++)
    makers.emplace_back([&] {
      while (!stop) {
        std::thread([&] { made++; }).join();
      }
    });
  until([&] { return made > 20; });
  clone_here();
  const long before = made;
  until([&] { return made > before + 20; });
  stop = true;
  for (auto &m : makers) m.join();
}

TESTEE(threads_that_allocate) {
  std::atomic<bool> stop{false};
  std::atomic<long> rounds{0};
  std::vector<std::thread> allocators;
  for (int i = 0; i < 4; i++)
    allocators.emplace_back([&] {
      std::map<int, std::string> m;
      for (int k = 0; !stop; k = (k + 1) % 500) {
        m[k] += std::string(size_t(k), 'x');
        if (m[k].size() > 5000) m.erase(k);
        rounds++;
      }
    });
  until([&] { return rounds > 1000; });
  clone_here();
  const long before = rounds;
  until([&] { return rounds > before + 1000; });
  stop = true;
  for (auto &a : allocators) a.join();
}

// Waits without a limit go on: the program sees no EINTR that it would not see without a clone.
TESTEE(endless_waits_go_on) {
  int ends[2], epoll_pipe[2];
  CHECK(pipe(ends) == 0 && pipe(epoll_pipe) == 0);
  const int set = epoll_create1(0);
  epoll_event e{EPOLLIN, {.fd = epoll_pipe[0]}};
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, epoll_pipe[0], &e) == 0);
  std::atomic<int> inside{0}, interrupted{0};
  std::thread waiters[4];
  waiters[0] = std::thread([&] {
    pollfd p{ends[0], POLLIN, 0};
    inside++;
    interrupted += poll(&p, 1, -1) != 1;
  });
  waiters[1] = std::thread([&] {
    epoll_event got;
    inside++;
    interrupted += epoll_wait(set, &got, 1, -1) != 1;
  });
  waiters[2] = std::thread([&] {
    fd_set f;
    FD_ZERO(&f);
    FD_SET(ends[0], &f);
    inside++;
    interrupted += select(ends[0] + 1, &f, nullptr, nullptr, nullptr) != 1;
  });
  waiters[3] = std::thread([&] {
    pollfd p{ends[0], POLLIN, 0};
    sigset_t none;
    sigemptyset(&none);
    inside++;
    interrupted += ppoll(&p, 1, nullptr, &none) != 1;
  });
  until([&] { return inside == 4; });
  timespec t{0, 20000000};
  nanosleep(&t,
            nullptr);  // time to enter the kernel; a thread that has not done so yet is just not restarted
  clone_here();
  CHECK(write(ends[1], "x", 1) == 1 && write(epoll_pipe[1], "x", 1) == 1);
  for (auto &w : waiters) w.join();
  CHECK_EQ(interrupted.load(), 0);
}

TESTEE(what_belongs_to_a_thread) {
  std::atomic<bool> ready{false}, release{false};
  std::atomic<int> wrong{0};
  std::thread other([&] {
    prctl(PR_SET_NAME, "named");
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    static char stack[65536];
    stack_t s{};
    s.ss_sp = stack;
    s.ss_size = sizeof stack;
    sigaltstack(&s, nullptr);
    setpriority(PRIO_PROCESS, (id_t)gettid(), 19);  // a clone may be unable to lower it
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    volatile double x = 1.5;
    const double y = x * 3;
    ready = true;
    until([&] { return release.load(); });
    char name[16] = {};
    prctl(PR_GET_NAME, name);
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    stack_t now{};
    sigaltstack(nullptr, &now);
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof one, &one);
    wrong += strcmp(name, "named") != 0;
    wrong += 10 * !(sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2));
    wrong += 100 * !(now.ss_sp == stack && !(now.ss_flags & SS_DISABLE));
    wrong += 1000 * (getpriority(PRIO_PROCESS, (id_t)gettid()) != 19);
    wrong += 10000 * (CPU_COUNT(&one) != 1);
    wrong += 100000 * (y != 4.5);
    wrong += 1000000 * ((unsigned)sched_getcpu() > 4096);  // rseq works
  });
  static char own_stack[65536];
  stack_t s{};
  s.ss_sp = own_stack;
  s.ss_size = sizeof own_stack;
  sigaltstack(&s, nullptr);
  until([&] { return ready.load(); });
  clone_here();
  release = true;
  other.join();
  CHECK_EQ(wrong.load(), 0);
  stack_t now{};
  CHECK(sigaltstack(nullptr, &now) == 0 && now.ss_sp == own_stack && !(now.ss_flags & SS_DISABLE));
}

TESTEE(identity) {
  const int pid = getpid(), tid = gettid(), parent = getppid();
  const int index = clone_here();
  const bool pidns = order().mode == live_clone::Mode::pidns;
  if (!index || pidns) CHECK(getpid() == pid && gettid() == tid && getppid() == parent);
  if (index && !pidns) CHECK(getpid() != pid);
  CHECK(raise(0) == 0 && pthread_kill(pthread_self(), 0) == 0);
  const int child = fork();
  if (child == 0) _exit(42);
  int status = 0;
  CHECK(waitpid(-1, &status, 0) == child && WEXITSTATUS(status) == 42);
  std::thread([] {}).join();
}

// Signals sent to the process and its threads work as before, including the C library's own on signal 33.
TESTEE(signals_and_setuid_work) {
  static std::atomic<int> got;
  signal(SIGUSR1, [](int) { got++; });
  std::atomic<bool> release{false};
  std::thread other([&] { until([&] { return release.load(); }); });
  clone_here();
  CHECK(pthread_kill(other.native_handle(), SIGUSR1) == 0);
  until([] { return got >= 1; });
  CHECK(kill(getpid(), SIGUSR1) == 0);
  until([] { return got >= 2; });
  CHECK(setgid(getgid()) == 0);  // the C library signals every thread with 33 and waits for each
  release = true;
  other.join();
}

TESTEE(clone_of_a_clone) {
  std::atomic<bool> release{false};
  std::recursive_mutex m;
  std::thread other([&] {
    m.lock();
    until([&] { return release.load(); });
    m.unlock();
  });
  auto o = order();
  o.addresses.resize(1);
  int depth = 0;
  bool grown = true;
  for (; depth < 4 && grown; depth++) grown = clone_here(o) > 0;
  CHECK_EQ(outcome().threads, size_t(2) + (getpid() != gettid()));
  release = true;
  other.join();
  CHECK(m.try_lock());
  std::thread([] {}).join();
  wait_for_clones();
}

TESTEE(nothing_is_leaked) {
  std::vector<std::thread> threads;
  std::atomic<bool> release{false};
  for (int i = 0; i < 4; i++) threads.emplace_back([&] { until([&] { return release.load(); }); });
  size_t descriptors = 0, mappings = 0;
  auto o = order();
  for (int round = 0; round < 8; round++) {
    if (clone_here(o) > 0) break;
    wait_for_clones();
    if (round == 2) descriptors = count_descriptors(), mappings = count_mappings();
    if (round > 2) CHECK_EQ(count_descriptors(), descriptors);
    if (round > 2) CHECK(count_mappings() <= mappings + 1);
  }
  if (outcome().index == 0) CHECK(waitpid(-1, nullptr, WNOHANG | __WALL) == -1 && errno == ECHILD);
  release = true;
  for (auto &t : threads) t.join();
}

// 200 clones under load: threads that lock, allocate, start and end; every clone goes on with the work before it ends.
TESTEE(churn) {
  std::atomic<bool> stop{false};
  std::atomic<long> rounds[4] = {};
  std::recursive_mutex recursive;
  static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
  std::vector<std::thread> load;
  load.emplace_back([&] {
    for (; !stop; rounds[0]++) {
      std::lock_guard a(recursive), b(recursive);
    }
  });
  load.emplace_back([&] {
    for (; !stop; rounds[1]++) std::thread([&] { std::lock_guard l(recursive); }).join();
  });
  load.emplace_back([&] {
    for (; !stop; rounds[2]++) {
      pthread_rwlock_wrlock(&shared);
      std::string text(size_t(rounds[2] % 3000), 'x');
      pthread_rwlock_unlock(&shared);
    }
  });
  load.emplace_back([&] {
    for (; !stop; rounds[3]++) {
      pthread_rwlock_rdlock(&shared);
      std::vector<int> v(size_t(rounds[3] % 1000));
      pthread_rwlock_unlock(&shared);
      timespec t{0, 50000};
      nanosleep(&t, nullptr);
    }
  });
  auto o = order();
  const int rounds_wanted = 200 / (int)o.addresses.size();
  for (int i = 0; i < rounds_wanted && clone_here(o) == 0; i++) wait_for_clones();
  long before[4];
  for (int i = 0; i < 4; i++) before[i] = rounds[i];
  for (int i = 0; i < 4; i++) until([&] { return rounds[i] > before[i] + 20; });
  stop = true;
  for (auto &t : load) t.join();
}
