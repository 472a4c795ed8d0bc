// A task that does something for this process and ends: the copies of a program are made by such ones, which so are nobody's
// children. Runs while threads are parked: see sys.hpp.
#pragma once

#include <linux/sched.h>
#include <sys/wait.h>

#include "arch.hpp"
#include "sys.hpp"

namespace gridcentric::live_clone {

/// Runs `entry` in a task that shares this process's memory and descriptors, and waits until it has ended. Its pid or -errno;
/// `status`: as wait4(2) says it.
inline long run_task(char *stack_top, void (*entry)(void *), void *argument, int *status = nullptr) {
  const long task = arch::gc_task_clone(CLONE_VM | CLONE_FILES | CLONE_VFORK, stack_top, nullptr, nullptr, 0,
                                        entry, argument);
  while (task > 0 && sys(SYS_wait4, task, status, __WALL, nullptr) == -EINTR) {
  }
  return task;
}

}  // namespace gridcentric::live_clone
