// Declarations shared by the files of gridcentric._native.
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

// A call in progress, known to close_calls(). Constructed and destroyed with the GIL held. Once the interpreter
// is exiting a new call is cancelled at once, unless it is the main thread's (from another exit handler): no
// other thread may be waiting then.
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

// Ends calls for other reasons: interpreter exit and os.fork().
void add_open_calls(py::module_ &module);

// In a clone, with the GIL held. master_pid: of the process that was copied, with the GIL held since before that; 0: a whole
// VM was cloned, so processes keep their pids, threads and children.
void make_right(pid_t master_pid);

// In a copied process, with the GIL held since before the copy: ends the handles of the master's child processes.
void end_children();

// The same for uvloop (its module uvloop.loop), whose loops are told later (gridcentric/_children.py).
void end_children_of_uvloop(py::handle children, py::handle module);
void end_child_of_uvloop(py::handle transport);

// The hooks that hold Python still while the process is copied, and what runs first in a clone.
void add_clone_hooks(py::module_ &module);

}  // namespace gridcentric::python
