// If another thread holds a lock while the process is cloned, that thread must be able to release it, in the master and in
// clones.
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <thread>

#include "testee.hpp"

using namespace testee;

namespace {

// Holds a lock in another thread during the clone, then has it released there and taken here.
void across_clone(const std::function<int()> &lock, const std::function<int()> &unlock,
                  const std::function<int()> &timed_lock) {
  std::atomic<bool> held{false}, release{false};
  std::atomic<int> unlocked{-1};
  std::thread holder([&] {
    if (lock() != 0) fail(__FILE__, __LINE__, "lock");
    held = true;
    until([&] { return release.load(); });
    unlocked = unlock();
  });
  std::atomic<int> waited{-1}, waited_without_limit{-1};
  until([&] { return held.load(); });
  std::thread waiter([&] { waited = timed_lock() || unlock(); });  // they wait in the kernel during the clone
  std::thread patient([&] { waited_without_limit = lock() || unlock(); });
  timespec t{0, 20000000};
  nanosleep(&t, nullptr);
  clone_here();
  release = true;
  holder.join();
  CHECK_EQ(unlocked.load(), 0);
  waiter.join();
  patient.join();
  CHECK_EQ(waited.load(), 0);
  CHECK_EQ(waited_without_limit.load(), 0);
  CHECK_EQ(timed_lock(), 0);
  CHECK_EQ(unlock(), 0);
}

timespec in_a_minute() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  t.tv_sec += 60;
  return t;
}

void mutex_of(int type, int protocol = PTHREAD_PRIO_NONE, int robust = PTHREAD_MUTEX_STALLED) {
  static pthread_mutex_t m;
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, type);
  pthread_mutexattr_setprotocol(&a, protocol);
  pthread_mutexattr_setrobust(&a, robust);
  pthread_mutex_init(&m, &a);
  across_clone([] { return pthread_mutex_lock(&m); }, [] { return pthread_mutex_unlock(&m); },
               [] {
                 const timespec t = in_a_minute();
                 return pthread_mutex_timedlock(&m, &t);
               });
}

}  // namespace

TESTEE(normal_mutex) { mutex_of(PTHREAD_MUTEX_NORMAL); }
TESTEE(recursive_mutex) { mutex_of(PTHREAD_MUTEX_RECURSIVE); }
TESTEE(errorcheck_mutex) { mutex_of(PTHREAD_MUTEX_ERRORCHECK); }
TESTEE(adaptive_mutex) { mutex_of(PTHREAD_MUTEX_ADAPTIVE_NP); }
TESTEE(priority_inheritance_mutex_pidns) { mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT); }
TESTEE(robust_mutex_pidns) { mutex_of(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST); }

TESTEE(recursive_mutex_deep) {
  static std::recursive_mutex m;
  std::atomic<bool> held{false}, release{false};
  std::thread holder([&] {
    for (int i = 0; i < 5; i++) m.lock();
    held = true;
    until([&] { return release.load(); });
    for (int i = 0; i < 5; i++) m.unlock();
  });
  until([&] { return held.load(); });
  CHECK(!m.try_lock());
  clone_here();
  CHECK(!m.try_lock());
  release = true;
  holder.join();
  CHECK(m.try_lock());
  m.unlock();
}

