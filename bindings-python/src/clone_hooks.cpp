// Around the moment of the clone: holds Python still, and lets it continue in the clone after everything has been repaired there
// (make_right.cpp) and the user's handlers (gridcentric/_after_clone.py) have run.
#include <unistd.h>

#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

pid_t master_pid = 0;        // of the process being copied; 0: none
PyGILState_STATE gil_state;  // of the thread that is cloning: one at a time (the engine ensures it)

// Because the GIL is held during the copy, no other Python code runs in a clone before make_right(), and the interpreter's
// state is that between two bytecodes. The user's handlers are bytecode themselves, so CPython may switch threads there.
void hold_still() {
  gil_state = PyGILState_Ensure();
  master_pid = getpid();
}

void go_on() {
  master_pid = 0;
  PyGILState_Release(gil_state);
}

// A handler's exception is reported through sys.unraisablehook, as for os.register_at_fork(); the clone
// continues.
void call_handler(const py::object &handler, const py::object &argument) {
  try {
    handler(argument);
  } catch (py::error_already_set &error) {
    error.discard_as_unraisable(handler);
  }
}

void set_after_clone(const py::object &handler) {
  static PyObject *after_clone = nullptr;  // never freed: a thread may clone until the very end
  PyObject *old = after_clone;
  after_clone = py::object(handler).release().ptr();
  if (old != nullptr) {
    Py_DECREF(old);
    return;
  }
  guest::around_copy(&hold_still, &go_on);
  guest::on_clone([](int vmid) {
    if (interpreter_is_ending()) return;
    const py::gil_scoped_acquire gil;
    make_right(master_pid);
    py::reinterpret_borrow<py::object>(after_clone)(vmid);
  });
}

// What an order's exception says to whoever gave it.
guest::Error reason(const py::error_already_set &error) {
  const bool ours = py::hasattr(error.value(), "code") && py::hasattr(error.value(), "errno") &&
                    py::isinstance<py::int_>(error.value().attr("errno"));
  const int code = ours ? error.value().attr("errno").cast<int>() : GC_E_CLONE_FAILED;
  const std::string text = py::str(error.value());
  return {guest::find_error(code) ? code : GC_E_CLONE_FAILED,
          !text.empty() ? text : std::string(py::str(error.type().attr("__name__")))};
}

// Orders come in a thread of the library. While one is carried out it counts as an open call, so that the interpreter does not
// end under it.
void carry_out_orders_with(const py::object &handler) {
  static PyObject *carry_out = nullptr;  // never freed, like after_clone
  PyObject *old = carry_out;
  carry_out = py::object(handler).release().ptr();
  if (old != nullptr) {
    Py_DECREF(old);
    return;
  }
  guest::carry_out_orders_with([](const std::string &ticket, int) {
    guest::Call order;
    const OpenCall open(order, false);
    if (order.cancelled()) throw guest::Error(GC_E_CLONE_FAILED, "the program is exiting");
    const py::gil_scoped_acquire gil;
    try {
      py::reinterpret_borrow<py::object>(carry_out)(ticket);
    } catch (py::error_already_set &error) {
      throw reason(error);
    }
  });
}

}  // namespace

void add_clone_hooks(py::module_ &module) {
  module.def("call_handler", &call_handler, py::arg("handler"), py::arg("argument"),
             "Call handler(argument); an exception goes to sys.unraisablehook.");
  module.def("set_after_clone", &set_after_clone, py::arg("handler"),
             "Call handler(vmid) in each clone before clone() returns there.");
  module.def("carry_out_orders_with", &carry_out_orders_with, py::arg("handler"),
             "Call handler(ticket) for each order to clone; an exception declines it.");
  module.def("end_child_of_uvloop", &end_child_of_uvloop, py::arg("transport"),
             "In a clone: tell an inherited transport of uvloop that its process has been killed.");
  module.def("ending", &interpreter_is_ending, "Whether the interpreter is exiting.");
}

}  // namespace gridcentric::python
