// Requests: from a line to a call of the rules; the calls of domains.
#include <unistd.h>

#include <algorithm>

#include "core/host/control.hpp"
#include "core/host/descriptors.hpp"
#include "core/host/host.hpp"
#include "core/host/orders.hpp"
#include "core/wire/cloning.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::host {
namespace {

constexpr std::size_t most_open_calls = 1024;
constexpr std::int64_t spare_descriptors = 4;  // for what comes and goes

}  // namespace

Answer read_number(const char *name, std::string_view text, std::int64_t *value) {
  const auto number = wire::parse_number(text);
  if (!number)
    return {Code::INVALID_ARGUMENT, std::string(name) + " is \"" + wire::one_line(text.substr(0, 64)) +
                                        "\", expected a decimal number of 64 bits without leading zeros"};
  *value = *number;
  return {};
}

Answer read_range(const char *name, std::string_view text, std::int64_t low, std::int64_t high,
                  std::int64_t *value) {
  if (Answer bad = read_number(name, text, value); !bad.ok()) return bad;
  if (*value >= low && *value <= high) return {};
  return {Code::INVALID_ARGUMENT, std::string(name) + " is " + std::to_string(*value) + ", expected " +
                                      std::to_string(low) + " to " + std::to_string(high)};
}

Answer Host::find_domain(std::string_view family, std::string_view vmid, DomainKey *domain) const {
  if (!Uuid::parse(family))
    return {Code::INVALID_ARGUMENT,
            "family is \"" + wire::one_line(family.substr(0, 64)) + "\", expected a UUID in lower case"};
  std::int64_t number = 0;
  if (Answer bad = read_range("vmid", vmid, 0, int32_max, &number); !bad.ok()) return bad;
  *domain = rules_.find(family, number);
  if (*domain != 0) return {};
  return {Code::NO_SUCH_DOMAIN,
          "family " + std::string(family) + " has no living domain " + std::string(vmid)};
}

void Host::request(Session &session, std::string_view line) {
  wire::Request request;
  const Answer bad = wire::parse_request(line, session.role, &request);
  if (!bad.ok()) return refuse(session, request.id, "", bad);
  if (wire::answers_order(request.command)) return answer_order(session, request);
  if (session.open.contains(request.id))
    return refuse(
        session, request.id, "",
        {Code::PROTOCOL, "call " + std::to_string(request.id) + " is still open, expected another ID"});
  run(session, request);
}

void Host::answer_order(Session &session, const wire::Request &request) {
  std::vector<OwnedFd> descriptors;
  for (const int fd : session.connection.take_descriptors()) descriptors.emplace_back(fd);
  const auto open = session.open.find(request.id);
  const auto call = open == session.open.end() ? calls_.end() : calls_.find(open->second);
  if (call != calls_.end() && call->second.caller) {
    const std::shared_ptr<CloneCaller> caller = call->second.caller;
    if (caller->answered(wire::read_answer(request, std::move(descriptors)))) return;
  }
  refuse(
      session, request.id, "",
      {Code::PROTOCOL, std::string(wire::name(request.command)) + " answers the order fork, there was none"});
}

void Host::run(Session &session, const wire::Request &request) {
  if (session.role == wire::Role::control) return control_->run(session, request);
  switch (request.command) {
    case wire::Command::info:
      return info(session, request);
    case wire::Command::list_all:
      return list_all(session, request);
    case wire::Command::kill_domain:
      return kill_domain(session, request);
    default:
      return run_domain_call(session, request);
  }
}

std::optional<CallId> Host::number_call(Session &session, const wire::Request &request) {
  if (session.open.size() >= most_open_calls) {
    refuse(session, request.id, wire::name(request.command),
           {Code::TOO_LARGE,
            std::to_string(most_open_calls) +
                " calls are open on this connection: wait for some or open another connection"});
    return std::nullopt;
  }
  const CallId call = ++last_call_;
  session.open.emplace(request.id, call);
  return call;
}

std::optional<CallId> Host::open_call(Session &session, const wire::Request &request) {
  const auto call = number_call(session, request);
  if (call) calls_.emplace(*call, OpenCall{&session, request.id, wire::name(request.command), nullptr});
  return call;
}

void Host::take_back(CallId call) {
  if (control_) control_->take_back(call);
  const auto found = calls_.find(call);
  if (found == calls_.end()) return;
  if (found->second.caller) found->second.caller->detach();
  calls_.erase(found);
  orders_->take_back(call);
  rules_.cancel(call, loop_.now_ms());
}

