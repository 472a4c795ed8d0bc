// gridcentric._host: a host in this process, on a driver written in Python. The trampoline between the driver contract
// (core/include/gridcentric/hypervisor.hpp) and gridcentric.hypervisors.Driver; knows neither rules nor domains.
//
// The host runs on the thread that calls run_host(), without the GIL; the driver's methods are called on it with the GIL.
// What the driver tells the host (ended, done) may come from any thread and is posted to the host's loop.
#include <gridcentric/gc-guest.h>
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <gridcentric/host.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "core/hypervisors/process_facts.hpp"
#include "driver_requests.hpp"

namespace py = pybind11;

namespace {

using gridcentric::Capabilities;
using gridcentric::CloneRequest;
using gridcentric::CloneResult;
using gridcentric::DomainKey;
using gridcentric::Hypervisor;
using gridcentric::Loop;
using gridcentric::Peer;
using gridcentric::Reservation;
using gridcentric::TicketRequest;
using gridcentric::python::Answer;
using gridcentric::python::Cloning;
using gridcentric::python::ListenerHandle;

// The text of a driver's exception; the host continues.
std::string text_of(py::error_already_set &error) {
  const std::string text = py::str(error.value());
  return text.empty() ? std::string(py::str(error.type().attr("__name__"))) : text;
}

class PythonHypervisor final : public Hypervisor {
 public:
  PythonHypervisor(py::object driver, Loop &loop)
      : driver_(std::move(driver)), handle_(std::make_shared<ListenerHandle>(loop)) {
    const py::gil_scoped_acquire gil;
    name_ = py::cast<std::string>(driver_.attr("name"));
    heeds_hints_ = py::hasattr(driver_, "expect");
    counts_ = py::hasattr(driver_, "reserve");
    descriptors_ = py::cast<int>(py::getattr(driver_, "descriptors_a_clone", py::int_(0)));
    driver_.attr("attach")(handle_);
  }
  ~PythonHypervisor() override {
    handle_->host_is_gone();
    const py::gil_scoped_acquire gil;
    driver_.release().dec_ref();
  }

  std::string_view name() const override { return name_; }
  int descriptors_a_clone() const override { return descriptors_; }

  Capabilities capabilities() const override {
    return ask<Capabilities>(Capabilities{}, [this] {
      const py::dict said = driver_.attr("capabilities")();
      Capabilities result;
      auto take = [&said](const char *key, auto &to) {
        if (said.contains(key)) to = py::cast<std::decay_t<decltype(to)>>(said[key]);
      };
      take("clone", result.clone);
      take("clone_of_clone", result.clone_of_clone);
      take("whole_machine", result.whole_machine);
      take("mode", result.mode);
      take("why", result.why);
      return result;
    });
  }

  void set_listener(Listener *listener) override { handle_->listener = listener; }

  std::string adopt(DomainKey domain, const Peer &peer, std::string *error) override {
    const py::gil_scoped_acquire gil;
    try {
      return py::cast<std::string>(driver_.attr("adopt")(domain, peer.pid, peer.uid));
    } catch (py::error_already_set &raised) {
      *error = text_of(raised);
      return "";
    }
  }

  void reserve(TicketRequest request, std::function<void(Reservation)> answer) override {
    if (!counts_) return answer(Reservation::granted(request.most_vms));
    const py::gil_scoped_acquire gil;
    const auto answered =
        std::make_shared<Answer>([handle = handle_, answer = std::move(answer)](Reservation reservation) {
          handle->post([answer, reservation = std::move(reservation)] { answer(reservation); });
        });
    try {
      driver_.attr("reserve")(request.ticket, request.domain, request.least_vms, request.most_vms,
                              request.cpus_per_vm, answered);
    } catch (py::error_already_set &raised) {
      answered->give(Reservation::refused(text_of(raised)));
    }
  }
  void release(const std::string &ticket) override {
    if (counts_) tell("release", ticket);
  }

  void clone(CloneRequest request, std::function<void(CloneResult)> done) override {
    const py::gil_scoped_acquire gil;
    const auto cloning = std::make_shared<Cloning>(handle_, std::move(request), std::move(done));
    try {
      driver_.attr("clone")(cloning);
    } catch (py::error_already_set &raised) {
      cloning->failed(text_of(raised), raised.matches(PyExc_NotImplementedError), {});
    }
  }

  void cancel_clone(DomainKey parent) override { tell("cancel_clone", parent); }
  void expect(DomainKey domain, int clones) override {
    if (heeds_hints_) tell("expect", domain, clones);
  }
  void end(DomainKey domain) override { tell("end", domain); }
  void joined(DomainKey domain) override { tell("joined", domain); }

  std::string address_of(DomainKey domain) const override {
    return ask<std::string>("", [&] { return py::cast<std::string>(driver_.attr("address_of")(domain)); });
  }
  int pid_of(DomainKey domain) const override {
    return ask<int>(-1, [&] { return py::cast<int>(driver_.attr("pid_of")(domain)); });
  }
  DomainKey domain_of(int pid) const override {
    return ask<DomainKey>(0, [&] { return py::cast<DomainKey>(driver_.attr("domain_of")(pid)); });
  }

 private:
  // A driver that raises where it must not has a bug: the exception is shown, and the host continues with `otherwise`.
  template <class Result, class Question>
  Result ask(Result otherwise, Question question) const {
    const py::gil_scoped_acquire gil;
    try {
      return question();
    } catch (py::error_already_set &raised) {
      raised.discard_as_unraisable("a driver's method");
      return otherwise;
    }
  }
  template <class... Arguments>
  void tell(const char *method, Arguments... arguments) {
    ask<int>(0, [&] {
      driver_.attr(method)(arguments...);
      return 0;
    });
  }

