#include "core/host/host.hpp"

#include <gridcentric/gc-guest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "core/host/control.hpp"
#include "core/host/orders.hpp"
#include "core/wire/cloning.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::host {
namespace {

constexpr std::int64_t hello_ms = 10'000;

Code code_of(int error) { return error == GC_E_NOT_SUPPORTED ? Code::NOT_SUPPORTED : Code::CLONE_FAILED; }

}  // namespace

Host::Host(EpollLoop &loop, Hypervisor &hypervisor, const Options &options, std::unique_ptr<Control> control)
    : loop_(loop),
      hypervisor_(hypervisor),
      options_(options),
      rules_(options.cpus, options.seed),
      orders_(std::make_unique<Orders>(*this)),
      control_(std::move(control)) {
  if (control_) control_->belongs_to(*this);
  hypervisor_.set_listener(this);
}

Host::~Host() = default;

// --- connections and the handshake -----------------------------------------------------------------------

void Host::accepted(int fd, const Peer &peer) {
  auto session = std::make_unique<Session>(loop_, fd, peer, *this);
  Session *raw = session.get();
  sessions_.emplace(&raw->connection, std::move(session));
  raw->hello_timer = loop_.call_after_real(hello_ms, [raw] { raw->connection.close(); });
}

void Host::closed(Connection &connection) {
  auto found = sessions_.extract(&connection);
  std::unique_ptr<Session> session = std::move(found.mapped());
  loop_.cancel_real(session->hello_timer);
  unflushed_.erase(session.get());
  if (const auto of = sessions_of_.find(session->domain); of != sessions_of_.end()) {
    of->second.erase(session.get());
    if (of->second.empty()) sessions_of_.erase(of);
  }
  for (const auto &[id, call] : std::exchange(session->open, {})) take_back(call);
  orders_->closed(*session);
  closed_sessions_.push_back(std::move(session));  // its own code may be running
  settle();
}

void Host::line_too_long(Connection &connection, std::string_view beginning) {
  Session &session = *sessions_.at(&connection);
  const std::string text = " error too_large the line that begins with \"" + wire::one_line(beginning) +
                           "\" has more than " + std::to_string(wire::LineSplitter::longest_other) +
                           " bytes (a join: " + std::to_string(wire::LineSplitter::longest_join) + ")";
  send(session, (session.greeted ? "0" : std::string(wire::protocol_version)) + text);
  connection.close_after_output();
}

void Host::line(Connection &connection, std::string_view line) {
  Session &session = *sessions_.at(&connection);
  if (session.greeted) {
    request(session, line);
  } else {
    hello(session, line);
  }
  settle();
}

void Host::hello(Session &session, std::string_view line) {
  wire::Hello hello;
  Answer answer = wire::parse_hello(line, &hello);
  if (answer.ok()) answer = take_role(session, hello);
  if (!answer.ok()) {
    send(session, std::string(wire::protocol_version) + " error " + std::string(code_word(answer.code)) +
                      " " + wire::one_line(answer.text));
    return session.connection.close_after_output();
  }
  loop_.cancel_real(session.hello_timer);
  session.greeted = true;
  session.role = hello.role;
  if (session.domain != 0) sessions_of_[session.domain].insert(&session);
  send(session, introduction(session));
}

// A driver that carries the connections of its machines' processes says for which domain each is.
bool Host::is_relay(const wire::Hello &hello) const {
  return hello.role == wire::Role::act_as && !options_.relay_secret.empty() &&
         hello.key == options_.relay_secret;
}

Answer Host::take_role(Session &session, const wire::Hello &hello) {
  switch (hello.role) {
    case wire::Role::observe:
      return {};
    case wire::Role::lifeline:
      if (!Uuid::parse(hello.args[0]))
        return {Code::INVALID_ARGUMENT, "lifeline expects the UUID of a family"};
      return {};
    case wire::Role::control:
    case wire::Role::act_as:
      if (!control_ && !is_relay(hello))
        return {Code::NOT_SUPPORTED, "this is for tests: start the host with --control"};
      if (hello.role == wire::Role::control) return {};
      if (Answer bad = find_domain(hello.args[0], hello.args[1], &session.domain); !bad.ok()) return bad;
      session.is_domains_own = true;
      break;
    case wire::Role::attach:
    case wire::Role::ask:
      if (Answer bad = join_family(session, hello); !bad.ok()) return bad;
  }
  if (hello.role == wire::Role::attach) {
    session.mode = hello.mode;
    session.why = hello.why;
  }
  // A child of the domain (a gc command) speaks for it, but is not it.
  if (session.is_domains_own && hello.keep)
    rules_.set_on_exit(session.domain, *hello.keep ? OnExit::keep : OnExit::end);
  if (session.is_domains_own && hello.name) rules_.set_name(session.domain, *hello.name);
  return {};
}

