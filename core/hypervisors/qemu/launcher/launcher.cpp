// gc-launcher PARENT [--no-huge-pages] COMMAND [ARGUMENT ...]: becomes COMMAND, which is killed when the thread that started it
// ends (prctl(2), PR_SET_PDEATHSIG). The qemu hypervisor starts its programs with it: between fork and exec of a process that has
// threads, Python must run nothing. PARENT is the starter's pid: one that has ended already leaves nobody to wait for.
// --no-huge-pages: COMMAND's memory is not made of huge pages (PR_SET_THP_DISABLE).
// Exit code 127: COMMAND cannot be executed; 2: wrong arguments.
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

int main(int argc, char **argv) {
  const bool small_pages = argc > 2 && std::strcmp(argv[2], "--no-huge-pages") == 0;
  char **command = argv + (small_pages ? 3 : 2);
  if (argc < 3 || *command == nullptr) {
    std::fputs("usage: gc-launcher PARENT [--no-huge-pages] COMMAND [ARGUMENT ...]\n", stderr);
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != std::strtol(argv[1], nullptr, 10)) return 1;
  if (small_pages) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  execvp(*command, command);
  std::fprintf(stderr, "gc-launcher: %s cannot be started: %s\n", *command, std::strerror(errno));
  return 127;
}
