#include "refused_processes.hpp"

#include "page.hpp"

namespace gridcentric::live_clone::tree {

const char *const pidns_mode_only = "a program is cloned with its children in pidns mode only";

Text &tell_process(Text &text, int pid, const char *name) {
  return text << "process " << pid << " (" << name << "): ";
}

Text &tell_child(Text &text, const Facts &facts) {
  return text << "process " << facts.pid << " (" << facts.name << "), a child of the program: ";
}

bool is_over(const Facts &facts) { return facts.state == 'X' || (facts.state == 'Z' && facts.threads <= 1); }

bool may_be_starting(const Facts &facts, bool loaded, const Likeness &root) {
  return !loaded && facts.state != 'Z' && facts.depth == root.depth;
}

bool tell_obstacle(Text &text, const Facts &facts, bool loaded, const Likeness &root) {
  if (facts.state == 'Z')
    text << "its main thread has ended (pthread_exit)";
  else if (facts.depth != root.depth)
    text << "it is in a pid namespace of its own";
  else if (!loaded)
    text
        << "it has not loaded " << library
        << ", so it can't be cloned (it is linked statically or with another C library, has other rights, or "
           "was started without LD_PRELOAD)";
  else if (facts.user != root.user)
    text << "it runs as another user (uid " << facts.user
         << "); all processes of a program that are cloned together must be of one user";
  else if (facts.state == 'T')
    text << "it is stopped (SIGSTOP): let it go on with SIGCONT";
  else if (facts.tracer)
    text << "process " << facts.tracer << " traces it (a debugger, strace): detach it first";
  else
    return false;
  return true;
}

Text &tell_too_many(Text &text) {
  return text << "more than " << most_processes << " processes can't be cloned together";
}

}  // namespace gridcentric::live_clone::tree
