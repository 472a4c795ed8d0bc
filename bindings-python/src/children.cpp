// In a clone: repairs the objects that stand for the master's child processes (gridcentric/_children.py defines the
// replacements and says why). All of it is calls into C, as in make_right.cpp: no thread gets the GIL in between.
#include <sys/random.h>
#include <unistd.h>

#include <cstdint>

#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

py::handle module_loaded(const char *module) {
  PyObject *found = PyDict_GetItemString(PyImport_GetModuleDict(), module);
  return found == Py_None ? nullptr : found;
}

// One kind of handle. A program may have replaced any module: a failure is reported, and the others continue.
template <class Work>
void of_module(const char *name, Work work) {
  const py::handle module = module_loaded(name);
  if (!module) return;
  try {
    work(module);
  } catch (py::error_already_set &error) {
    error.discard_as_unraisable(py::str(name));
  }
}

void subprocesses(py::handle children) {
  // An object that has the attribute itself belongs to another domain.
  children.attr("here") =
      py::reinterpret_steal<py::object>(PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type));
  for (const char *name : {"subprocess", "gevent.subprocess"}) {
    of_module(name, [&](py::handle module) {
      for (const char *attribute : {"returncode", "pid"})
        module.attr("Popen").attr(attribute) = children.attr(attribute);
    });
  }
}

void asyncio(py::handle children) {
  of_module("asyncio.base_subprocess", [&](py::handle module) {
    const py::object transport = module.attr("BaseSubprocessTransport");
    const py::object exited = children.attr("process_exited");
    const py::object known = transport.attr("_process_exited");
    if (known.is(exited)) return;  // this is the clone of a clone
    children.attr("_process_exited") = known;
    transport.attr("_process_exited") = exited;
    transport.attr("_pid") = children.attr("pid_of_transport");
  });
  of_module("asyncio.subprocess",
            [&](py::handle module) { module.attr("Process").attr("pid") = children.attr("pid_of_process"); });
  of_module("uvloop.loop", [&](py::handle module) { end_children_of_uvloop(children, module); });
  of_module("threading", [&](py::handle module) {
    children.attr("watchers") = py::reinterpret_steal<py::object>(PySet_New(module.attr("_active").ptr()));
  });
  of_module("asyncio.log", [&](py::handle module) {
    py::list filters = module.attr("logger").attr("filters");
    const py::object filter = children.attr("is_news");
    if (!filters.contains(filter)) filters.append(filter);
  });
}

// Python remembers each of these as running; it is not this domain's, and must be restarted when needed.
void servants() {
  for (const char *tracker : {"multiprocessing.resource_tracker", "loky.backend.resource_tracker",
                              "joblib.externals.loky.backend.resource_tracker"}) {
    of_module(tracker, [](py::handle module) {
      const py::object tracker = module.attr("_resource_tracker");
      for (const char *name : {"_fd", "_pid"}) tracker.attr(name) = py::none();
    });
  }
  of_module("multiprocessing.forkserver", [](py::handle module) {
    const py::object server = module.attr("_forkserver");
    for (const char *name : {"_forkserver_pid", "_forkserver_alive_fd", "_forkserver_address"})
      server.attr(name) = py::none();
  });
}

void processes(py::handle children) {
  of_module("multiprocessing.process", [&](py::handle module) {
    const py::object all = module.attr("_children");
    for (const py::handle child : py::list(all)) {
      child.attr("_parent_pid") = getpid();
      const py::object handle = child.attr("_popen");
      if (handle.is_none() || !handle.attr("returncode").is_none()) continue;
      handle.attr("returncode") = children.attr("ENDED");
      handle.attr("pid") = children.attr("NO_PID");
    }
    all.attr("clear")();
    const py::dict settings = module.attr("_current_process").attr("_config");
    if (settings.contains("tempdir"))
      PyDict_DelItemString(settings.ptr(), "tempdir");  // removed with the master
  });
}

