// The control channel: how tests drive the clock, script the fake hypervisor and see everything.
#include <algorithm>

#include "core/host/host.hpp"
#include "core/hypervisors/fake.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::host {
namespace {

constexpr std::int64_t last_ms = std::int64_t{1} << 53;
constexpr std::int64_t int32_max = 2147483647;

Answer invalid(std::string text) { return {Code::INVALID_ARGUMENT, std::move(text)}; }

Answer read_range(const char *name, std::string_view text, std::int64_t low, std::int64_t high,
                  std::int64_t *value) {
  if (Answer bad = read_number(name, text, value); !bad.ok()) return bad;
  if (*value >= low && *value <= high) return {};
  return invalid(std::string(name) + " is " + std::to_string(*value) + ", expected " + std::to_string(low) +
                 " to " + std::to_string(high));
}

std::string_view take_word(std::string_view *rest) {
  const std::string_view first = rest->substr(0, rest->find(' '));
  rest->remove_prefix(std::min(rest->size(), first.size() + 1));
  return first;
}

}  // namespace

void Host::run_control_call(Session &session, const wire::Request &request) {
  const bool scripts = request.command == wire::Command::latency || request.command == wire::Command::end ||
                       request.command == wire::Command::fault || request.command == wire::Command::advance ||
                       request.command == wire::Command::reset;
  if (scripts && !fake_)
    return answer(session, request,
                  {Code::NOT_SUPPORTED,
                   std::string(wire::name(request.command)) + " drives the fake hypervisor, this host runs " +
                       std::string(hypervisor_.name()) + ": start it with --hypervisor fake"});
  switch (request.command) {
    case wire::Command::now:
      return ok(session, request.id, "now", std::to_string(loop_.now_ms()));
    case wire::Command::advance:
      return advance(session, request);
    case wire::Command::await:
      return await(session, request);
    case wire::Command::fault:
      return fault(session, request);
    case wire::Command::end:
      return end_scripted(session, request);
    case wire::Command::domains:
      return dump(session, request, true);
    case wire::Command::dump:
      return dump(session, request, false);
    case wire::Command::latency: {
      std::int64_t ms = 0;
      Answer result;
      if (request.args[0] != "clone")
        result = invalid("verb is " + std::string(request.args[0]) + ", expected clone");
      if (result.ok()) result = read_range("ms", request.args[1], 0, last_ms, &ms);
      if (result.ok()) fake_->set_latency(ms);
      return answer(session, request, result);
    }
    case wire::Command::control_bye: {
      DomainKey domain = 0;
      const Answer result = find_domain(request.args[0], request.args[1], &domain);
      if (result.ok()) rules_.bye(domain);
      return answer(session, request, result);
    }
    case wire::Command::reset:
      forget_everything(session, false);
      rules_ = Rules(options_.cpus, options_.seed);
      fake_->reset();
      loop_.timers().clear();
      loop_.set_virtual_now(0);
      return ok(session, request.id, "reset");
    default:
      return;  // the table of commands lets no other through to a tester
  }
}

Answer Host::find_domain(std::string_view family, std::string_view vmid, DomainKey *domain) const {
  if (!Uuid::parse(family))
    return invalid("family is \"" + wire::one_line(family.substr(0, 64)) +
                   "\", expected a UUID in lower case");
  std::int64_t number = 0;
  if (Answer bad = read_range("vmid", vmid, 0, int32_max, &number); !bad.ok()) return bad;
  *domain = rules_.find(family, number);
  if (*domain != 0) return {};
  return {Code::NO_SUCH_DOMAIN,
          "family " + std::string(family) + " has no living domain " + std::string(vmid)};
}

void Host::advance(Session &session, const wire::Request &request) {
  std::int64_t ms = 0;
  Answer bad = read_range("ms", request.args[0], 0, last_ms, &ms);
  const std::int64_t target = loop_.now_ms() + ms;
  if (bad.ok() && target > last_ms)
    bad = invalid("the clock is at " + std::to_string(loop_.now_ms()) + " and never passes " +
                  std::to_string(last_ms));
  if (!bad.ok()) return answer(session, request, bad);
  for (;;) {
    // Of one instant's events, times of calls run out before clonings are done.
    const auto call = rules_.next_deadline();
    const auto timer = loop_.timers().next();
    if (call && *call <= target && (!timer || *call <= *timer)) {
      loop_.set_virtual_now(*call);
      rules_.advance(*call);
    } else if (timer && *timer <= target) {
      loop_.set_virtual_now(std::max(*timer, loop_.now_ms()));
      loop_.timers().take_due(loop_.now_ms())();
    } else {
      break;
    }
    settle();
  }
  loop_.set_virtual_now(target);
  ok(session, request.id, "advance", std::to_string(target));
}

