// gridcentric._native: Python bindings of the guest client: the Call object with every call as a method, the
// exceptions generated from the error table, and the hooks around a clone. The Python modules above it check
// arguments and name the results; nothing is decided here. It knows nothing of the core beyond
// guest/client.hpp.
#include <gridcentric/drivers.hpp>

#include "core/generators/known.hpp"
#include "core/guest/orders.hpp"
#include "generators.hpp"
#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

using guest::Call;

py::handle error_class;      // gridcentric.Error
py::handle cancelled_class;  // gridcentric._native.Cancelled
py::object *main_thread;     // threading.main_thread; leaked, because a thread may use it until the very end

// One class for each row of errors.def, derived from gridcentric.Error and the built-in exception that the
// row names. They live as long as the process, like the built-in ones.
void add_errors(py::module_ &module) {
  auto make = [&](const char *name, const char *doc, py::object bases, py::dict attributes) {
    const std::string full = std::string("gridcentric.") + name;
    py::handle cls = PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), attributes.ptr());
    if (!cls) throw py::error_already_set();
    module.attr(name) = cls;
    return cls;
  };
  const auto attributes = [](const char *word, int code, int exit) {
    return py::dict(py::arg("code") = word, py::arg("errno") = code, py::arg("exit_code") = exit);
  };
  error_class = make("Error", "The base class of all errors of gridcentric.",
                     py::reinterpret_borrow<py::object>(PyExc_Exception), attributes("error", 0, 1));
  const py::module_ builtins = py::module_::import("builtins");
  py::list table;
  for (const guest::ErrorRow &row : guest::error_table()) {
    const std::string base = row.python_base;
    py::object bases = base == "Exception"
                           ? py::object(py::make_tuple(error_class))
                           : py::object(py::make_tuple(error_class, builtins.attr(row.python_base)));
    table.append(make(row.python, row.text, bases, attributes(row.word, row.code, row.exit)));
  }
  module.attr("ERRORS") = py::tuple(table);
  cancelled_class = make("Cancelled", "A call was cancelled by Call.cancel().",
                         py::reinterpret_borrow<py::object>(PyExc_Exception), py::dict());
}

void raise(const guest::Error &error) {
  if (error.code == guest::error_cancelled) {
    // A thread that waits while the interpreter exits is ended silently, as Python ends its daemon
    // threads.
    PyErr_SetString(interpreter_is_ending() ? PyExc_SystemExit : cancelled_class.ptr(), error.what());
    return;
  }
  const guest::ErrorRow *row = guest::find_error(error.code);
  const py::object cls = row ? py::module_::import("gridcentric._native").attr(row->python)
                             : py::reinterpret_borrow<py::object>(error_class);
  // A hostile host's text need not be UTF-8.
  const auto text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
      error.text.data(), static_cast<Py_ssize_t>(error.text.size()), "backslashreplace"));
  if (text) PyErr_SetObject(cls.ptr(), text.ptr());
}

