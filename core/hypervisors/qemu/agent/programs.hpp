// The programs of a machine: started in a control group of their own (cgroups(7), version 2), which can be frozen.
// Knows nothing of the channel, nor of who the machine is.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace gridcentric::agent {

// Makes the control group, and its programs' servers reachable (loopback.hpp). Returns what could not be done, "" if all was.
std::string make_group();

// Makes the image's own init system (systemd, a script) PID 1, in the programs' group, so that all it starts is in it too.
// Returns when it is that, in a child that goes on as the agent: "", or why not.
std::string hand_over(const std::string &init);

// This process may have as many descriptors as the kernel lets it (4,096); programs get the limits that it was given itself.
void take_descriptors();

// Our ends of the pipes that are a program's input and output; closed by whoever has them. Pipes, for a process may open its
// /dev/stdin and /dev/stdout again, and not sockets; of their own each, for who makes one of them non-blocking, as event
// loops do, would make all of them so.
struct Ends {
  int input = -1, output = -1, errors = -1;
};

// Starts a program; returns its pid, or -1 with errno. What it was started for and could not do it says on its standard
// error, and ends with 127. apart: its standard error has a pipe of its own.
pid_t start_program(const std::string &folder, std::vector<std::string> arguments, bool apart, Ends &ends);

// Stops all programs, wherever they are, and returns when none runs any more: "", or why one does not stop. Not visible to
// them, but for calls that end with EINTR after SIGSTOP and SIGCONT as well (signal(7)).
std::string freeze();
void thaw();

}  // namespace gridcentric::agent
