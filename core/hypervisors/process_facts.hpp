// What drivers ask the kernel about processes.
#pragma once
#include <optional>
#include <utility>

namespace gridcentric {

// While it lives, processes can be looked at in this thread even when there is no descriptor left: this one is given up for the
// moment. A process that can't be looked at would be taken for one that is not there.
class SpareDescriptor {
 public:
  SpareDescriptor();
  ~SpareDescriptor();
  SpareDescriptor(const SpareDescriptor &) = delete;
  SpareDescriptor &operator=(const SpareDescriptor &) = delete;
};

// -1: no such process.
int parent_of(int pid);
// A descriptor that becomes readable when the process has ended; -1 and errno.
int open_pidfd(int pid);
// The process of a pidfd, in this pid namespace; -1: it has ended or is not of this namespace.
int pid_of_pidfd(int pidfd);

// The clone of a gc-reaper and a pidfd of it: its only child, or that of another gc-reaper that stands between them (as the
// clone's parent). Both are -1 when there is none or several.
std::pair<int, int> open_clone_of(int reaper);
// Has the process of a pidfd ended?
bool is_gone(int pidfd);
// The wait status of a process that has ended and need not be our child; pid is what it was. nullopt: the
// kernel does not say (before Linux 6.15 it only does until the parent has waited for it).
std::optional<int> wait_status_of(int pidfd, int pid);

}  // namespace gridcentric
