// gridcentric._model: Python bindings of the C++ rules (core/model/rules.hpp), only for tests, which drive them
// in lockstep with gridcentric.reference (tests/reference). Everything is tuples and the words of the wire
// protocol; an error is (code, text), or None. It must not know: the host, the protocol, what a
// call means.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/model/rules.hpp"

namespace py = pybind11;

namespace gridcentric {
namespace {

std::string text(std::string_view view) { return std::string(view); }

py::object error(const Answer &answer) {
  if (answer.ok()) return py::none();
  return py::make_tuple(text(code_word(answer.code)), answer.text);
}

py::tuple ticket(const TicketInfo &info) {
  return py::make_tuple(info.id, text(word(info.status)), info.cpus, info.vms, info.mincpuspervm, info.owner);
}

py::tuple domain(const DomainInfo &info) {
  return py::make_tuple(info.key, info.family, info.vmid, info.parent, info.ticket, text(word(info.state)),
                        info.born_ms);
}

py::tuple result(const Result &result) {
  const py::object report = result.report ? py::object(py::bytes(*result.report)) : py::none();
  return py::make_tuple(result.vmid, text(word(result.how)), result.status, report);
}

template <class Container, class Convert>
py::list list(const Container &container, Convert convert) {
  py::list list;
  for (const auto &element : container) list.append(convert(element));
  return list;
}

// ("reply", call, error, ticket, results), ("drop", call), ("start_clone", call, domain, clones),
// ("cancel_clone", call, domain), ("end_domain", domain), ("reserve", call, domain, ticket, least, most, cpus_per_vm),
// ("release", ticket)
py::tuple event(const Event &event) {
  switch (event.kind) {
    case Event::Kind::reply:
      return py::make_tuple("reply", event.call, error(event.answer), event.ticket,
                            list(event.results, result));
    case Event::Kind::drop:
      return py::make_tuple("drop", event.call);
    case Event::Kind::start_clone:
      return py::make_tuple("start_clone", event.call, event.domain, event.clones);
    case Event::Kind::cancel_clone:
      return py::make_tuple("cancel_clone", event.call, event.domain);
    case Event::Kind::end_domain:
      return py::make_tuple("end_domain", event.domain);
    case Event::Kind::reserve:
      return py::make_tuple("reserve", event.call, event.domain, event.ticket, event.least, event.most,
                            event.cpus_per_vm);
    case Event::Kind::release:
      return py::make_tuple("release", event.ticket);
  }
  throw py::value_error("an event of an unknown kind");
}

template <class Enum>
Enum find(const char *what, const std::string &name, std::initializer_list<Enum> all) {
  for (const Enum one : all)
    if (word(one) == name) return one;
  throw py::value_error("no such " + std::string(what) + ": " + name);
}

OnExit on_exit(const std::string &name) {
  if (name.empty()) return OnExit::by_bye;
  if (name == "end") return OnExit::end;
  if (name == "keep") return OnExit::keep;
  throw py::value_error("on_exit is end, keep or empty, not " + name);
}

Answer clone_answer(const std::string &code, const std::string &reason) {
  for (const Code one : {Code::OK, Code::CLONE_FAILED, Code::NOT_SUPPORTED})
    if (code_word(one) == code) return {one, reason};
  throw py::value_error("a cloning is answered ok, clone_failed or not_supported, not " + code);
}

Reservation reservation(const std::string &kind, std::int64_t vms) {
  if (kind == "granted") return Reservation::granted(vms);
  if (kind == "refused") return Reservation::refused("as scripted");
  if (kind == "later") return Reservation::later("as scripted");
  throw py::value_error("a reservation is answered granted, refused or later, not " + kind);
}

}  // namespace
}  // namespace gridcentric

using namespace gridcentric;

