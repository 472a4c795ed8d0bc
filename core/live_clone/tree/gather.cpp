// In the root, whose own threads are parked: finds every process below it and stops it. A process that is stopped makes no
// new ones; so when nothing new is found, none is left. Then the root waits for them, stage after stage.
//
// The signal that stops a process would end one that has no handler for it: it may have executed another program a moment ago.
// So its main thread is held for that moment with ptrace(2), from which it goes straight into the handler.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "process_facts.hpp"
#include "refused_processes.hpp"
#include "signal.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

constexpr double starting_ms = 500;  // for a process to load the library, or to finish a vfork

char list_of_children[65536];

int root_pid() { return engine.prepared.pid; }

Process *known_process(int proc_pid) {
  for (int i = 0; i < page().count; i++)
    if (page().processes[i].proc_pid == proc_pid) return &page().processes[i];
  return nullptr;
}

bool is_known(int proc_pid) {
  if (known_process(proc_pid)) return true;
  for (const int left_out : engine.order->left_out)
    if (left_out == proc_pid) return true;
  for (int i = 0; i < page().ended_count; i++)
    if (page().ended[i].proc_pid == proc_pid) return true;
  return false;
}

Text fail_process(int err, const Facts &facts) {
  Text text = fail(err);
  return tell_child(text, facts);
}

siginfo_t order_for(int fd) {
  siginfo_t info{};
  info.si_signo = park_signal;
  info.si_code = SI_QUEUE;
  info.si_pid = root_pid();
  info.si_uid = (uid_t)sys(SYS_getuid);
  info.si_value.sival_ptr = reinterpret_cast<void *>(SignalValue{fd, page().root_proc_pid}.packed());
  return info;
}

enum class Call { done, not_yet, gone, refused };

