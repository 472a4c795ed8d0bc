// The programs of a machine: started in a control group of their own (cgroups(7), version 2), which can be frozen. PID 1 only.
// Knows nothing of the channel, nor of who the machine is.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace gridcentric::agent {

// Makes the control group, and its programs' servers reachable (loopback.hpp). Returns what could not be done, "" if all was.
std::string make_group();

// Starts a program with `ends` as its input, output and errors; returns its pid, or -1 with errno. What it was started
// for and could not do it says there, and ends with 127.
pid_t start_program(const std::string &folder, std::vector<std::string> arguments, int ends);

// Stops all programs, wherever they are, and returns when none runs any more: "", or why one does not stop. Not visible to
// them, but for calls that end with EINTR after SIGSTOP and SIGCONT as well (signal(7)).
std::string freeze();
void thaw();

}  // namespace gridcentric::agent
