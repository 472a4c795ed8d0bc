// In a clone: ends uvloop's handles of the master's child processes. Its transports are C structures that Python cannot change, and
// its libuv never hears of the end of a process that is not a child of this one.
//
// libuv's part has the layout that its public header has promised since 1.0. uvloop's own differs from version to version, so its
// fields are found by their contents: if one is not there, or is there twice, the handle stays as it is.
// It must not know: what other packages have for children.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

struct UvLoop {
  PyObject *owner;  // uvloop.Loop
};

// uv_process_t.
struct UvProcess {
  PyObject *owner;  // uvloop's transport; null once uvloop has given it up
  UvLoop *loop;
  int type;
  void *close_callback;
  void *handle_queue[2];
  void *reserved[4];
  void *next_closing;
  unsigned int flags;
  void (*exited)(UvProcess *, std::int64_t status, int signal);
  int pid;
};
constexpr int kUvProcess = 10;          // uv_handle_type
constexpr unsigned int kUvClosing = 3;  // of flags: closing or closed

// Reads what may not be there.
class Memory {
 public:
  Memory() : fd_(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC)) {}
  ~Memory() {
    if (fd_ >= 0) ::close(fd_);
  }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  template <class T>
  bool read(const T *from, T &to) const {
    return fd_ >= 0 && ::pread(fd_, &to, sizeof to, reinterpret_cast<off_t>(from)) == ssize_t{sizeof to};
  }

 private:
  int fd_;
};

// The pointers in an object behind its head.
std::vector<void **> words(py::handle object) {
  std::vector<void **> found;
  auto *bytes = reinterpret_cast<char *>(object.ptr());
  const auto size = static_cast<std::size_t>(Py_TYPE(object.ptr())->tp_basicsize);
  for (std::size_t at = sizeof(PyObject); at + sizeof(void *) <= size; at += sizeof(void *))
    found.push_back(reinterpret_cast<void **>(bytes + at));
  return found;
}

// libuv's handle of a transport's process; null if it is closed or not recognised.
UvProcess *handle_of(py::handle transport, const Memory &memory) {
  for (void **word : words(transport)) {
    auto *process = static_cast<UvProcess *>(*word);
    UvProcess copy{};
    if (process == nullptr || reinterpret_cast<std::uintptr_t>(process) % alignof(UvProcess) != 0) continue;
    if (!memory.read(process, copy) || copy.owner != transport.ptr() || copy.type != kUvProcess) continue;
    return copy.flags & kUvClosing ? nullptr : process;
  }
  return nullptr;
}

// Gives a transport another pid; false if it is not clear where it has the present one.
bool set_pid(py::handle transport, const py::object &pid) {
  const py::object known = transport.attr("get_pid")();
  void **place = nullptr;
  for (void **word : words(transport)) {
    if (*word != known.ptr()) continue;
    if (place != nullptr) return false;
    place = word;
  }
  if (place == nullptr) return false;
  auto *former = static_cast<PyObject *>(*place);
  *place = py::object(pid).release().ptr();
  Py_DECREF(former);
  return true;
}

// libuv listens to SIGCHLD for as long as one of its handles has a process.
bool has_children(py::handle module) {
  struct sigaction action {};
  Dl_info object{};
  if (::sigaction(SIGCHLD, nullptr, &action) != 0 || action.sa_handler == SIG_DFL ||
      action.sa_handler == SIG_IGN)
    return false;
  if (::dladdr(reinterpret_cast<void *>(action.sa_handler), &object) == 0) return false;
  return py::cast<std::string>(module.attr("__file__")) == object.dli_fname;
}

}  // namespace

void end_children_of_uvloop(py::handle children, py::handle module) {
  if (!has_children(module)) return;
  const Memory memory;
  const py::object type = module.attr("UVProcessTransport");
  const py::list all = py::module_::import("gc").attr("get_objects")();
  for (const py::handle transport : all) {
    if (Py_TYPE(transport.ptr()) != reinterpret_cast<PyTypeObject *>(type.ptr())) continue;
    UvProcess *process = handle_of(transport, memory);
    if (process == nullptr || !transport.attr("get_returncode")().is_none()) continue;
    if (py::cast<int>(transport.attr("get_pid")()) != process->pid) continue;
    if (!set_pid(transport, children.attr("NO_PID"))) continue;
    process->pid = py::cast<int>(children.attr("NO_PID"));
    py::list(children.attr("of_uvloop"))
        .append(py::make_tuple(py::reinterpret_borrow<py::object>(process->loop->owner), transport));
  }
}

// To be called while its loop is not polling: in the loop's thread, or when nothing runs it.
void end_child_of_uvloop(py::handle transport) {
  UvProcess *process = handle_of(transport, Memory());
  if (process != nullptr && transport.attr("get_returncode")().is_none())
    process->exited(process, 0, SIGKILL);
}

}  // namespace gridcentric::python
