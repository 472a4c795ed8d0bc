// A child process that has ordered its parent, this domain, to clone itself: `gc clone` in a shell script. The shell waits for it,
// and in a clone it does not exist. There a small child stands in for it: it says what gc would say, the vmid, and ends with status 0,
// and the wait family (wait_family.cpp) lets the shell take it for the one it waits for.
// It must not know: orders, shells.
#pragma once
#include <sys/types.h>

#include <string>

#include "core/guest/client.hpp"

namespace gridcentric::preload {

// The child that asks, if it is one of this process. Throws guest::Error NOT_SUPPORTED if a clone cannot have an answer to it.
class Asker {
 public:
  // pid: as the host sees it.
  explicit Asker(int pid);

  bool is_child() const { return pid_ > 0; }
  // What the clones need in its place. Where no pipe is named, the stand-in writes the vmid.
  const guest::ForChild &needs() const { return needs_; }

  // Around the clone, in the thread that clones. In a clone somebody may wait for the child from the first moment on.
  void expect();
  void no_clone();          // in the caller, whatever came of it
  void stand_in(int vmid);  // in a clone

 private:
  pid_t pid_ = 0;  // as this process sees it; 0: not a child of it
  guest::ForChild needs_;
  int output_ = -1;   // a descriptor of this process that is its output too
  std::string path_;  // or what to open
};

// Is this process, as the host sees it, a child of this one or below it?
bool is_child(int pid);

// For the wait family. Which process to wait for when this one is meant, and the other way round. Beside the one that asks these
// are, in a clone of a tree, all children (core/live_clone/tree/children.cpp).
pid_t real_child(pid_t pid);
pid_t child_as_known(pid_t pid);
// The one to send a signal to.
pid_t target_of(pid_t pid);
// What getppid() says.
pid_t parent_as_known();
// Is it the pid of a child that is stood in for, or will be?
bool is_expected(pid_t pid);
// It has been waited for: its pid means nothing any more.
void child_has_ended(pid_t real);
// Is this the pid of such a child, which in plain mode may be a process of the master's still?
bool is_gone(pid_t pid);
// In a clone whose child is still to be made up for: waits until that is done, if not at_once. False: nothing is to be done.
bool wait_for_stand_in(bool at_once);
// The pid of the stand-in, 0: none, negative: it could not be made. It changes once it is there.
int stand_ins_made();

// Once, before main().
void prepare_stand_ins();

}  // namespace gridcentric::preload
