// What /proc says about another process. For gather.cpp. Runs while threads are parked: see sys.hpp.
#pragma once

namespace gridcentric::live_clone::tree {

/// What makes a process cloneable from outside (core/preload).
inline constexpr const char *library = "libgridcentric-run.so";

struct Facts {
  char state;  ///< as in /proc/PID/status; X: it is gone
  int pid;     ///< in the innermost namespace that it is in
  int depth;   ///< how many namespaces it is in
  unsigned user, threads;
  int tracer;           ///< as /proc names it; 0: nobody traces it
  bool handles_signal;  ///< has a handler for the parking signal
  char name[16];
};

/// By the text of its /proc/PID/status.
void read_facts(const char *status, Facts *facts);
/// False when there is no such process.
bool look_at(int proc_pid, Facts *facts);
int depth_of_namespaces();  // of this process
bool is_reaper(int proc_pid);
bool has_library(int proc_pid);
/// A child that vfork() has made is its parent's memory until it executes a program.
bool shares_memory(int pid, int with);
/// Of one that has ended: what wait() would tell.
int exit_status(int proc_pid);
/// Its number in /proc, which may be that of an outer namespace; 0: it has ended.
int proc_pid_of(int pid);

}  // namespace gridcentric::live_clone::tree