// joblib's pools pass arrays in files of temporary folders, which they delete when they end. The master's stay the master's; what
// an inherited pool may still write goes to folders of this domain.
void folders(py::handle children, py::handle pool) {
  const py::object manager = py::getattr(pool, "_temp_folder_manager", py::none());
  if (manager.is_none()) return;
  of_module("atexit", [&](py::handle atexit) {
    for (auto [context, cleanup] : py::dict(manager.attr("_finalizers"))) atexit.attr("unregister")(cleanup);
    std::uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != ssize_t{sizeof number}) return;
    const py::object partial = children.attr("functools").attr("partial");
    py::dict own, cleanups;
    for (auto [context, folder] : py::dict(manager.attr("_cached_temp_folders"))) {
      own[context] = py::str(py::cast<std::string>(folder) + "_" + std::to_string(number));
      const py::object remove = partial(children.attr("remove_folder"), own[context]);
      cleanups[context] = atexit.attr("register")(remove);
    }
    manager.attr("_cached_temp_folders") = own;
    manager.attr("_finalizers") = cleanups;
  });
}

// Drops finalizers, which belong to the process that made them and here would end what is the master's; except those of thread
// pools, which live on.
void pools(py::handle children) {
  const py::handle module = module_loaded("multiprocessing.pool");
  of_module("multiprocessing.util", [&](py::handle util) {
    for (auto [key, finalizer] : py::dict(util.attr("_finalizer_registry"))) {
      const py::object reference = py::getattr(finalizer, "_weakref", py::none());
      const py::object owner = reference.is_none() ? reference : reference();
      const bool is_pool = module && !owner.is_none() && py::isinstance(owner, module.attr("Pool"));
      const bool lives = is_pool && py::isinstance(owner, module.attr("ThreadPool"));
      finalizer.attr("_pid") = lives ? getpid() : 0;
      if (!is_pool || lives) continue;
      for (const char *part : {"_worker_handler", "_task_handler", "_result_handler"})
        owner.attr(part).attr("_state") = module.attr("TERMINATE");
      owner.attr("_state") = module.attr("TERMINATE");
      folders(children, owner);
      py::list(children.attr("pools")).append(owner);
      py::list(children.attr("crews")).append(owner.attr("_pool"));
    }
  });
  if (!module || py::len(children.attr("crews")) == 0) return;
  const py::object pool = module.attr("Pool"), replaced = pool.attr("_repopulate_pool_static");
  if (replaced.is(children.attr("_replace_workers"))) return;  // this is the clone of a clone
  children.attr("_original_replace_workers") = replaced;
  pool.attr("_repopulate_pool_static") = children.attr("replace_workers");
}

void executors(py::handle children) {
  const py::object partial = children.attr("functools").attr("partial");
  for (const char *name :
       {"concurrent.futures.process", "loky.process_executor", "joblib.externals.loky.process_executor"}) {
    of_module(name, [&](py::handle module) {
      for (auto [reference, wakeup] : py::dict(module.attr("_threads_wakeups").attr("data"))) {
        const py::object manager = reference();
        if (manager.is_none()) continue;
        manager.attr("terminate_broken") = partial(children.attr("break_executor"), manager);
        py::list(children.attr("managers")).append(manager);
        const py::object executor = manager.attr("executor_reference")();
        if (!executor.is_none()) folders(children, executor);
        // It gets no more work from here on.
        if (py::hasattr(manager, "executor_flags")) {
          manager.attr("executor_flags").attr("broken") =
              module.attr("BrokenProcessPool")(children.attr("POOL_STAYED"));
          continue;
        }
        if (!executor.is_none()) executor.attr("_broken") = children.attr("POOL_STAYED");
      }
    });
  }
}

}  // namespace

void end_children() {
  const py::handle children = module_loaded("gridcentric._children");
  subprocesses(children);
  asyncio(children);
  servants();
  processes(children);
  pools(children);
  executors(children);
}

}  // namespace gridcentric::python
