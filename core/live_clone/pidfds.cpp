// Pidfds. The master's children are not the clone's, and a clone must not signal them: their pidfds become those of a process
// that has ended and been waited for, which are readable, but cannot be waited for or signalled. Runs while threads are
// parked, or in a clone whose threads do not run yet: see sys.hpp.
#include <sched.h>
#include <sys/wait.h>

#include "arch.hpp"
#include "descriptor.hpp"

namespace gridcentric::live_clone {
namespace {

void end_at_once(void *) { sys(SYS_exit_group, 0); }

long pidfd_of_ended() {
  alignas(16) static char stack[4096];
  int pidfd = -1;
  const long pid = arch::gc_task_clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD, stack + sizeof stack, &pidfd,
                                       nullptr, 0, end_at_once, nullptr);
  if (pid < 0) return pid;
  sys(SYS_wait4, pid, nullptr, __WALL, nullptr);
  return pidfd;
}

}  // namespace

bool plan_pidfd(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  d.process = {Descriptor::Whose::others, (int)number_in(info, "Pid:")};
  if (d.process.pid == engine.prepared.pid) d.process.whose = Descriptor::Whose::program;
  constexpr int by_pidfd = 3;  // P_PIDFD, since Linux 5.4
  siginfo_t ended;
  if (sys(SYS_waitid, by_pidfd, d.fd, &ended, WEXITED | WNOHANG | WNOWAIT | __WALL, nullptr) == 0)
    d.process.whose = Descriptor::Whose::child;
  return true;
}

bool rebuild_pidfd(Descriptor &d) {
  if (d.process.whose == Descriptor::Whose::others) return true;
  const long fd = d.process.whose == Descriptor::Whose::program ? sys(SYS_pidfd_open, sys(SYS_getpid), 0)
                                                                : pidfd_of_ended();
  return place_with_duplicates((int)fd, d);
}

}  // namespace gridcentric::live_clone
