#include "core/host/control.hpp"

#include <algorithm>
#include <gridcentric/drivers.hpp>

#include "core/host/host.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::host {
namespace {

constexpr std::int64_t last_ms = std::int64_t{1} << 53;

Answer invalid(std::string text) { return {Code::INVALID_ARGUMENT, std::move(text)}; }

std::string_view take_word(std::string_view *rest) {
  const std::string_view first = rest->substr(0, rest->find(' '));
  rest->remove_prefix(std::min(rest->size(), first.size() + 1));
  return first;
}

}  // namespace

Control::Control(Hypervisor &hypervisor) : script_(hypervisor.script()) {}

bool Control::loses_reply(const Session &session, std::string_view verb) {
  if (lost_replies_.empty() || session.role == wire::Role::control) return false;
  const auto found = lost_replies_.find(verb);
  if (found == lost_replies_.end()) return false;
  if (--found->second == 0) lost_replies_.erase(found);
  return true;
}

void Control::run(Session &session, const wire::Request &request) {
  const bool scripts = request.command == wire::Command::latency || request.command == wire::Command::end ||
                       request.command == wire::Command::fault || request.command == wire::Command::advance ||
                       request.command == wire::Command::reset;
  if (scripts && !script_)
    return host_->answer(
        session, request,
        {Code::NOT_SUPPORTED,
         std::string(wire::name(request.command)) + " drives a hypervisor for tests, and " +
             std::string(host_->hypervisor_.name()) + " is none: start the host with --hypervisor " +
             names_of_drivers(&Driver::scripted)});
  switch (request.command) {
    case wire::Command::now:
      return host_->ok(session, request.id, "now", std::to_string(host_->loop_.now_ms()));
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
      if (result.ok()) script_->set_latency(ms);
      return host_->answer(session, request, result);
    }
    case wire::Command::control_bye: {
      DomainKey domain = 0;
      const Answer result = host_->find_domain(request.args[0], request.args[1], &domain);
      if (result.ok()) host_->rules_.bye(domain);
      return host_->answer(session, request, result);
    }
    case wire::Command::reset:
      forget_everything(session, false);
      host_->rules_ = Rules(host_->options_.cpus, host_->options_.seed);
      script_->reset();
      host_->loop_.timers().clear();
      host_->loop_.set_virtual_now(0);
      return host_->ok(session, request.id, "reset");
    default:
      return;  // the table of commands lets no other through to a tester
  }
}

void Control::advance(Session &session, const wire::Request &request) {
  std::int64_t ms = 0;
  Answer bad = read_range("ms", request.args[0], 0, last_ms, &ms);
  const std::int64_t target = host_->loop_.now_ms() + ms;
  if (bad.ok() && target > last_ms)
    bad = invalid("the clock is at " + std::to_string(host_->loop_.now_ms()) + " and never passes " +
                  std::to_string(last_ms));
  if (!bad.ok()) return host_->answer(session, request, bad);
  for (;;) {
    // Of one instant's events, times of calls run out before clonings are done.
    const auto call = host_->rules_.next_deadline();
    const auto timer = host_->loop_.timers().next();
    if (call && *call <= target && (!timer || *call <= *timer)) {
      host_->loop_.set_virtual_now(*call);
      host_->rules_.advance(*call);
    } else if (timer && *timer <= target) {
      host_->loop_.set_virtual_now(std::max(*timer, host_->loop_.now_ms()));
      host_->loop_.timers().take_due(host_->loop_.now_ms())();
    } else {
      break;
    }
    host_->settle();
  }
  host_->loop_.set_virtual_now(target);
  host_->ok(session, request.id, "advance", std::to_string(target));
}

void Control::await(Session &session, const wire::Request &request) {
  std::optional<Verb> verb;
  for (const Verb candidate : {Verb::request_ticket, Verb::clone, Verb::sync, Verb::wait})
    if (word(candidate) == request.args[0]) verb = candidate;
  if (!verb)
    return host_->answer(session, request,
                         invalid("verb is " + wire::one_line(request.args[0].substr(0, 64)) +
                                 ", expected request_ticket, sync, wait or clone"));
  std::int64_t count = 0;
  if (const Answer bad = read_range("count", request.args[1], 0, int32_max, &count); !bad.ok())
    return host_->answer(session, request, bad);
  if (const auto call = host_->number_call(session, request))
    awaits_.emplace(*call, Await{&session, request.id, *verb, static_cast<std::size_t>(count)});
}