void Host::await(Session &session, const wire::Request &request) {
  std::optional<Verb> verb;
  for (const Verb candidate : {Verb::request_ticket, Verb::clone, Verb::sync, Verb::wait})
    if (word(candidate) == request.args[0]) verb = candidate;
  if (!verb)
    return answer(session, request,
                  invalid("verb is " + wire::one_line(request.args[0].substr(0, 64)) +
                          ", expected request_ticket, sync, wait or clone"));
  std::int64_t count = 0;
  if (const Answer bad = read_range("count", request.args[1], 0, int32_max, &count); !bad.ok())
    return answer(session, request, bad);
  if (const auto call = number_call(session, request))
    awaits_.emplace(*call, Await{&session, request.id, *verb, static_cast<std::size_t>(count)});
}

void Host::answer_awaits() {
  for (auto it = awaits_.begin(); it != awaits_.end();) {
    const Await await = it->second;
    if (rules_.open_calls(await.verb) < await.count) {
      ++it;
      continue;
    }
    it = awaits_.erase(it);
    await.session->open.erase(await.id);
    ok(*await.session, await.id, "await");
  }
}

void Host::fault(Session &session, const wire::Request &request) {
  std::string_view rest = request.args[0];
  const std::string_view what = take_word(&rest);
  std::int64_t at = 0;
  Answer result;
  if (what == "restart" && rest.empty()) {
    forget_everything(session, true);
    rules_.clear();
    fake_->restart();
    loop_.timers().clear();
  } else if (what == "host_full" && !rest.empty()) {
    fake_->script_failure(0, std::string(rest));
  } else if (what == "clone_fails" && rest.find(' ') != std::string_view::npos) {
    result = read_range("k", take_word(&rest), 1, int32_max, &at);
    if (result.ok()) fake_->script_failure(at, std::string(rest));
  } else if (what == "clone_dies" && !rest.empty() && rest.find(' ') == std::string_view::npos) {
    result = read_range("k", rest, 1, int32_max, &at);
    if (result.ok()) fake_->script_death(at);
  } else if (what == "drop_reply" && !rest.empty() && rest.find(' ') == std::string_view::npos) {
    if (wire::is_guest_verb(rest)) {
      ++lost_replies_[std::string(rest)];
    } else {
      result = invalid("there is no verb " + wire::one_line(rest.substr(0, 64)));
    }
  } else if (what == "restart" || what == "host_full" || what == "clone_fails" || what == "clone_dies" ||
             what == "drop_reply") {
    result = {Code::PROTOCOL, "wrong number of arguments of fault " + std::string(what)};
  } else {
    result = invalid("fault is " + wire::one_line(what.substr(0, 64)) +
                     ", expected clone_fails, host_full, clone_dies, drop_reply or restart");
  }
  answer(session, request, result);
}

void Host::end_scripted(Session &session, const wire::Request &request) {
  DomainKey domain = 0;
  std::int64_t status = 0;
  Answer result = find_domain(request.args[0], request.args[1], &domain);
  std::optional<EndKind> how;
  for (const EndKind candidate : {EndKind::exited, EndKind::killed, EndKind::lost})
    if (word(candidate) == request.args[2]) how = candidate;
  if (result.ok() && !how)
    result = invalid("how is " + wire::one_line(request.args[2].substr(0, 64)) +
                     ", expected exited, killed or lost");
  if (result.ok()) result = read_range("status", request.args[3], 0, 255, &status);
  if (result.ok()) fake_->end_as(domain, *how, static_cast<int>(status));
  answer(session, request, result);
}

void Host::dump(Session &session, const wire::Request &request, bool only_domains) {
  std::vector<std::string> items;
  if (!only_domains) {
    items.push_back("cpus " + std::to_string(rules_.cpus()) + " " + std::to_string(rules_.cpus_free()));
    items.push_back("queue " + std::to_string(rules_.queue_length()));
    for (const auto &[family, ticket] : rules_.all_tickets())
      items.push_back("ticket " + family + " " + ticket_fields(ticket) + " " + std::to_string(ticket.owner));
  }
  for (const DomainInfo &domain : rules_.all_domains())
    items.push_back((only_domains ? "" : "domain ") + domain.family + " " + domain_fields(domain));
  if (!only_domains) {
    for (const CallInfo &call : rules_.all_calls()) {
      const DomainInfo caller = *rules_.domain(call.domain);
      items.push_back("call " + caller.family + " " + std::to_string(caller.vmid) + " " +
                      std::string(word(call.verb)));
    }
  }
  list(session, request.id, wire::name(request.command), items);
}

// All connections but this one (and other testers') are closed. What they had open is gone with them.
void Host::forget_everything(Session &but, bool control_too) {
  std::vector<Session *> others;
  for (const auto &[connection, session] : sessions_)
    if (session.get() != &but && (control_too || session->role != wire::Role::control || !session->greeted))
      others.push_back(session.get());
  for (Session *session : others) session->connection.close();
  lost_replies_.clear();
  settle();
  promised_.clear();
  being_made_ = 0;
}

}  // namespace gridcentric::host
