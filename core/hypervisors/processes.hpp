// What drivers ask the kernel about processes.
#pragma once

namespace gridcentric {

// -1: no such process.
int parent_of(int pid);
// A descriptor that becomes readable when the process has ended; -1 and errno.
int open_pidfd(int pid);
// The process of a pidfd, in this pid namespace; -1: it has ended or is not of this namespace.
int pid_of_pidfd(int pidfd);

}  // namespace gridcentric
