#include "core/host/orders.hpp"

#include <algorithm>
#include <utility>

#include "core/host/host.hpp"
#include "core/wire/orders.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::host {

void Orders::listen(Session &session, const wire::Request &request) {
  if (!session.is_domains_own)
    return host_.answer(session, request,
                        {Code::INVALID_ARGUMENT,
                         "process " + std::to_string(session.connection.peer().pid) +
                             " is a child of its domain: only the domain's own process takes orders"});
  listeners_[session.domain] = &session;
  host_.ok(session, request.id, "serve");
}

Session *Orders::listener_of(DomainKey domain) const {
  const auto found = listeners_.find(domain);
  return found == listeners_.end() ? nullptr : found->second;
}

void Orders::give(Session &session, const wire::Request &request) {
  std::int64_t vmid = 0;
  if (const Answer bad = read_number("vmid", request.args[0], &vmid); !bad.ok())
    return host_.answer(session, request, bad);
  Rules &rules = host_.rules_;
  const std::string ticket(request.args[1]);
  const std::int64_t now = host_.loop_.now_ms();
  if (const Answer bad = rules.hand_over(session.domain, ticket, vmid, now); !bad.ok())
    return host_.answer(session, request, bad);
  // hand_over() was ok, so both are there.
  const DomainInfo giver = *rules.domain(session.domain);
  const DomainKey domain = rules.find(giver.family, vmid);
  Session *listener = listener_of(domain);
  const auto call = listener ? host_.open_call(session, request) : std::nullopt;
  if (!call) rules.hand_over(domain, ticket, giver.vmid, now);
  if (!listener)
    return host_.answer(
        session, request,
        {Code::NOT_SUPPORTED,
         "domain " + std::to_string(vmid) +
             " does not listen for orders: start its program with `gc run -- COMMAND`, or let "
             "it call serve() (Python, Node, Java) or gc_serve() (C), or set GRIDCENTRIC_SERVE=1 for it"});
  if (!call) return;  // too many are open: that has been said
  const std::int64_t number = ++last_number_;
  given_.emplace(number, Given{listener, *call, session.domain, domain, giver.vmid, ticket});
  host_.send(*listener, wire::write_order_to_clone({number, ticket, session.connection.peer().pid}));
}

void Orders::answered(Session &session, const wire::Request &request) {
  const auto number = wire::parse_number(request.args[0]);
  const auto found = number ? given_.find(*number) : given_.end();
  if (found == given_.end() || found->second.listener != &session)
    return host_.answer(
        session, request,
        {Code::INVALID_ARGUMENT, "there is no order " + wire::one_line(request.args[0].substr(0, 20)) +
                                     " that this connection has not answered"});
  const bool declined = request.command == wire::Command::declined;
  const auto text = wire::percent_decode(declined ? request.args[2] : "");
  if (!text || !wire::is_utf8(*text))
    return host_.answer(session, request,
                        {Code::INVALID_ARGUMENT, "the reason is not UTF-8 in percent encoding"});
  Given order = std::move(found->second);
  given_.erase(found);
  host_.answer(session, request, {});
  if (!declined) return report(order);
  refuse(order, {find_code(request.args[1]).value_or(Code::CLONE_FAILED), *text});
}

void Orders::refuse(Given &order, const Answer &answer) {
  // Without effect if it has been used, or one of the two has ended.
  host_.rules_.hand_over(order.domain, order.ticket, order.giver_vmid, host_.loop_.now_ms());
  const auto found = host_.calls_.find(order.call);
  if (found == host_.calls_.end()) return;
  const Host::OpenCall call = found->second;
  host_.calls_.erase(found);
  call.session->open.erase(call.id);
  host_.refuse(*call.session, call.id, call.verb, answer);
}

void Orders::report(Given &order) {
  const TicketAnswer ticket = host_.rules_.ticket_info(order.domain, order.ticket);
  const bool cloned = !ticket.ok() || ticket.ticket.status == TicketStatus::active ||
                      ticket.ticket.status == TicketStatus::closed;
  if (!cloned)
    return refuse(order, {Code::CLONE_FAILED,
                          "the domain says that it has carried out the order, but has made "
                          "no clones of ticket " +
                              order.ticket});
  const auto found = host_.calls_.find(order.call);
  if (found == host_.calls_.end()) return;
  const Host::OpenCall call = found->second;
  host_.calls_.erase(found);
  call.session->open.erase(call.id);
  std::vector<std::string> items;
  for (const DomainInfo &domain : host_.rules_.all_domains())
    if (domain.vmid != 0 && domain.ticket == order.ticket) items.push_back(host_.domain_fields(domain));
  host_.list(*call.session, call.id, call.verb, items);
}

void Orders::take_back(CallId call) {
  for (auto &[number, order] : given_)
    if (order.call == call) order.call = 0;
}

void Orders::closed(Session &session) {
  const auto listens = listeners_.find(session.domain);
  if (listens != listeners_.end() && listens->second == &session) listeners_.erase(listens);
  for (auto order = given_.begin(); order != given_.end();) {
    if (order->second.listener != &session) {
      ++order;
      continue;
    }
    Given unanswered = std::move(order->second);
    order = given_.erase(order);
    refuse(unanswered,
           {Code::CLONE_FAILED,
            "the domain ended, or stopped listening for orders, before it had carried out this one; "
            "list_domains() says whether there are clones"});
  }
}

}  // namespace gridcentric::host
