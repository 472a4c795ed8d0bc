#include "process_facts.hpp"

#include <sys/stat.h>

#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

char text_of_process[16384];

// The last number of NSpid is the pid in the innermost namespace.
int own_pid_of(const char *status, int *depth) {
  unsigned long v = 0;
  *depth = 0;
  for (const char *p = field(status, "NSpid:"); p && *p && *p != '\n';) {
    if (*p >= '0' && *p <= '9') {
      p = parse_dec(p, &v);
      ++*depth;
    } else {
      p++;
    }
  }
  return (int)v;
}

void copy_name(char (&to)[16], const char *status) {
  size_t n = 0;
  if (const char *p = field(status, "Name:"))
    while (p[n] && p[n] != '\n' && n < sizeof to - 1) to[n] = p[n], n++;
  to[n] = 0;
}

}  // namespace

void read_facts(const char *status, Facts *facts) {
  const auto number = [status](const char *key) {
    unsigned long value = 0;
    if (const char *p = field(status, key)) parse_dec(p, &value);
    return value;
  };
  const char *state = field(status, "State:");
  unsigned long caught = 0;
  if (const char *p = field(status, "SigCgt:")) parse_hex(p, &caught);
  facts->state = state ? *state : 'X';
  facts->pid = own_pid_of(status, &facts->depth);
  facts->user = (unsigned)number("Uid:");
  facts->threads = (unsigned)number("Threads:");
  facts->tracer = (int)number("TracerPid:");
  facts->handles_signal = caught >> (park_signal - 1) & 1;
  copy_name(facts->name, status);
}

bool look_at(int proc_pid, Facts *facts) {
  if (read_file(Path("/proc/", proc_pid, "/status"), text_of_process, sizeof text_of_process) <= 0)
    return false;
  read_facts(text_of_process, facts);
  return true;
}

int depth_of_namespaces() {
  int depth = 0;
  if (read_file("/proc/self/status", text_of_process, sizeof text_of_process) > 0)
    own_pid_of(text_of_process, &depth);
  return depth;
}

bool is_reaper(int proc_pid) {
  struct stat ours {};
  struct stat its {};
  return sys(SYS_newfstatat, engine.prepared.reaper, "", &ours, AT_EMPTY_PATH) == 0 &&
         sys(SYS_newfstatat, AT_FDCWD, Path("/proc/", proc_pid, "/exe").text, &its, 0) == 0 &&
         ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

bool has_library(int proc_pid) {
  char *text = engine.scratch;
  if (read_file(Path("/proc/", proc_pid, "/maps"), text, engine.scratch_size) <= 0) return false;
  for (const char *p = text; *p; p = next_line(p))
    if (find_in_line(p, library)) return true;
  return false;
}

bool shares_memory(int pid, int with) { return sys(SYS_kcmp, pid, with, 1 /* KCMP_VM */, 0, 0) == 0; }

int exit_status(int proc_pid) {
  const long n = read_file(Path("/proc/", proc_pid, "/stat"), text_of_process, sizeof text_of_process);
  const char *last = text_of_process;  // the last field
  for (long i = 0; i < n; i++)
    if (text_of_process[i] == ' ') last = text_of_process + i + 1;
  unsigned long status = 0;
  if (n > 0) parse_dec(last, &status);
  return (int)status;
}

int proc_pid_of(int pid) {
  const long pidfd = sys(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) return 0;
  char info[512];
  unsigned long number = 0;
  if (read_file(Path("/proc/self/fdinfo/", pidfd), info, sizeof info) > 0)
    if (const char *p = field(info, "Pid:")) parse_dec(p, &number);
  sys(SYS_close, pidfd);
  return (int)number;
}

}  // namespace gridcentric::live_clone::tree
