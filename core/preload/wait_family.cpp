// wait() and its relatives, as the program's calls come here first: a stand-in (stand_in.hpp) is waited for by the pid of the child
// that it stands in for, and so is kill(): zsh asks it whether a child is still there. To everybody else they are what they are
// without us.
// It must not know: why there are stand-ins.
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "core/preload/stand_in.hpp"

namespace gridcentric::preload {
namespace {

using Wait4 = pid_t (*)(pid_t, int *, int, rusage *);
using WaitId = int (*)(idtype_t, id_t, siginfo_t *, int);

// Found before main(): a signal handler may be the first to wait.
const auto wait4_of_libc = reinterpret_cast<Wait4>(::dlsym(RTLD_NEXT, "wait4"));
const auto waitid_of_libc = reinterpret_cast<WaitId>(::dlsym(RTLD_NEXT, "waitid"));

// Of libc, as these can be cancelled; the system's for a caller that waits even before that, in a library's constructor.
pid_t real_wait4(pid_t pid, int *status, int options, rusage *usage) {
  if (wait4_of_libc != nullptr) return wait4_of_libc(pid, status, options, usage);
  return static_cast<pid_t>(::syscall(SYS_wait4, pid, status, options, usage));
}

int real_waitid(idtype_t type, id_t id, siginfo_t *facts, int options) {
  if (waitid_of_libc != nullptr) return waitid_of_libc(type, id, facts, options);
  return static_cast<int>(::syscall(SYS_waitid, type, id, facts, options, nullptr));
}

int signal_process(pid_t pid, int number) {
  if (is_gone(pid)) return errno = ESRCH, -1;
  if (is_expected(pid)) wait_for_stand_in(false);
  return static_cast<int>(::syscall(SYS_kill, target_of(pid), number));
}

bool has_ended(int status) { return WIFEXITED(status) || WIFSIGNALED(status); }

pid_t wait_for(pid_t pid, int *status, int options, rusage *usage) {
  int own_status = 0;
  for (;;) {
    const int before = stand_ins_made();
    const pid_t real = real_child(pid), found = real_wait4(real, &own_status, options, usage);
    const bool none = found < 0 && errno == ECHILD;
    if (none && real_child(pid) != real) continue;  // in a clone, whose parent had begun to wait for it
    if (none && wait_for_stand_in((options & WNOHANG) != 0)) {
      if ((options & WNOHANG) != 0) return 0;
      continue;
    }
    if (none && stand_ins_made() > 0 && stand_ins_made() != before) continue;
    if (found <= 0) return found;
    wait_for_stand_in(false);  // it may be the one, and not be known yet
    const pid_t known = child_as_known(found);
    if (has_ended(own_status)) child_has_ended(found);
    if (status != nullptr) *status = own_status;
    return known;
  }
}

int wait_for(idtype_t type, id_t id, siginfo_t *facts, int options) {
  for (;;) {
    const int before = stand_ins_made();
    const pid_t child = type == P_PID ? static_cast<pid_t>(id) : 0, real = real_child(child);
    siginfo_t own{};
    const int result = real_waitid(type, type == P_PID ? static_cast<id_t>(real) : id, &own, options);
    const bool none = result < 0 && errno == ECHILD;
    if (none && real_child(child) != real) continue;
    if (none && wait_for_stand_in((options & WNOHANG) != 0)) {
      if ((options & WNOHANG) == 0) continue;
      if (facts != nullptr) *facts = siginfo_t{};
      return 0;
    }
    if (none && stand_ins_made() > 0 && stand_ins_made() != before) continue;
    if (result < 0) return result;
    if (own.si_pid > 0) {
      wait_for_stand_in(false);
      const pid_t found = own.si_pid;
      own.si_pid = child_as_known(found);
      const bool ended = own.si_code == CLD_EXITED || own.si_code == CLD_KILLED || own.si_code == CLD_DUMPED;
      if (ended && (options & WNOWAIT) == 0) child_has_ended(found);
    }
    if (facts != nullptr) *facts = own;
    return result;
  }
}

}  // namespace
}  // namespace gridcentric::preload

#define GC_INTERPOSED extern "C" __attribute__((visibility("default")))

GC_INTERPOSED pid_t wait(int *status) { return gridcentric::preload::wait_for(-1, status, 0, nullptr); }

GC_INTERPOSED pid_t waitpid(pid_t pid, int *status, int options) {
  return gridcentric::preload::wait_for(pid, status, options, nullptr);
}

GC_INTERPOSED pid_t wait3(int *status, int options, rusage *usage) {
  return gridcentric::preload::wait_for(-1, status, options, usage);
}

GC_INTERPOSED pid_t wait4(pid_t pid, int *status, int options, rusage *usage) {
  return gridcentric::preload::wait_for(pid, status, options, usage);
}

GC_INTERPOSED pid_t getppid() { return gridcentric::preload::parent_as_known(); }

GC_INTERPOSED int kill(pid_t pid, int number) { return gridcentric::preload::signal_process(pid, number); }

GC_INTERPOSED int waitid(idtype_t type, id_t id, siginfo_t *facts, int options) {
  return gridcentric::preload::wait_for(type, id, facts, options);
}