Answer Host::join_family(Session &session, const wire::Hello &hello) {
  const Peer peer = session.connection.peer();
  // Whoever may connect at all may end any of the host's domains, and so speak for any.
  const int pid = hello.pid != 0 ? hello.pid : peer.pid;
  session.domain = hypervisor_.domain_of(pid);
  if (session.domain == 0 && hello.role == wire::Role::ask)
    return {Code::NOT_IN_DOMAIN,
            "process " + std::to_string(pid) +
                " is in no domain of this host: start the program with `gc run -- COMMAND`"};
  if (session.domain == 0) {
    const DomainKey master = rules_.adopt(OnExit::by_bye, "", loop_.now_ms());
    std::string reason;
    if (hypervisor_.adopt(master, peer, &reason).empty()) {
      rules_.ended(master, EndKind::lost, 0, loop_.now_ms());
      return {Code::NOT_SUPPORTED, reason};
    }
    session.domain = master;
    had_family_ = true;
  }
  if (!rules_.domain(session.domain))
    return {Code::NO_SUCH_DOMAIN, "the domain of process " + std::to_string(peer.pid) + " has just ended"};
  session.is_domains_own = hypervisor_.pid_of(session.domain) == peer.pid;
  return {};
}

std::string Host::introduction(const Session &session) const {
  std::string text(wire::greeting_ok);
  if (session.domain == 0) return text + "- - - - " + std::string(hypervisor_.name());
  const DomainInfo domain = *rules_.domain(session.domain);
  return text + domain.family + " " + std::to_string(domain.vmid) + " " + address(domain.key) + " " +
         (domain.parent < 0 ? "-" : std::to_string(domain.parent)) + " " + std::string(hypervisor_.name());
}

// --- replies ---------------------------------------------------------------------------------------------

void Host::send(Session &session, std::string_view line) {
  session.connection.send(line);
  if (session.connection.open()) unflushed_.insert(&session);
}

bool Host::lose_reply(Session &session, std::string_view verb) {
  if (!control_ || !control_->loses_reply(session, verb)) return false;
  session.connection.close();
  return true;
}

void Host::ok(Session &session, std::uint32_t id, std::string_view verb, std::string_view fields) {
  if (lose_reply(session, verb)) return;
  std::string text = std::to_string(id) + " ok";
  if (!fields.empty()) text.append(" ").append(fields);
  send(session, text);
}

void Host::list(Session &session, std::uint32_t id, std::string_view verb,
                const std::vector<std::string> &items) {
  if (lose_reply(session, verb)) return;
  const std::string number = std::to_string(id);
  for (const std::string &fields : items) send(session, number + " item " + fields);
  send(session, number + " ok " + std::to_string(items.size()));
}

void Host::refuse(Session &session, std::uint32_t id, std::string_view verb, const Answer &answer) {
  if (lose_reply(session, verb)) return;
  send(session, std::to_string(id) + " error " + std::string(code_word(answer.code)) + " " +
                    wire::one_line(answer.text));
}

void Host::answer(Session &session, const wire::Request &request, const Answer &answer) {
  if (answer.ok()) return ok(session, request.id, wire::name(request.command));
  refuse(session, request.id, wire::name(request.command), answer);
}

void Host::end_of_turn() {
  settle();
  // Flushing takes up lines that had to wait, which makes new output.
  while (!unflushed_.empty()) {
    for (Session *session : std::exchange(unflushed_, {})) session->connection.flush();
    settle();
  }
  closed_sessions_.clear();
  if (options_.ends_with_family && had_family_ && rules_.family_count() == 0 && sessions_.empty())
    loop_.stop();
}

// --- the wheel -------------------------------------------------------------------------------------------

// What the rules and the driver have to say to each other, until they are silent.
void Host::settle() {
  if (settling_) return;
  settling_ = true;
  do {
    std::vector<Event> events = rules_.take_events();
    while (!events.empty()) {
      for (Event &event : events) carry_out(event);
      events = rules_.take_events();
    }
    for (const auto &[domain, clones] : rules_.take_expectations()) {
      if (clones > 0) {
        promised_[domain] = clones;
      } else {
        promised_.erase(domain);
      }
      hypervisor_.expect(domain, clones);
    }
  } while (loop_.run_posted());
  if (control_) control_->answer_awaits();
  settling_ = false;
  schedule_deadline();
}