void Host::run_domain_call(Session &session, const wire::Request &request) {
  const auto &args = request.args;
  const DomainKey me = session.domain;
  const std::int64_t now = loop_.now_ms();
  const auto numbers = [&](std::initializer_list<std::pair<const char *, std::int64_t *>> wanted,
                           std::size_t from) {
    for (const auto &[name, value] : wanted) {
      const Answer bad = read_number(name, args[from++], value);
      if (bad.ok()) continue;
      answer(session, request, bad);
      return false;
    }
    return true;
  };
  std::int64_t maxcpus = 0, minvms = 0, mincpuspervm = 0, timeout = 0, vmid = 0;
  switch (request.command) {
    case wire::Command::request_ticket:
      if (!numbers({{"maxcpus", &maxcpus},
                    {"minvms", &minvms},
                    {"mincpuspervm", &mincpuspervm},
                    {"timeout", &timeout}},
                   0))
        return;
      return request_ticket(session, request, maxcpus, minvms, mincpuspervm, timeout);
    case wire::Command::clone:
      if (const auto call = open_call(session, request)) rules_.clone(*call, me, args[0], now);
      return;
    case wire::Command::clone_of:
      return orders_->give(session, request);
    case wire::Command::serve:
      return orders_->listen(session, request);
    case wire::Command::carried_out:
    case wire::Command::declined:
      return orders_->answered(session, request);
    case wire::Command::sync:
      if (!numbers({{"timeout", &timeout}}, 1)) return;
      if (const auto call = open_call(session, request)) rules_.sync(*call, me, args[0], timeout, now);
      return;
    case wire::Command::wait:
      if (!numbers({{"timeout", &timeout}}, 1)) return;
      if (const auto call = open_call(session, request)) rules_.wait(*call, me, args[0], timeout, now);
      return;
    case wire::Command::release_ticket:
      return answer(session, request, rules_.release_ticket(me, args[0], now));
    case wire::Command::forget:
      return answer(session, request, rules_.forget_ticket(me, args[0], now));
    case wire::Command::ticket_info: {
      const TicketAnswer found = rules_.ticket_info(me, args[0]);
      if (!found.ok()) return answer(session, request, found);
      return ok(session, request.id, "ticket_info", ticket_fields(found.ticket));
    }
    case wire::Command::list_tickets:
      return list_tickets(session, request);
    case wire::Command::list_domains:
      return list_domains(session, request);
    case wire::Command::whoami:
      return whoami(session, request);
    case wire::Command::join:
      return join(session, request);
    case wire::Command::kill:
      if (!numbers({{"vmid", &vmid}}, 0)) return;
      return answer(session, request, rules_.kill(me, vmid));
    case wire::Command::bye:
      if (!session.is_domains_own)
        return answer(
            session, request,
            {Code::INVALID_ARGUMENT, "process " + std::to_string(session.connection.peer().pid) +
                                         " is a child of its domain: only the domain itself says bye"});
      rules_.bye(me);
      return ok(session, request.id, "bye");
    case wire::Command::cancel:
      return cancel(session, request);
    default:
      return;  // the table of commands lets no other through to a domain
  }
}

void Host::join(Session &session, const wire::Request &request) {
  std::optional<std::string> report;
  if (!wire::decode_report(request.args[0], &report))
    return answer(session, request,
                  {Code::INVALID_ARGUMENT, "the report is not padded base64, \"=\" (empty) or \"-\" (none)"});
  const DomainKey me = session.domain;
  const Answer result = rules_.join(me, std::move(report));
  const bool is_domains_own = session.is_domains_own;
  answer(session, request, result);
  if (!result.ok()) return;
  hypervisor_.joined(me);
  // Said by a child (a gc command in a script), which ends: the domain itself does not know that it is to end.
  if (!is_domains_own) hypervisor_.end(me);
}

void Host::cancel(Session &session, const wire::Request &request) {
  const auto id = wire::parse_number(request.args[0]);
  if (!id || *id < 0 || *id > 999'999'999)
    return answer(
        session, request,
        {Code::INVALID_ARGUMENT, "the ID to cancel is \"" + wire::one_line(request.args[0].substr(0, 64)) +
                                     "\", expected a number of 1 to 9 digits"});
  const auto open = session.open.find(static_cast<std::uint32_t>(*id));
  if (open != session.open.end()) {
    const CallId call = open->second;
    session.open.erase(open);
    take_back(call);
  }
  ok(session, request.id, "cancel");
}

