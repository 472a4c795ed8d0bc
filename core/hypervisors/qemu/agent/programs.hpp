// The programs of a VM: started in their own control group (cgroups(7), version 2), which can be frozen. Knows nothing about
// the channel or the VM's identity.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace gridcentric::agent {

// Makes the control group, and makes its programs' servers reachable (loopback.hpp). Returns what failed, or "".
std::string make_group();

// Makes the image's own init system (systemd, a script) PID 1, in the programs' group, so that everything it starts is in it
// too. Then returns, in a child that goes on as the agent: "", or why it failed.
std::string hand_over(const std::string &init);

// Raises this process's descriptor limit to the hard limit (4,096); programs get the limits that it was started with.
void take_descriptors();

// Our ends of the pipes that are a program's input and output; the caller closes them. They are pipes because a process may
// reopen its /dev/stdin and /dev/stdout, which fails for sockets; and separate, because an event loop that makes one of them
// non-blocking would do so to all.
struct Ends {
  int input = -1, output = -1, errors = -1;
};

// Starts a program; returns its pid, or -1 with errno. If the child cannot execute it, it says so on its standard error and
// exits with 127. apart: standard error has a separate pipe.
pid_t start_program(const std::string &folder, std::vector<std::string> arguments, bool apart, Ends &ends);

// Stops all programs, wherever they are, and returns when none runs any more: "", or why one does not stop. They notice it only
// by calls that fail with EINTR, the same ones as after SIGSTOP and SIGCONT (signal(7)).
std::string freeze();
void thaw();

}  // namespace gridcentric::agent