// Python runs signal handlers only in its main thread; elsewhere there is nothing to check.
bool in_main_thread() {
  return (*main_thread)().attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

// Run work with the GIL released. Ctrl-C (any signal whose Python handler raises) cancels the call on the
// host.
template <class Work>
auto waiting(Call &call, Work work) {
  const bool main = in_main_thread();
  const OpenCall open(call, main);  // unregistered after the GIL has been reacquired
  if (main) {
    call.on_wait_interrupted = [] {
      const py::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      return false;
    };
  }
  const py::gil_scoped_release release;
  return work();
}

py::tuple tuple_of(const guest::TicketInfo &info) {
  return py::make_tuple(info.id, guest::ticket_status_name(info.status), info.cpus, info.vms,
                        info.mincpuspervm);
}

py::tuple tuple_of(const guest::Domain &domain) {
  const py::object parent = domain.parent < 0 ? py::object(py::none()) : py::object(py::int_(domain.parent));
  return py::make_tuple(domain.vmid, parent, domain.ip, domain.ticket, domain.state);
}

py::tuple tuple_of(const guest::Result &result) {
  const py::object report = result.report ? py::object(py::bytes(*result.report)) : py::object(py::none());
  return py::make_tuple(result.vmid, guest::end_kind_name(result.how), result.status, report);
}

template <class T>
py::list tuples_of(const std::vector<T> &items) {
  py::list list;
  for (const T &item : items) list.append(tuple_of(item));
  return list;
}

// The identity is read from memory after the first time, without releasing the GIL, which would cost more than
// the answer.
bool identity_known = false;

void identify(Call &call) {
  waiting(call, [&] { guest::vmid(&call); });
  identity_known = true;
}

template <class Question>
auto who_am_i(Question question) {
  if (!identity_known) {
    Call call;
    identify(call);
  }
  return question();
}

void join(Call &call, const std::optional<py::bytes> &report) {
  std::optional<std::string_view> text;
  if (report) text = static_cast<std::string_view>(*report);
  waiting(call, [&] { guest::join(text, &call); });
}

void add_call(py::module_ &module) {
  using namespace py::literals;
  py::class_<Call>(module, "Call", "One call, which another thread can cancel. For one use.")
      .def(py::init<>())
      .def("cancel", &Call::cancel, "Cancel the call, which raises Cancelled. Never blocks.")
      .def(
          "request_ticket",
          [](Call &call, int maxcpus, int minvms, int mincpuspervm, int timeout) {
            return waiting(
                call, [&] { return guest::request_ticket(maxcpus, minvms, mincpuspervm, timeout, &call); });
          },
          "maxcpus"_a, "minvms"_a, "mincpuspervm"_a, "timeout"_a)
      .def(
          "release_ticket",
          [](Call &call, const std::string &ticket) {
            waiting(call, [&] { guest::release_ticket(ticket, &call); });
          },
          "ticket"_a)
      .def(
          "prepare",
          [](Call &call, int timeout) {
            return waiting(call, [&] { return guest::prepare(timeout, &call); });
          },
          "timeout"_a)
      .def("list_tickets",
           [](Call &call) { return tuples_of(waiting(call, [&] { return guest::list_tickets(&call); })); })
      .def(
          "ticket_info",
          [](Call &call, const std::string &ticket) {
            return tuple_of(waiting(call, [&] { return guest::ticket_info(ticket, &call); }));
          },
          "ticket"_a)
      .def(
          "clone",
          [](Call &call, const std::string &ticket) {
            return waiting(call, [&] { return guest::clone(ticket, &call); });
          },
          "ticket"_a)
      .def(
          "clone_of",
          [](Call &call, int vmid, const std::string &ticket) {
            return tuples_of(waiting(call, [&] { return guest::clone_of(vmid, ticket, &call); }));
          },
          "vmid"_a, "ticket"_a)
      .def("serve", [](Call &call) { waiting(call, [&] { guest::serve(&call); }); })
      .def("list_domains",
           [](Call &call) { return tuples_of(waiting(call, [&] { return guest::list_domains(&call); })); })
      .def(
          "sync",
          [](Call &call, const std::optional<std::string> &ticket, int timeout) {
            waiting(call, [&] { guest::sync(ticket, timeout, &call); });
          },
          "ticket"_a, "timeout"_a)
      .def(
          "wait",
          [](Call &call, const std::string &ticket, int timeout, bool forget) {
            return tuples_of(waiting(call, [&] { return guest::wait(ticket, timeout, &call, forget); }));
          },
          "ticket"_a, "timeout"_a, "forget"_a)
      .def(
          "kill", [](Call &call, int vmid) { waiting(call, [&] { guest::kill(vmid, &call); }); }, "vmid"_a)
      .def("join", &join, "report"_a)
      .def("identify", &identify,
           "Ask the host once for this domain's identity; vmid() and the like then return it from memory.");
}

void add_identity(py::module_ &module) {
  module.def(
      "vmid", [] { return who_am_i([] { return guest::vmid(); }); },
      "The number of this domain in its family: 0 in the master. Read from memory.");
  module.def(
      "ismaster", [] { return who_am_i([] { return guest::ismaster(); }); },
      "Whether this domain is the master. Read from memory.");
  module.def(
      "my_ip", [] { return who_am_i([] { return guest::my_ip(); }); },
      "The numeric address of this domain. Read from memory.");
  module.def(
      "identity_known", [] { return identity_known; }, "Whether vmid() and the like can answer from memory.");
}

void add_facts(py::module_ &module) {
  module.def(
      "hypervisors",
      [] {
        std::vector<std::pair<std::string, bool>> all;
        for (const gridcentric::Driver *driver : gridcentric::drivers())
          if (!driver->scripted) all.emplace_back(driver->name, driver->can.whole_machine);
        return all;
      },
      "(name, clones whole machines) of each hypervisor that is not for tests, the default first.");
  module.def("known_generators", [] {
    constexpr const char *found_as[] = {"FUNCTION", "OBJECT", "TEXT", "MODULE", "PACKAGE", "NODE"};
    py::list rows;
    for (const generators::Known &row : generators::known())
      rows.append(py::make_tuple(row.name, found_as[static_cast<int>(row.found_as)], row.evidence,
                                 row.outcome == generators::InClone::RESEEDED ? "RESEEDED" : "REPEATS",
                                 row.tried, row.what));
    return rows;
  });
  module.def("explain", [] {
    const guest::Explanation found = [] {
      const py::gil_scoped_release release;
      return guest::explain();
    }();
    return py::make_tuple(found.can_clone, found.report);
  });
}

}  // namespace
}  // namespace gridcentric::python

// The state is per process (one domain), so a subinterpreter is refused; and the GIL protects it, so a
// free-threaded Python enables the GIL for this module.
PYBIND11_MODULE(_native, module, pybind11::multiple_interpreters::not_supported()) {
  using namespace gridcentric::python;
  module.doc() = "The guest client. Private: use gridcentric.guest or gridcentric.aio.";
  main_thread = new py::object(py::module_::import("threading").attr("main_thread"));
  add_errors(module);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const gridcentric::guest::Error &error) {
      raise(error);
    }
  });
  module.attr("__version__") = gc_version();
  add_call(module);
  add_identity(module);
  add_facts(module);
  add_open_calls(module);
  add_clone_hooks(module);
  gridcentric::guest::repair_children_with([] {
    const PyGILState_STATE held = PyGILState_Ensure();
    {
      const py::error_scope kept;
      reseed_modules();
    }
    PyGILState_Release(held);
  });
}
