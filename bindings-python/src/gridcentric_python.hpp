// What the files of gridcentric._native share.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/guest/client.hpp"

namespace gridcentric::python {

namespace py = pybind11;

// A call under way, known to close_calls(). Made and unmade with the GIL held. Once the interpreter is on its
// way out a new call is cancelled at once, unless it is the main thread's (from another exit handler): nobody
// else may be waiting then.
class OpenCall {
 public:
  OpenCall(guest::Call &call, bool in_main_thread);
  ~OpenCall();
  OpenCall(const OpenCall &) = delete;
  OpenCall &operator=(const OpenCall &) = delete;

 private:
  guest::Call &call_;
};

// Whether close_calls() has run.
bool interpreter_is_ending();

// The ends of calls that are not their own: interpreter exit and os.fork().
void add_open_calls(py::module_ &module);

// In a clone, with the GIL held. master_pid: of the process that was copied, the GIL held since before that; 0: a whole
// machine was cloned, so processes have their pids, threads and children as before.
void make_right(pid_t master_pid);

// In a copied process, with the GIL held since before: the handles of the master's child processes have ended.
void end_children();

// What holds Python still while the process is copied, and what runs in a clone first.
void add_clone_hooks(py::module_ &module);

}  // namespace gridcentric::python