  py::object driver_;
  std::string name_;
  bool heeds_hints_, counts_;  // these methods are optional
  int descriptors_ = 0;
  std::shared_ptr<ListenerHandle> handle_;
};

void run_host(const py::object &driver, const std::string &socket, std::int64_t cpus,
              const std::string &relay_secret, bool control,
              std::function<void(const std::string &, std::function<void()>)> on_ready) {
  gridcentric::HostOptions options;
  options.socket = socket;
  options.cpus = cpus;
  options.relay_secret = relay_secret;
  options.control = control;
  options.handle_signals = false;
  options.print_listening = false;
  options.make_hypervisor = [&driver](Loop &loop) -> std::unique_ptr<Hypervisor> {
    const py::gil_scoped_acquire gil;
    return std::make_unique<PythonHypervisor>(driver, loop);
  };
  options.on_ready = [&on_ready](const std::string &path, std::function<void()> stop) {
    const py::gil_scoped_acquire gil;
    on_ready(path, std::move(stop));
  };
  std::string error;
  int status = 0;
  {
    const py::gil_scoped_release no_gil;
    status = gridcentric::run_host(options, &error);
  }
  if (status != 0) throw std::runtime_error(error);
}

}  // namespace

PYBIND11_MODULE(_host, module) {
  module.doc() = "A host in this process, on a driver written in Python (gridcentric.hypervisors.Driver).";
  py::class_<ListenerHandle, std::shared_ptr<ListenerHandle>>(module, "Listener",
                                                              "What a driver tells its host. Thread-safe.")
      .def("ended", &ListenerHandle::ended, py::arg("domain"), py::arg("how"), py::arg("status"),
           "A domain is gone: how is joined, exited, killed or lost. Once for each domain.")
      .def("new_family", &ListenerHandle::new_family, py::arg("name"), py::arg("on_exit"), py::arg("done"),
           "Found a family whose master is a domain about to be made: done(key, family's UUID) is called on "
           "the\n"
           "host's thread. on_exit: end, keep or an empty string. Raises RuntimeError if the host has ended.")
      .def("bye", &ListenerHandle::bye, py::arg("master"), py::arg("done"),
           "A master is about to end normally. done() is called on the host's thread when the host knows.")
      .def("room", &ListenerHandle::room, "What reserve() has answered with later() may be granted now.");
  py::class_<Cloning, std::shared_ptr<Cloning>>(module, "Cloning", "What a driver is asked to make.")
      .def_property_readonly("parent", [](const Cloning &one) { return one.request.parent; })
      .def_property_readonly("ticket", [](const Cloning &one) { return one.request.ticket; })
      .def_property_readonly("clones",
                             [](const Cloning &one) {
                               std::vector<std::pair<DomainKey, int>> clones;
                               for (std::size_t i = 0; i < one.request.clones.size(); i++)
                                 clones.emplace_back(one.request.clones[i], one.request.vmids[i]);
                               return clones;
                             })
      .def_property_readonly("cpus_per_vm", [](const Cloning &one) { return one.request.cpus_per_vm; })
      .def_property_readonly("pid", [](const Cloning &one) { return one.request.caller->peer().pid; })
      .def_property_readonly("uid", [](const Cloning &one) { return one.request.caller->peer().uid; })
      .def_property_readonly("mode", [](const Cloning &one) { return one.request.caller->mode(); })
      .def("order", &Cloning::order, py::arg("mode"), py::arg("clones"), py::arg("on_answer"))
      .def("made", &Cloning::made, py::arg("then") = py::none())
      .def("failed", &Cloning::failed, py::arg("reason"), py::arg("not_supported") = false,
           py::arg("then") = py::none());
  py::class_<Answer, std::shared_ptr<Answer>>(module, "Answer",
                                              "A driver's answer to reserve(), given once, from any thread.")
      .def(
          "granted", [](Answer &answer, std::int64_t vms) { answer.give(Reservation::granted(vms)); },
          py::arg("vms"), "There is room for this many VMs, held until release().")
      .def(
          "refused",
          [](Answer &answer, std::string reason) { answer.give(Reservation::refused(std::move(reason))); },
          py::arg("reason"), "There will never be room.")
      .def(
          "later",
          [](Answer &answer, std::string reason) { answer.give(Reservation::later(std::move(reason))); },
          py::arg("reason"), "There is no room yet; the host asks again after room() and each release().");
  module.def(
      "run_host", &run_host, py::arg("driver"), py::arg("socket"), py::arg("cpus"), py::arg("relay_secret"),
      py::arg("control"), py::arg("on_ready"),
      "Run a host on the calling thread until it is stopped. on_ready(path, stop) is called when it "
      "listens;\n"
      "control: open the control channel for tests (docs/protocol.md). stop() may be called from any thread. "
      "Raises RuntimeError if it cannot start.");
  module.def("default_socket_path", &gridcentric::default_socket_path, "Where gc looks for a shared host.");
  module.def(
      "wait_status_of", &gridcentric::wait_status_of, py::arg("pidfd"), py::arg("pid"),
      "The wait status of a process that has ended and need not be a child. None where the kernel does not "
      "say: before\n"
      "Linux 6.15 it only does until the parent has waited for it.");
}
