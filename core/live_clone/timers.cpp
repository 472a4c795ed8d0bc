// setitimer() and timer_create() timers: a fork loses them; the clone creates them again with the same ids. Runs while
// threads are parked, or in a clone that is not released yet: see sys.hpp.
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include "engine.hpp"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77  // Linux 6.15
#endif

namespace gridcentric::live_clone {

struct KernelTimer {
  int id, clock, signal, notify, proc_tid;
  unsigned long value;
  itimerspec setting;
};

namespace {

constexpr int highest_id =
    1 << 20;  // without exact ids, every id below has to be created and deleted on the way

struct KernelSigevent {
  unsigned long value;
  int signal, notify, tid;
  int padding[11];
};

bool create_timer(const KernelTimer &t, KernelSigevent *event) {
  int id = t.id;
  const bool exact = sys(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) == 0;
  long r;
  for (;;) {
    if (!exact) id = -1;
    r = sys(SYS_timer_create, t.clock, event, &id);
    if (r < 0 || id == t.id) break;
    sys(SYS_timer_delete, id);  // the kernel counts up from 0
    if (id > t.id) r = -EEXIST;
    if (r < 0) break;
  }
  if (exact) sys(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
  if (r < 0)
    return fail((int)-r) << "timer " << t.id << " (clock " << t.clock << ") can't be made in the clone",
           false;
  return true;
}

// Before Linux 6.15 a clone gets ids only upwards, and the kernel lists the newest timer first.
void sort_by_id(Table<KernelTimer> &timers) {
  const size_t n = timers.count;
  if (n > 1 && timers[0].id > timers[n - 1].id)
    for (size_t i = 0; i < n / 2; i++) {
      const KernelTimer t = timers[i];
      timers[i] = timers[n - 1 - i];
      timers[n - 1 - i] = t;
    }
  for (size_t i = 1; i < n; i++) {
    const KernelTimer t = timers[i];
    size_t at = i;
    for (; at > 0 && timers[at - 1].id > t.id; at--) timers[at] = timers[at - 1];
    timers[at] = t;
  }
}

}  // namespace

bool plan_timers() {
  Engine &e = engine;
  for (int i = 0; i < 3; i++) sys(SYS_getitimer, i, &engine.plan.interval_timers[i]);
  // The kernel restarts a real-time interval when its signal is taken. Until then a timer that has expired stands still,
  // with an interval and no time left; its signal is not carried over, so the clone's timer expires at once.
  itimerval &real = engine.plan.interval_timers[ITIMER_REAL];
  const bool has_interval = real.it_interval.tv_sec || real.it_interval.tv_usec;
  if (has_interval && !real.it_value.tv_sec && !real.it_value.tv_usec) real.it_value.tv_usec = 1;
  const long n = read_file("/proc/self/timers", e.scratch, e.scratch_size);
  if (n == -ENOENT) return true;  // a kernel without checkpoint support: the preflight has noted it
  if (n == -ENOBUFS) return fail_arena();
  if (n < 0) return fail((int)-n) << "/proc/self/timers can't be read", false;
  KernelTimer *t = nullptr;
  for (const char *p = e.scratch; *p; p = next_line(p)) {
    unsigned long v;
    if (const char *id = after(p, "ID: ")) {
      t = e.plan.timers.add(e.arena);
      if (!t) return fail_arena();
      memset(t, 0, sizeof *t);
      parse_dec(id, &v);
      t->id = (int)v;
      if (t->id > highest_id)
        return fail(EOPNOTSUPP) << "timer id " << t->id << " is above " << highest_id
                                << ": too many to recreate",
               false;
      sys(SYS_timer_gettime, t->id, &t->setting);
    } else if (!t) {
      continue;
    } else if (const char *signal = after(p, "signal: ")) {
      signal = parse_dec(signal, &v);
      t->signal = (int)v;
      parse_hex(signal + 1, &t->value);
    } else if (const char *notify = after(p, "notify: ")) {
      t->notify = after(notify, "signal") || after(notify, "thread") ? SIGEV_SIGNAL : SIGEV_NONE;
      if (const char *tid = find_in_line(notify, "/tid.")) {
        t->notify |= SIGEV_THREAD_ID;
        parse_dec(tid + 5, &v);
        t->proc_tid = (int)v;
      }
    } else if (const char *clock = after(p, "ClockID: ")) {
      const bool negative = *clock == '-';
      parse_dec(clock + negative, &v);
      t->clock = negative ? -(int)v : (int)v;
    }
  }
  sort_by_id(e.plan.timers);
  return true;
}

bool rebuild_timers() {
  for (int i = 0; i < 3; i++)
    if (engine.plan.interval_timers[i].it_value.tv_sec || engine.plan.interval_timers[i].it_value.tv_usec)
      sys(SYS_setitimer, i, &engine.plan.interval_timers[i], nullptr);
  for (KernelTimer &t : engine.plan.timers) {
    KernelSigevent event{};
    event.value = t.value;
    event.signal = t.signal;
    event.notify = t.notify;
    if (t.proc_tid) {
      Thread *thread = thread_by_proc_tid(t.proc_tid);
      if (!thread || !thread->new_tid) continue;  // its thread has ended: it cannot fire in the master either
      event.tid = thread->new_tid;
    }
    if (!create_timer(t, &event)) return false;
    sys(SYS_timer_settime, t.id, 0, &t.setting, nullptr);
  }
  return true;
}

}  // namespace gridcentric::live_clone