PYBIND11_MODULE(_model, module) {
  using Time = std::int64_t;
  module.doc() = "The rules of the C++ core, for the lockstep with gridcentric.reference. Not thread-safe.";
  module.attr("MAX_CLOSED") = Rules::max_closed;
  module.attr("MAX_REPORTS") = Rules::max_reports;
  py::class_<Rules>(module, "Rules")
      .def(py::init<std::int64_t, std::uint64_t, std::size_t>(), py::arg("cpus"), py::arg("seed") = 0,
           py::arg("most_reports") = std::size_t{Rules::max_reports})
      .def("adopt", [](Rules &rules, const std::string &exit,
                       Time now) { return rules.adopt(on_exit(exit), "", now); })
      .def("bye", &Rules::bye)
      .def("ended",
           [](Rules &rules, DomainKey key, const std::string &how, int status, Time now) {
             const auto all = {EndKind::joined, EndKind::exited, EndKind::killed, EndKind::lost};
             rules.ended(key, find("ending", how, all), status, now);
           })
      .def("release_ticket", [](Rules &rules, DomainKey caller, const std::string &id,
                                Time now) { return error(rules.release_ticket(caller, id, now)); })
      .def("hand_over", [](Rules &rules, DomainKey caller, const std::string &id, Time vmid,
                           Time now) { return error(rules.hand_over(caller, id, vmid, now)); })
      .def("forget_ticket", [](Rules &rules, DomainKey caller, const std::string &id,
                               Time now) { return error(rules.forget_ticket(caller, id, now)); })
      .def("ticket_info",
           [](Rules &rules, DomainKey caller, const std::string &id) {
             const TicketAnswer answer = rules.ticket_info(caller, id);
             return py::make_tuple(error(answer),
                                   answer.ok() ? py::object(ticket(answer.ticket)) : py::none());
           })
      .def("list_tickets",
           [](Rules &rules, DomainKey caller) {
             std::vector<TicketInfo> tickets;
             const Answer answer = rules.list_tickets(caller, &tickets);
             return py::make_tuple(error(answer), list(tickets, ticket));
           })
      .def("list_domains",
           [](Rules &rules, DomainKey caller) {
             std::vector<DomainInfo> domains;
             const Answer answer = rules.list_domains(caller, &domains);
             return py::make_tuple(error(answer), list(domains, domain));
           })
      .def("join",
           [](Rules &rules, DomainKey caller, const std::optional<py::bytes> &report) {
             return error(rules.join(caller, report ? std::optional(std::string(*report)) : std::nullopt));
           })
      .def("kill", [](Rules &rules, DomainKey caller, Time vmid) { return error(rules.kill(caller, vmid)); })
      .def("kill_domain", [](Rules &rules, const std::string &family,
                             Time vmid) { return error(rules.kill_domain(family, vmid)); })
      .def("request_ticket", &Rules::request_ticket)
      .def("clone", &Rules::clone)
      .def("sync", &Rules::sync)
      .def("wait", &Rules::wait)
      .def("cancel", &Rules::cancel)
      .def("reserved", [](Rules &rules, CallId call, const std::string &kind, Time vms,
                          Time now) { rules.reserved(call, reservation(kind, vms), now); })
      .def("ask_again", &Rules::ask_again)
      .def("clone_done", [](Rules &rules, CallId call, const std::string &code, const std::string &reason,
                            Time now) { rules.clone_done(call, clone_answer(code, reason), now); })
      .def("advance", &Rules::advance)
      .def("next_deadline", &Rules::next_deadline)
      .def("take_events", [](Rules &rules) { return list(rules.take_events(), event); })
      .def("cpus_free", &Rules::cpus_free)
      .def("queue_length", &Rules::queue_length)
      .def("family_count", &Rules::family_count)
      .def("all_domains", [](const Rules &rules) { return list(rules.all_domains(), domain); })
      .def("all_tickets",
           [](const Rules &rules) {
             return list(rules.all_tickets(),
                         [](const auto &one) { return py::make_tuple(one.first, ticket(one.second)); });
           })
      .def("all_calls", [](const Rules &rules) {
        return list(rules.all_calls(), [](const CallInfo &call) {
          return py::make_tuple(call.call, call.domain, text(word(call.verb)));
        });
      });
}