void Host::schedule_deadline() {
  if (loop_.is_virtual() || rules_.next_deadline() == scheduled_) return;
  if (scheduled_) loop_.cancel(deadline_timer_);
  scheduled_ = rules_.next_deadline();
  if (!scheduled_) return;
  deadline_timer_ = loop_.call_at(*scheduled_, [this] {
    scheduled_.reset();
    rules_.advance(loop_.now_ms());
    settle();
  });
}

void Host::carry_out(Event &event) {
  switch (event.kind) {
    case Event::Kind::end_domain:
      return hypervisor_.end(event.domain);
    case Event::Kind::cancel_clone:
      return hypervisor_.cancel_clone(event.domain);
    case Event::Kind::reserve:
      return hypervisor_.reserve({.ticket = std::move(event.ticket),
                                  .domain = event.domain,
                                  .least_vms = event.least,
                                  .most_vms = event.most,
                                  .cpus_per_vm = event.cpus_per_vm},
                                 [this, id = event.call](const Reservation &answer) {
                                   rules_.reserved(id, answer, loop_.now_ms());
                                   settle();
                                 });
    case Event::Kind::release:
      return hypervisor_.release(event.ticket);
    case Event::Kind::start_clone: {
      // Others may have opened descriptors since the ticket was granted.
      const auto clones = static_cast<std::int64_t>(event.clones.size());
      std::int64_t most = 0;
      if (Answer bad = check_descriptors(clones, being_made_, &most); !bad.ok())
        return rules_.clone_done(event.call, std::move(bad), loop_.now_ms());
      being_made_ += clones;
      OpenCall &call = calls_.at(event.call);
      call.caller = std::make_shared<CloneCaller>(*this, *call.session, call.id);
      CloneRequest request;
      request.parent = event.domain;
      request.clones = std::move(event.clones);
      request.vmids = std::move(event.vmids);
      request.ticket = std::move(event.ticket);
      request.cpus_per_vm = event.cpus_per_vm;
      request.caller = call.caller;
      return hypervisor_.clone(std::move(request), [this, clones, id = event.call,
                                                    caller = call.caller](const CloneResult &result) {
        being_made_ -= clones;
        caller->done();
        rules_.clone_done(id, result.ok ? Answer{} : Answer{code_of(result.error), result.reason},
                          loop_.now_ms());
        settle();
      });
    }
    case Event::Kind::drop:
    case Event::Kind::reply:
      break;
  }
  const auto found = calls_.find(event.call);
  if (found == calls_.end()) return;
  const OpenCall call = std::move(found->second);
  calls_.erase(found);
  Session &session = *call.session;
  session.open.erase(call.id);
  if (event.kind == Event::Kind::drop) return;
  if (!event.answer.ok()) return refuse(session, call.id, call.verb, event.answer);
  if (event.verb != Verb::wait)
    return ok(session, call.id, call.verb, event.verb == Verb::clone ? "0" : event.ticket);
  std::vector<std::string> items;
  for (const Result &result : event.results)
    items.push_back(std::to_string(result.vmid) + " " + std::string(word(result.how)) + " " +
                    std::to_string(result.status) + " " + wire::encode_report(result.report));
  list(session, call.id, call.verb, items);
}

void Host::ended(DomainKey domain, EndKind how, int status) {
  rules_.ended(domain, how, status, loop_.now_ms());
  auto of = sessions_of_.extract(domain);
  if (!of.empty())
    for (Session *session : of.mapped()) session->connection.close_after_output();
  settle();
}

NewFamily Host::new_family(const std::string &name, OnExit on_exit) {
  const DomainKey master = rules_.adopt(on_exit, name, loop_.now_ms());
  had_family_ = true;
  return {master, rules_.domain(master)->family};
}

void Host::room() {
  rules_.ask_again(loop_.now_ms());
  settle();
}

// --- the caller of a cloning, for the driver -------------------------------------------------------------

CloneCaller::CloneCaller(Host &host, Session &session, std::uint32_t id)
    : host_(host), session_(&session), id_(id), peer_(session.connection.peer()), mode_(session.mode) {}

void CloneCaller::order(const CloneOrder &order) {
  if (session_) host_.send(*session_, std::to_string(id_) + " " + wire::write_order(order));
}

bool CloneCaller::answered(CloneAnswer answer) {
  if (!handler_) return false;
  const auto handler = handler_;  // it may end the cloning, and itself with it
  handler(std::move(answer));
  return true;
}

}  // namespace gridcentric::host
