// libgridcentric-run.so, which `gc run` preloads: makes a program cloneable that knows nothing of gridcentric. It has the guest
// library in it, for itself, and listens for orders before main() runs. A guest library that the program loads (that of a
// language) is then asked to carry the orders out, so that its handlers run; this one goes on listening.
// It must not know: shells, languages, what the program is.
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/generators/reseed.hpp"
#include "core/guest/client.hpp"
#include "core/guest/connection.hpp"
#include "core/guest/orders.hpp"
#include "core/live_clone/live_clone.hpp"
#include "core/live_clone/tree/family.hpp"
#include "core/preload/python.hpp"
#include "core/preload/stand_in.hpp"

namespace gridcentric::preload {
namespace {

using Main = int (*)(int, char **, char **);
using CreateThread = int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
using StartMain = int (*)(Main, int, char **, void (*)(), void (*)(), void (*)(), void *);

// Shells and scripts choose descriptors up to 255 by number; below a usual limit of 1024.
constexpr int lowest_descriptor = 512;

std::atomic<guest::CarryOutFor> carried_out_by{nullptr};
Main main_of_program = nullptr;

void (*repair_of_guest)() = nullptr;

// In a copy of a child.
void repair() {
  const int saved = errno;
  generators::reseed_libraries();
  repair_of_guest != nullptr ? repair_of_guest() : reseed_python();
  errno = saved;
}

void carry_out_here(const std::string &ticket, int pid) {
  Asker asker(pid);
  if (!asker.is_child()) {
    if (guest::clone(ticket) > 0) reseed_python();
    return;
  }
  asker.expect();
  try {
    const int vmid = guest::clone_for_child(ticket, asker.needs());
    vmid > 0 ? asker.stand_in(vmid) : asker.no_clone();
    if (vmid > 0) reseed_python();
  } catch (...) {
    asker.no_clone();
    throw;
  }
}

void carry_out(const std::string &ticket, int asker) {
  const guest::CarryOutFor other = carried_out_by;
  if (other == nullptr) return carry_out_here(ticket, asker);
  if (is_child(asker))
    throw guest::Error(
        GC_E_NOT_SUPPORTED,
        "'gc clone' is for shell scripts, whose clones can be given its answer: call clone() in the "
        "program itself (C, C++, Python, Node, Java)");
  char text[1024] = "";
  if (const int code = other(ticket.c_str(), asker, text, sizeof text); code != 0)
    throw guest::Error(code, text);
}

// Not in its children, which inherit the environment: the domain is the process that gc became.
bool is_the_domain() {
  const char *pid = std::getenv("GRIDCENTRIC_RUN");
  return pid != nullptr && std::to_string(::getpid()) == pid;
}

void listen() {
  if (!is_the_domain()) return;
  const int saved = errno;
  try {
    prepare_stand_ins();
    guest::is_preloaded();
    guest::keep_descriptors_from(lowest_descriptor);
    guest::carry_out_orders_with(carry_out);
    guest::serve();
  } catch (const std::exception &error) {
    std::fprintf(stderr, "gridcentric: %s cannot receive orders to clone: %s\n",
                 program_invocation_short_name, error.what());
  }
  errno = saved;
}

bool is_in_tree = false;

// Of a tree: in every process of it.
void expect_to_be_cloned() {
  is_in_tree = guest::children_are_cloned();
  if (is_in_tree) live_clone::expect_signal(repair);
}

int main_after_listening(int count, char **arguments, char **environment) {
  expect_to_be_cloned();
  listen();
  return main_of_program(count, arguments, environment);
}

}  // namespace
}  // namespace gridcentric::preload

extern "C" {

// Not a constructor: those of this library's other files, and of the program's libraries, must have run.
__attribute__((visibility("default"))) int __libc_start_main(int (*main)(int, char **, char **), int count,
                                                             char **arguments, void (*init)(), void (*fini)(),
                                                             void (*rtld_fini)(), void *stack_end) {
  using namespace gridcentric::preload;
  const auto start = reinterpret_cast<StartMain>(::dlsym(RTLD_NEXT, "__libc_start_main"));
  main_of_program = main;
  return start(main_after_listening, count, arguments, init, fini, rtld_fini, stack_end);
}

// With a process's first thread the C library takes the signal of a tree for itself.
__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                                          void *(*run)(void *), void *argument) {
  using namespace gridcentric::preload;
  static const auto create = reinterpret_cast<CreateThread>(::dlsym(RTLD_NEXT, "pthread_create"));
  const int error = create(thread, attributes, run, argument);
  if (is_in_tree) gridcentric::live_clone::expect_signal(repair);
  return error;
}

// For guest libraries that the program loads: see orders.hpp.
__attribute__((visibility("default"))) bool gridcentric_run_carry_out_with(
    gridcentric::guest::CarryOutFor carry_out) {
  if (!gridcentric::preload::is_the_domain()) return false;
  gridcentric::preload::carried_out_by = carry_out;
  return true;
}

__attribute__((visibility("default"))) void gridcentric_run_repair_with(void (*repair)()) {
  gridcentric::preload::repair_of_guest = repair;
}

__attribute__((visibility("default"))) gridcentric::live_clone::Family *gridcentric_run_family() {
  return &gridcentric::live_clone::family();
}

}  // extern "C"
