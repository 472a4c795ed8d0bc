// Around the moment of the clone: Python held still, and in the clone what CPython and C libraries remember
// made right. It knows CPython's thread states; what is done in Python itself is in
// gridcentric/_after_clone.py.
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

pid_t master_pid = 0;        // of the process that is cloning
PyGILState_STATE gil_state;  // of the thread that is cloning: one at a time (the engine sees to it)

// With the GIL held over the copying, no Python code runs in a clone before its handlers have; and the
// interpreter's state is that between two bytecodes.
void hold_still() {
  gil_state = PyGILState_Ensure();
  master_pid = getpid();
}

void go_on() { PyGILState_Release(gil_state); }

// The holder of asyncio's running loop compares the pid in it with getpid(); same layout in CPython 3.7
// to 3.13.
struct RunningLoopHolder {
  PyObject_HEAD PyObject *loop;
  pid_t pid;
};

// A clone in plain mode has another pid and other thread ids: tell those who remember them. Returns ident ->
// thread id of every thread of Python; nothing where nothing has changed.
py::dict adopt_threads() {
  py::dict native_ids;
  if (getpid() == master_pid) return native_ids;
  PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
  for (; state != nullptr; state = PyThreadState_Next(state)) {
    clockid_t clock = 0;
    // The clock of a thread is ~tid * 8 + 6: the one question about another thread's id that libc answers.
    if (state->thread_id == 0 || pthread_getcpuclockid(state->thread_id, &clock) != 0) continue;
    const auto tid = static_cast<unsigned long>(~(clock >> 3));
#if PY_VERSION_HEX >= 0x030B0000
    state->native_thread_id = tid;
#endif
    native_ids[py::int_(state->thread_id)] = py::int_(tid);
    if (state->dict == nullptr) continue;
    PyObject *holder = PyDict_GetItemString(state->dict, "__asyncio_running_event_loop__");
    if (holder == nullptr || Py_TYPE(holder)->tp_basicsize != sizeof(RunningLoopHolder)) continue;
    auto *running = reinterpret_cast<RunningLoopHolder *>(holder);
    if (running->pid == master_pid) running->pid = getpid();
  }
  return native_ids;
}

// Generators inside C libraries, which look for a changed pid in vain where the clone has kept it.
void reseed_libraries() {
  // Only what is loaded already, and by its own name: the same library linked into an extension can't be
  // found.
  const auto loaded = [](const char *library, const char *function) -> void * {
    void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) return nullptr;
    void *found = dlsym(handle, function);
    dlclose(handle);  // gives back the count only: the library stays
    return found;
  };
  for (const char *openssl : {"libcrypto.so.3", "libcrypto.so.1.1"}) {
    if (void *poll = loaded(openssl, "RAND_poll")) reinterpret_cast<int (*)()>(poll)();
  }
  if (void *sqlite = loaded("libsqlite3.so.0", "sqlite3_randomness")) {
    reinterpret_cast<void (*)(int, void *)>(sqlite)(0, nullptr);  // documented: draws its seed anew
  }
}

// What a handler raises is reported through sys.unraisablehook, as for os.register_at_fork(): a clone goes
// on.
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
    const py::gil_scoped_acquire gil;
    py::reinterpret_borrow<py::object>(after_clone)(vmid);
  });
}

}  // namespace

void add_clone_hooks(py::module_ &module) {
  module.def("adopt_threads", &adopt_threads,
             "In a clone: make CPython remember the new pid and thread ids. Returns ident -> thread id where "
             "they are new.");
  module.def("reseed_libraries", &reseed_libraries, "In a clone: OpenSSL and SQLite draw new seeds.");
  module.def("call_handler", &call_handler, py::arg("handler"), py::arg("argument"),
             "handler(argument); what it raises goes to sys.unraisablehook.");
  module.def("set_after_clone", &set_after_clone, py::arg("handler"),
             "Call handler(vmid) in each clone before clone() returns there.");
}

}  // namespace gridcentric::python