// Chunks of a garbage-collected heap are not searched for locks: what looks like one stays as it is.
TESTEE(lock_free_chunks) {
  constexpr size_t size = 256 * 1024;
  void *memory = mmap(nullptr, 3 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  const uintptr_t start = (reinterpret_cast<uintptr_t>(memory) + size - 1) & ~(size - 1);
  auto *chunk = reinterpret_cast<size_t *>(start);
  *chunk = size;
  auto *inside = new (chunk + 8) std::recursive_mutex;
  auto *outside = new (reinterpret_cast<char *>(start + size)) std::recursive_mutex;
  inside->lock();
  outside->lock();
  const int master = gettid();
  live_clone::Order chunks = order();
  chunks.no_locks_in_chunks = size;
  clone_here(chunks);
  CHECK_EQ(inside->native_handle()->__data.__owner, master);
  CHECK_EQ(outside->native_handle()->__data.__owner, gettid());
}

// In plain mode all memory is searched for locks, which takes long: the master runs meanwhile. It may be given a processor
// only when the search is over, so one clone of several has to show it.
TESTEE(the_search_for_locks_stops_nobody) {
  constexpr size_t size = size_t{64} << 20;
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  memset(memory, 1, size);
  bool shown = false;
  for (int i = 0; i < 50 && !shown; i++) {
    if (clone_here() > 0) return;
    const live_clone::StageTimes &times = outcome().times;
    shown = times.pause_ms + times.locks_ms <= times.ready_ms;
    if (!shown) wait_for_clones();
  }
  CHECK(shown);
}

// Small numbers, like thread ids in a container: data that looks like a held lock must not change.
TESTEE(numbers_that_look_like_locks) {
  const auto tid = static_cast<uint32_t>(gettid());
  alignas(8) static uint32_t table[4096];
  for (uint32_t *p = table; p + 16 <= table + 4096; p += 16) {
    const uint32_t row = static_cast<uint32_t>(p - table) / 16 % 4;
    const uint32_t like[4][16] = {
        {1, 1, tid, 1, 1, 5, 1, 1, tid, 1, 1, 6, 1, 1, tid, 1},  // a recursive mutex, except for what follows
        {1, 7, tid, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},      // an error-checking mutex never counts
        {2, 1, 1, 1, 0, 0, tid, 5, 1, 2, 3, 4, 5, 6, 7, 8},      // a write lock, except for what follows
        {0, 1, 1, tid, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},      // a recursive mutex, but misaligned
    };
    std::copy(like[row], like[row] + 16, p);
  }
  static uint32_t before[4096];
  std::copy(table, table + 4096, before);
  clone_here();
  CHECK(std::equal(table, table + 4096, before));
}

TESTEE(mutex_held_by_the_caller) {
  static std::recursive_mutex m;
  m.lock();
  clone_here();
  m.unlock();
  std::thread([] {
    CHECK(m.try_lock());
    m.unlock();
  }).join();
}

TESTEE(read_write_lock) {
  static pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;
  across_clone([] { return pthread_rwlock_wrlock(&l); }, [] { return pthread_rwlock_unlock(&l); },
               [] {
                 const timespec t = in_a_minute();
                 return pthread_rwlock_timedwrlock(&l, &t);
               });
}

TESTEE(shared_mutex) {
  static std::shared_timed_mutex m;
  across_clone(
      [] {
        m.lock();
        return 0;
      },
      [] {
        m.unlock();
        return 0;
      },
      [] { return m.try_lock_for(std::chrono::seconds(60)) ? 0 : ETIMEDOUT; });
}

TESTEE(shared_mutex_with_readers) {
  static std::shared_mutex m;
  std::atomic<int> reading{0};
  std::atomic<bool> release{false};
  std::thread readers[3];
  for (auto &r : readers)
    r = std::thread([&] {
      std::shared_lock lock(m);
      reading++;
      until([&] { return release.load(); });
    });
  until([&] { return reading == 3; });
  std::thread writer([] { std::lock_guard lock(m); });
  clone_here();
  release = true;
  for (auto &r : readers) r.join();
  writer.join();
  CHECK(m.try_lock());
  m.unlock();
}

TESTEE(condition_variable) {
  static std::mutex m;
  static std::condition_variable c;
  static int turn = 0;
  std::thread waiters[4];
  for (auto &w : waiters)
    w = std::thread([] {
      std::unique_lock lock(m);
      c.wait(lock, [] { return turn >= 1; });
      c.wait_for(lock, std::chrono::minutes(1), [] { return turn == 2; });
    });
  clone_here();
  for (int t : {1, 2}) {
    std::lock_guard lock(m);
    turn = t;
    c.notify_all();
  }
  for (auto &w : waiters) w.join();
}

TESTEE(semaphore) {
  static sem_t s;
  sem_init(&s, 0, 2);
  std::thread waiters[4];
  std::atomic<int> through{0};
  for (auto &w : waiters)
    w = std::thread([&] {
      while (sem_wait(&s) != 0) CHECK(errno == EINTR);
      through++;
    });
  until([&] { return through == 2; });
  clone_here();
  sem_post(&s);
  sem_post(&s);
  for (auto &w : waiters) w.join();
  int value = -1;
  CHECK(sem_getvalue(&s, &value) == 0 && value == 0);
}