// Waits for the moment at which the traced thread stands still. False when it does not come: it is in the kernel, or has ended.
bool wait_for_stop(int pid, int proc_pid, double deadline) {
  for (;;) {
    siginfo_t info{};
    if (sys(SYS_waitid, P_PID, pid, &info, WSTOPPED | WNOHANG | __WALL, nullptr) == 0 && info.si_pid == pid)
      return true;
    Facts facts;
    if (now_ms() > deadline || !look_at(proc_pid, &facts) || facts.state == 'Z' || facts.state == 'X')
      return false;
    const timespec moment{0, 50'000};
    sys(SYS_nanosleep, &moment, nullptr);
  }
}

// Lets a thread go that wait_for_stop() has not seen stop: it stops later, and a stop that nobody waits for would hold it for
// ever. One that has ended is not taken from its parent, unless that is us.
void give_back(int pid, int proc_pid, bool ours) {
  const double limit = now_ms() + 1000;
  while (sys(SYS_ptrace, PTRACE_DETACH, pid, nullptr, nullptr) == -ESRCH && now_ms() < limit) {
    Facts now;
    if (!look_at(proc_pid, &now) || now.state == 'X') return;
    if (now.state == 'Z') {
      if (!ours) sys(SYS_wait4, pid, nullptr, __WALL | WNOHANG, nullptr);
      return;
    }
    siginfo_t info{};
    sys(SYS_waitid, P_PID, pid, &info, WSTOPPED | WNOHANG | __WALL, nullptr);
    const timespec moment{0, 200'000};
    sys(SYS_nanosleep, &moment, nullptr);
  }
}

Call call(Process &slot, const Facts &facts, int parent_pid, bool ours, double deadline) {
  const int pid = facts.pid;
  const long seized = sys(SYS_ptrace, PTRACE_SEIZE, pid, nullptr, nullptr);
  Facts meanwhile;  // one that has just ended is refused, too
  const bool ended =
      seized < 0 && (!look_at(slot.proc_pid, &meanwhile) || meanwhile.state == 'Z' || meanwhile.state == 'X');
  if (seized == -ESRCH || ended) return Call::gone;
  if (seized < 0) {
    fail_process((int)-seized, facts) << "ptrace(2), with which it is stopped, is refused (error " << -seized
                                      << "): does a debugger hold it, or a seccomp filter or Yama forbid it?";
    return Call::refused;
  }
  look_at_call_of(slot.proc_pid, &slot.wait.call);
  sys(SYS_ptrace, PTRACE_INTERRUPT, pid, nullptr, nullptr);
  const double patience = now_ms() + 20;
  if (!wait_for_stop(pid, slot.proc_pid, patience < deadline ? patience : deadline)) {
    give_back(pid, slot.proc_pid, ours);
    return Call::not_yet;
  }
  Facts now;
  const bool ready = look_at(slot.proc_pid, &now) && now.handles_signal && !shares_memory(pid, parent_pid);
  long sent = 0;
  if (ready) {
    const siginfo_t info = order_for(engine.prepared.tree_fd);
    slot.state = called;
    sent = sys(SYS_rt_tgsigqueueinfo, pid, pid, park_signal, &info);
  }
  sys(SYS_ptrace, PTRACE_DETACH, pid, nullptr, nullptr);
  if (sent < 0) {
    fail_process((int)-sent, facts) << "it can't be sent a signal (error " << -sent << ")";
    return Call::refused;
  }
  return ready ? Call::done : Call::not_yet;
}

struct Pass {
  bool found = false;    // somebody new
  bool waiting = false;  // for somebody who is not ready yet
};

bool add_ended(const Facts &facts, int proc_pid, int parent) {
  Page &p = page();
  if (p.ended_count == most_processes) return true;  // its parent will miss it, as in a clone of one process
  int pid = facts.pid;
  const Process &waiting = p.processes[parent];
  for (int i = 0; i < waiting.told_children; i++)
    if (waiting.told[i].stand_in == pid) pid = waiting.told[i].pid;
  p.ended[p.ended_count++] = {pid, proc_pid, parent, exit_status(proc_pid)};
  return true;
}

// `told`: it is a child in the program's eyes only (children.cpp).
bool add_process(int proc_pid, int parent, bool told, double deadline, double ready_by, Pass *pass) {
  Page &p = page();
  Facts facts;
  if (!look_at(proc_pid, &facts) || facts.state == 'X') return true;
  if (is_over(facts)) return add_ended(facts, proc_pid, parent);
  if (is_reaper(proc_pid)) return true;  // of a clone: that is a domain itself
  const bool too_late = now_ms() > ready_by, loaded = facts.handles_signal && has_library(proc_pid);
  const Likeness root{depth_of_namespaces(), (unsigned)sys(SYS_getuid)};
  if (!too_late && may_be_starting(facts, loaded, root)) return pass->waiting = true;
  char why[text_size];
  Text obstacle(why, sizeof why);
  if (tell_obstacle(obstacle, facts, loaded, root)) return fail_process(EOPNOTSUPP, facts) << why, false;
  if (p.count == most_processes) {
    Text text = fail(E2BIG);
    return tell_too_many(text), false;
  }
  Process &slot = p.processes[p.count];
  slot.pid = facts.pid;
  slot.proc_pid = proc_pid;
  slot.parent = parent;
  for (size_t i = 0; i < sizeof slot.name; i++) slot.name[i] = facts.name[i];
  p.count++;
  pass->found = true;
  switch (call(slot, facts, p.processes[parent].pid, !parent && !told, deadline)) {
    case Call::done:
      return true;
    case Call::refused:
      return false;
    case Call::not_yet:
      pass->waiting = true;
      [[fallthrough]];
    case Call::gone:
      p.count--;
      slot.state = 0;
      if (too_late && pass->waiting)
        return fail_process(ETIMEDOUT, facts) << "it could not be stopped: does it wait in the kernel?",
               false;
  }
  return true;
}

bool add_children(int parent, double deadline, double ready_by, Pass *pass) {
  alignas(8) static char tasks[16384];
  const int proc_pid = page().processes[parent].proc_pid;
  const long folder = sys(SYS_openat, AT_FDCWD, Path("/proc/", proc_pid, "/task").text,
                          O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder < 0) return true;
  bool ok = true;
  for (long n; ok && (n = sys(SYS_getdents64, folder, tasks, sizeof tasks)) > 0;)
    for (char *at = tasks; ok && at < tasks + n; at += reinterpret_cast<DirectoryEntry *>(at)->length) {
      const char *task = reinterpret_cast<DirectoryEntry *>(at)->name;
      if (*task == '.') continue;
      unsigned long tid;
      parse_dec(task, &tid);
      char path[96];
      Text(path, sizeof path) << "/proc/" << proc_pid << "/task/" << tid << "/children";
      if (read_file(path, list_of_children, sizeof list_of_children) <= 0) continue;
      for (const char *c = list_of_children; ok && *c >= '0' && *c <= '9'; c += *c == ' ') {
        unsigned long child;
        c = parse_dec(c, &child);
        if (!is_known((int)child)) ok = add_process((int)child, parent, false, deadline, ready_by, pass);
      }
    }
  sys(SYS_close, folder);
  return ok;
}

// In a clone of a tree, whose processes are children of its pid 1.
bool add_told(int parent, double deadline, double ready_by, Pass *pass) {
  const Process &process = page().processes[parent];
  for (int i = 0; i < process.told_children; i++) {
    const int proc_pid = proc_pid_of(process.told[i].pid);
    if (proc_pid && !is_known(proc_pid) && !add_process(proc_pid, parent, true, deadline, ready_by, pass))
      return false;
  }
  return true;
}

}  // namespace

bool gather() {
  Page &p = page();
  Process &root = p.processes[0];
  char self_link[32] = {};
  sys(SYS_readlinkat, AT_FDCWD, "/proc/self", self_link, sizeof self_link - 1);
  unsigned long proc_pid = 0;
  parse_dec(self_link, &proc_pid);
  root.pid = root_pid();
  root.proc_pid = p.root_proc_pid = (int)proc_pid;
  root.parent = -1;
  p.count = 1;
  tell_children(root);
  if (const long compared = sys(SYS_kcmp, root.pid, root.pid, 1 /* KCMP_VM */, 0, 0); compared < 0)
    return fail((int)-compared)
               << "kcmp(2), which tells what processes share, is refused (error " << -compared
               << "): a seccomp filter must allow it for a program to be cloned with its children",
           false;
  const double start = now_ms(), deadline = start + engine.order->park_timeout_ms;
  for (;;) {
    const int progress = p.progress;
    bool missing;
    if (!others_live(tabled, &missing)) return false;
    Pass pass;
    // The list grows meanwhile: children of children follow their parents.
    for (int i = 0; i < p.count; i++)
      if (!add_told(i, deadline, start + starting_ms, &pass) ||
          !add_children(i, deadline, start + starting_ms, &pass))
        return false;
    if (!pass.found && !pass.waiting && !missing) return true;
    if (now_ms() > deadline)
      return missing ? wait_for_others(tabled, deadline)
                     : (fail(ETIMEDOUT) << "child processes start and end faster than they can be stopped ("
                                        << engine.order->park_timeout_ms << " ms); try again",
                        false);
    futex_wait(p.progress, progress, missing ? look_soon_ms : 1);
  }
}

}  // namespace gridcentric::live_clone::tree
