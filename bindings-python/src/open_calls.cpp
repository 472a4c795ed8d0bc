// Keeps track of open calls, so that none is left behind when the interpreter exits or forks.
// It must not know what a call means.
#include <condition_variable>
#include <mutex>
#include <new>
#include <unordered_set>

#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

struct OpenCalls {
  std::mutex mutex;
  std::condition_variable none_left;
  std::unordered_set<guest::Call *> calls;
  bool closed = false;
};

// Leaked: threads may still return from a call while static objects are being destroyed.
OpenCalls &open_calls() {
  static OpenCalls *calls = new OpenCalls;
  return *calls;
}

// At exit: a thread that waits in C++ must not find the interpreter gone when it wakes up. All are woken
// while it still exists.
void close_calls() {
  const py::gil_scoped_release release;
  OpenCalls &open = open_calls();
  std::unique_lock lock(open.mutex);
  open.closed = true;
  for (guest::Call *call : open.calls) call->cancel();
  open.none_left.wait(lock, [&] { return open.calls.empty(); });
}

// In a child of os.fork() only the calling thread lives on, so nothing would end the other threads' calls.
void forget_calls() { new (&open_calls()) OpenCalls; }

}  // namespace

OpenCall::OpenCall(guest::Call &call, bool in_main_thread) : call_(call) {
  OpenCalls &open = open_calls();
  const std::lock_guard lock(open.mutex);
  if (open.closed && !in_main_thread) call.cancel();
  open.calls.insert(&call);
}

OpenCall::~OpenCall() {
  call_.on_wait_interrupted = nullptr;
  OpenCalls &open = open_calls();
  const std::lock_guard lock(open.mutex);
  open.calls.erase(&call_);
  if (open.calls.empty()) open.none_left.notify_all();
}

bool interpreter_is_ending() {
  const std::lock_guard lock(open_calls().mutex);
  return open_calls().closed;
}

void add_open_calls(py::module_ &module) {
  module.def("close_calls", &close_calls, "Cancel every open call and wait until all have ended.");
  module.def("forget_calls", &forget_calls, "After os.fork(), in the child.");
  py::module_::import("atexit").attr("register")(module.attr("close_calls"));
  py::module_::import("os").attr("register_at_fork")(py::arg("after_in_child") = module.attr("forget_calls"));
}

}  // namespace gridcentric::python