// A ticket is granted for as many clones as there are descriptors for. What can't be granted anyway is the rules' to refuse.
void Host::request_ticket(Session &session, const wire::Request &request, std::int64_t maxcpus,
                          std::int64_t minvms, std::int64_t mincpuspervm, std::int64_t timeout) {
  if (session.connection.hung_up()) return;  // nobody would ever know of the ticket
  const std::int64_t cpus = std::min(maxcpus, rules_.cpus());
  if (minvms > 0 && mincpuspervm > 0 && minvms <= cpus / mincpuspervm) {
    std::int64_t promised = being_made_, most = 0;
    for (const auto &[domain, clones] : promised_) promised += clones;
    const Answer bad = check_descriptors(cpus / mincpuspervm, promised, &most);
    if (!bad.ok() && most < minvms) return answer(session, request, bad);
    if (!bad.ok()) maxcpus = most * mincpuspervm;
  }
  if (const auto call = open_call(session, request))
    rules_.request_ticket(*call, session.domain, maxcpus, minvms, mincpuspervm, timeout, loop_.now_ms());
}

Answer Host::check_descriptors(std::int64_t clones, std::int64_t promised, std::int64_t *most) const {
  if (hypervisor_.descriptors_a_clone() == 0) return {};
  const std::int64_t each = hypervisor_.descriptors_a_clone() + 1;  // and its connection
  const auto known = static_cast<std::int64_t>(loop_.watched());
  const std::int64_t left = free_descriptors(known, (promised + clones) * each) - spare_descriptors;
  *most = std::max<std::int64_t>(0, left / each - promised);
  if (*most >= clones) return {};
  return {Code::CLONE_FAILED, "the host may open " + std::to_string(std::max<std::int64_t>(0, left)) +
                                  " more descriptors of " + std::to_string(descriptor_limit()) +
                                  " (ulimit -n), a clone takes " + std::to_string(each) + " of them, and " +
                                  std::to_string(promised) + " clones are promised: there is room for " +
                                  std::to_string(*most) + " more, not for " + std::to_string(clones) +
                                  "; ask for fewer, or start the host with a higher limit"};
}

// --- lists -----------------------------------------------------------------------------------------------

std::string Host::ticket_fields(const TicketInfo &ticket) {
  return ticket.id + " " + std::string(word(ticket.status)) + " " + std::to_string(ticket.cpus) + " " +
         std::to_string(ticket.vms) + " " + std::to_string(ticket.mincpuspervm);
}

std::string Host::address(DomainKey domain) const {
  const std::string text = hypervisor_.address_of(domain);
  return text.empty() ? "-" : text;
}

std::string Host::domain_fields(const DomainInfo &domain) const {
  return std::to_string(domain.vmid) + " " + (domain.parent < 0 ? "-" : std::to_string(domain.parent)) + " " +
         address(domain.key) + " " + domain.ticket + " " + std::string(word(domain.state));
}

void Host::list_tickets(Session &session, const wire::Request &request) {
  std::vector<TicketInfo> tickets;
  if (const Answer bad = rules_.list_tickets(session.domain, &tickets); !bad.ok())
    return answer(session, request, bad);
  std::vector<std::string> items;
  items.reserve(tickets.size());
  for (const TicketInfo &ticket : tickets) items.push_back(ticket_fields(ticket));
  list(session, request.id, wire::name(request.command), items);
}

void Host::list_domains(Session &session, const wire::Request &request) {
  std::vector<DomainInfo> domains;
  if (const Answer bad = rules_.list_domains(session.domain, &domains); !bad.ok())
    return answer(session, request, bad);
  std::vector<std::string> items;
  items.reserve(domains.size());
  for (const DomainInfo &domain : domains) items.push_back(domain_fields(domain));
  list(session, request.id, wire::name(request.command), items);
}

void Host::whoami(Session &session, const wire::Request &request) {
  if (const Answer bad = rules_.check_caller(session.domain); !bad.ok()) return answer(session, request, bad);
  const DomainInfo domain = *rules_.domain(session.domain);
  ok(session, request.id, "whoami",
     domain.family + " " + std::to_string(domain.vmid) + " " + address(domain.key) + " " +
         (domain.parent < 0 ? "-" : std::to_string(domain.parent)) + " " + domain.ticket + " " +
         std::string(word(domain.state)));
}

}  // namespace gridcentric::host
