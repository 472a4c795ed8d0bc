// What /proc says about a thread that sleeps in the kernel: in which call, and since when. No file has that moment as a time
// of day: /proc/PID/sched (CONFIG_SCHED_DEBUG) has when the thread last ran, by the clock of the processor that it ran on.
// These clocks do not count the processor's interrupts and stolen time, so each is compared with CLOCK_MONOTONIC. Since they
// can only fall behind, a wait is never taken for longer than it was. Runs while threads are parked: see sys.hpp.
#include <sys/resource.h>

#include "engine.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr size_t sched_size = 4096;

// "se.exec_start    :    12706458.134928", milliseconds; negative if missing.
int64_t last_run(const char *sched) {
  const char *p = field(sched, "se.exec_start");
  if (!p || *p != ':') return -1;
  unsigned long milliseconds = 0, nanoseconds = 0;
  for (p++; *p == ' ';) p++;
  p = parse_dec(p, &milliseconds);
  if (*p != '.') return -1;
  parse_dec(p + 1, &nanoseconds);
  return int64_t(milliseconds * 1'000'000 + nanoseconds);
}

long sleeps_in(const char *sched) {
  const char *p = field(sched, "nr_voluntary_switches");
  unsigned long n = 0;
  if (!p || *p != ':') return -1;
  for (p++; *p == ' ';) p++;
  parse_dec(p, &n);
  return (long)n;
}

bool read_start(const char *path, char *buffer, size_t size) {
  const long n = read_file(path, buffer, size);
  return n > 0 || n == -ENOBUFS;
}

// Field 39 of stat.
int last_processor(int proc_tid, char *space) {
  if (!read_start(Path("/proc/self/task/", proc_tid, "/stat"), space, sched_size)) return -1;
  const char *p = stat_field(space, 39);
  unsigned long v = 0;
  if (!p || *p < '0' || *p > '9') return -1;
  parse_dec(p, &v);
  return (int)v;
}

int processor() {
  unsigned cpu = 0;
  return sys(SYS_getcpu, &cpu, nullptr, nullptr) == 0 ? (int)cpu : -1;
}

// The clock of a processor: as seen by a thread that was stopped on it, or by the caller, which moves there.
SchedulerClock clock_of(int wanted) {
  Engine &e = engine;
  Thread &caller = e.plan.threads[0];
  if (!caller.wait.clock.known) caller.wait.clock = look_at_clock();
  for (size_t i = 0; i < e.plan.thread_count; i++)
    if (e.plan.threads[i].wait.clock.known && e.plan.threads[i].wait.clock.processor == wanted)
      return e.plan.threads[i].wait.clock;
  unsigned long only[sizeof caller.affinity / sizeof *caller.affinity] = {};
  constexpr int bits = 8 * sizeof *only;
  if (wanted / bits >= (int)(sizeof only / sizeof *only) || caller.affinity_bytes <= 0) return {};
  only[wanted / bits] = 1ul << wanted % bits;
  if (sys(SYS_sched_setaffinity, 0, sizeof only, only) < 0) return {};
  const SchedulerClock clock = look_at_clock();
  sys(SYS_sched_setaffinity, 0, caller.affinity_bytes, caller.affinity);
  return clock.processor == wanted ? clock : SchedulerClock{};
}

}  // namespace

void look_at_call(Thread &t) { look_at_call_of(t.proc_tid, &t.wait.call); }

void look_at_call_of(int proc_tid, arch::WaitingCall *to) {
  char text[256];
  arch::WaitingCall &call = *to;
  call.known = false;
  if (read_file(Path("/proc/", proc_tid, "/syscall"), text, sizeof text) <= 0) return;
  if (text[0] < '0' || text[0] > '9') return;  // "running", or -1: in no call
  unsigned long v;
  const char *p = parse_dec(text, &v);
  call.number = (long)v;
  uint64_t *out[8] = {&call.args[0], &call.args[1], &call.args[2], &call.args[3],
                      &call.args[4], &call.args[5], &call.stack,   &call.pc};
  for (uint64_t *o : out) {
    p = find_in_line(p, "0x");
    if (!p) return;
    p = parse_hex(p + 2, &v);
    *o = v;
  }
  call.known = true;
}

// The thread is not stopped meanwhile. What is read in between belongs to one sleep if it is the same before and after.
void look_at_sleep(Thread &t) {
  char *sched = engine.scratch, *space = engine.scratch + sched_size;
  const Path path("/proc/self/task/", t.proc_tid, "/sched");
  const arch::WaitingCall before = t.wait.call;
  if (!read_start(path, sched, sched_size)) return;
  const int64_t since = last_run(sched);
  const long sleeps = sleeps_in(sched);
  look_at_call(t);
  t.wait.processor = last_processor(t.proc_tid, space);
  if (since < 0 || sleeps < 0 || t.wait.processor < 0 || !read_start(path, sched, sched_size)) return;
  const bool same = t.wait.call.known && t.wait.call.number == before.number &&
                    t.wait.call.stack == before.stack && last_run(sched) == since &&
                    sleeps_in(sched) == sleeps;
  t.wait.asleep_since = same ? since : -1;
  t.wait.sleeps = sleeps;
}

SchedulerClock look_at_clock() {
  char sched[512];
  const int here = processor();
  timespec used;
  sys(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &used);  // updates the time of the last run
  if (!read_start("/proc/thread-self/sched", sched, sizeof sched)) return {};
  const int64_t ran = last_run(sched);
  // Read afterwards, so that the clock seems farther behind than it is, and a wait shorter than it was.
  const int64_t now = now_ns();
  if (ran < 0 || here < 0 || processor() != here) return {};
  return {true, here, ran - now};
}

void settle_deadlines() {
  constexpr int64_t overdue = 50'000'000;  // a wait may end a little late if its processor is busy
  Engine &e = engine;
  for (size_t i = 1; i < e.plan.thread_count; i++) {
    Wait &w = e.plan.threads[i].wait;
    if (e.plan.threads[i].state != thread_parked || !w.interrupted || w.asleep_since < 0 || w.rest_is_told ||
        w.limit < 0)
      continue;
    const SchedulerClock clock =
        w.clock.known && w.clock.processor == w.processor ? w.clock : clock_of(w.processor);
    if (!clock.known) continue;
    const int64_t began = w.asleep_since - clock.ahead;
    if (began <= w.stopped_at && began + w.limit > w.stopped_at - overdue) w.deadline = began + w.limit;
  }
}

}  // namespace gridcentric::live_clone