void Control::answer_awaits() {
  for (auto it = awaits_.begin(); it != awaits_.end();) {
    const Await await = it->second;
    if (host_->rules_.open_calls(await.verb) < await.count) {
      ++it;
      continue;
    }
    it = awaits_.erase(it);
    await.session->open.erase(await.id);
    host_->ok(*await.session, await.id, "await");
  }
}

void Control::fault(Session &session, const wire::Request &request) {
  std::string_view rest = request.args[0];
  const std::string_view what = take_word(&rest);
  std::int64_t at = 0;
  Answer result;
  if (what == "restart" && rest.empty()) {
    forget_everything(session, true);
    host_->rules_.clear();
    script_->restart();
    host_->loop_.timers().clear();
  } else if (what == "host_full" && !rest.empty()) {
    script_->script_failure(0, std::string(rest));
  } else if (what == "clone_fails" && rest.find(' ') != std::string_view::npos) {
    result = read_range("k", take_word(&rest), 1, int32_max, &at);
    if (result.ok()) script_->script_failure(at, std::string(rest));
  } else if (what == "clone_dies" && !rest.empty() && rest.find(' ') == std::string_view::npos) {
    result = read_range("k", rest, 1, int32_max, &at);
    if (result.ok()) script_->script_death(at);
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
  host_->answer(session, request, result);
}

void Control::end_scripted(Session &session, const wire::Request &request) {
  DomainKey domain = 0;
  std::int64_t status = 0;
  Answer result = host_->find_domain(request.args[0], request.args[1], &domain);
  std::optional<EndKind> how;
  for (const EndKind candidate : {EndKind::exited, EndKind::killed, EndKind::lost})
    if (word(candidate) == request.args[2]) how = candidate;
  if (result.ok() && !how)
    result = invalid("how is " + wire::one_line(request.args[2].substr(0, 64)) +
                     ", expected exited, killed or lost");
  if (result.ok()) result = read_range("status", request.args[3], 0, 255, &status);
  if (result.ok()) script_->end_as(domain, *how, static_cast<int>(status));
  host_->answer(session, request, result);
}

void Control::dump(Session &session, const wire::Request &request, bool only_domains) {
  std::vector<std::string> items;
  if (!only_domains) {
    items.push_back("cpus " + std::to_string(host_->rules_.cpus()) + " " +
                    std::to_string(host_->rules_.cpus_free()));
    items.push_back("queue " + std::to_string(host_->rules_.queue_length()));
    for (const auto &[family, ticket] : host_->rules_.all_tickets())
      items.push_back("ticket " + family + " " + host_->ticket_fields(ticket) + " " +
                      std::to_string(ticket.owner));
  }
  for (const DomainInfo &domain : host_->rules_.all_domains())
    items.push_back((only_domains ? "" : "domain ") + domain.family + " " + host_->domain_fields(domain));
  if (!only_domains) {
    for (const CallInfo &call : host_->rules_.all_calls()) {
      const DomainInfo caller = *host_->rules_.domain(call.domain);
      items.push_back("call " + caller.family + " " + std::to_string(caller.vmid) + " " +
                      std::string(word(call.verb)));
    }
  }
  host_->list(session, request.id, wire::name(request.command), items);
}

// All connections but this one (and other testers') are closed. What they had open is gone with them.
void Control::forget_everything(Session &but, bool control_too) {
  std::vector<Session *> others;
  for (const auto &[connection, session] : host_->sessions_)
    if (session.get() != &but && (control_too || session->role != wire::Role::control || !session->greeted))
      others.push_back(session.get());
  for (Session *session : others) session->connection.close();
  lost_replies_.clear();
  host_->settle();
  host_->promised_.clear();
  host_->being_made_ = 0;
}

}  // namespace gridcentric::host
