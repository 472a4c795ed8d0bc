// In a clone: repairs what CPython, its modules and C libraries remember of the master.
//
// A clone has the master's memory, so a random number generator would draw the same in every clone; and no
// fork handler has run, because all threads live on (os.register_at_fork and pthread_atfork assume that they do
// not). Nothing is needed for locks, logging and concurrent.futures (their threads exist), os.urandom and so
// secrets, uuid4 and SystemRandom (the kernel draws), os.getpid (a system call) and sys.stdout (flushed by the
// caller of clone). Generators that the user created can't be found: on_clone() is for them.
//
// All of it is calls into C: after a single bytecode CPython may give the GIL to another thread, which
// would draw from a generator that is still the master's. Only loaded modules are touched: the others have no
// state yet.
#include <pthread.h>
#include <unistd.h>

#include "generators.hpp"
#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

// The holder of asyncio's running loop compares the pid in it with getpid(); same layout in CPython 3.7
// to 3.13.
struct RunningLoopHolder {
  PyObject_HEAD PyObject *loop;
  pid_t pid;
};

// Plain mode: the pid and the thread ids have changed.
void threads(pid_t master_pid) {
  if (getpid() == master_pid) return;
  py::dict native_ids;  // ident -> thread id
  PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  for (; state != nullptr; state = PyThreadState_Next(state)) {
    PyObject *holder =
        state->dict ? PyDict_GetItemString(state->dict, "__asyncio_running_event_loop__") : nullptr;
    if (holder != nullptr && Py_TYPE(holder)->tp_basicsize == sizeof(RunningLoopHolder)) {
      auto *running = reinterpret_cast<RunningLoopHolder *>(holder);
      if (running->pid == master_pid) running->pid = getpid();
    }
    clockid_t clock = 0;
    // A thread's CPU clock is ~tid * 8 + 6: the only way to get another thread's id from libc.
    if (state->thread_id == 0 || pthread_getcpuclockid(state->thread_id, &clock) != 0) continue;
    const auto tid = static_cast<unsigned long>(~(clock >> 3));
#if PY_VERSION_HEX >= 0x030B0000
    state->native_thread_id = tid;
#endif
    native_ids[py::int_(state->thread_id)] = py::int_(tid);
  }
  PyObject *threading = PyDict_GetItemString(PyImport_GetModuleDict(), "threading");
  if (threading == nullptr) return;
  for (auto [ident, thread] : py::dict(py::handle(threading).attr("_active"))) {
    if (native_ids.contains(ident)) thread.attr("_native_id") = native_ids[ident];
  }
}

// A failure of one part is reported and does not keep the others from being repaired.
template <class Work>
void say_errors(const char *part, Work work) {
  try {
    work();
  } catch (py::error_already_set &error) {
    error.discard_as_unraisable(py::str(part));
  }
}

}  // namespace

void make_right(pid_t master_pid) {
  if (master_pid != 0) {  // a VM is cloned with its children, threads and pids
    say_errors("threading", [&] { threads(master_pid); });
    if (!guest::children_are_cloned()) say_errors("children", end_children);
  }
  reseed_modules();
}

}  // namespace gridcentric::python
