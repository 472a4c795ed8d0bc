// Starts a helper program that is nobody's child: the program's own wait() never sees it, no SIGCHLD is sent for it, and a
// program that reaps all children cannot take its status away. Finds the gc binary that belongs to this library.
// It must not know: hosts, hooks, what the helper is for.
#pragma once
#include <string>
#include <vector>

namespace gridcentric::guest {

struct Helper {
  std::string path;
  std::vector<std::string> arguments;    // argv[0] included
  std::vector<std::string> environment;  // NAME=VALUE, the whole of it
  int channel = -1;                      // becomes descriptor 3 of the helper; stays the caller's too
  bool quiet = false;  // stdin and stdout from /dev/null, stderr to the channel, its own session: a daemon
};

// Returns 0 once the helper runs, else the errno of what failed. Every descriptor but 0-3 is closed in the helper, its
// signals are as a new program's. Thread-safe.
int start_helper(const Helper &helper);

// $GRIDCENTRIC_GC, or the gc beside this library, or the one on PATH with a gc-reaper beside it (other packages have a gc
// too). "" when there is none. Thread-safe.
std::string find_gc();

// The gc-reaper beside that gc or, where GRIDCENTRIC_GC names a script that starts one, beside the one it would be without.
// "" when there is none. Thread-safe.
std::string find_reaper();

// These texts as exec(3) takes them; valid as long as they are.
std::vector<char *> pointers(const std::vector<std::string> &texts);

// The environment of this process with some variables set anew ("NAME=VALUE").
std::vector<std::string> environment_with(const std::vector<std::string> &changes);

}  // namespace gridcentric::guest
