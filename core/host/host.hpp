// The host: guests' lines become calls of the rules, what the rules say becomes replies and orders to the
// driver. Decides nothing itself. Split over: host.cpp (connections, handshake, events), domain_calls.cpp,
// observer_calls.cpp; the channel of tests: control.hpp. Belongs to the loop's thread.
#pragma once
#include <gridcentric/hypervisor.hpp>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/host/connection.hpp"
#include "core/host/epoll_loop.hpp"
#include "core/model/rules.hpp"
#include "core/model/uuid.hpp"
#include "core/wire/request.hpp"

namespace gridcentric::host {

class CloneCaller;
class Control;
class Orders;

// A numeric argument; its range is the rules' business. INVALID_ARGUMENT names it.
Answer read_number(const char *name, std::string_view text, std::int64_t *value);
// The same with its range.
Answer read_range(const char *name, std::string_view text, std::int64_t low, std::int64_t high,
                  std::int64_t *value);
inline constexpr std::int64_t int32_max = 2147483647;

// One guest's conversation.
struct Session {
  Session(EpollLoop &loop, int fd, Peer peer, Connection::Handler &handler)
      : connection(loop, fd, peer, handler) {}

  Connection connection;
  bool greeted = false;
  wire::Role role{};
  DomainKey domain = 0;         // 0: none
  bool is_domains_own = false;  // not a child of it
  std::string mode, why;        // how it said it can be cloned, and why so
  std::uint64_t hello_timer = 0;
  std::unordered_map<std::uint32_t, CallId> open;  // ID -> call
};

class Host final : public Connection::Handler, public Hypervisor::Listener {
 public:
  struct Options {
    std::int64_t cpus;
    std::uint64_t seed;
    std::string relay_secret;
    bool ends_with_family;  // private: when the last family and the last connection are gone
  };

  // control: nullptr but for tests.
  Host(EpollLoop &loop, Hypervisor &hypervisor, const Options &options,
       std::unique_ptr<Control> control = nullptr);
  ~Host() override;

  // A connection was accepted; the descriptor becomes the host's.
  void accepted(int fd, const Peer &peer);
  // What is left to do at the end of a turn of the loop: replies go out, closed sessions are freed.
  void end_of_turn();
  bool had_family() const { return had_family_; }

 private:
  struct OpenCall {
    Session *session;
    std::uint32_t id;
    std::string_view verb;
    std::shared_ptr<CloneCaller> caller;  // of clone, once the driver has it
  };
  friend class CloneCaller;
  friend class Control;
  friend class Orders;

  // Connection::Handler, Hypervisor::Listener
  void line(Connection &connection, std::string_view line) override;
  void line_too_long(Connection &connection, std::string_view beginning) override;
  void closed(Connection &connection) override;
  void ended(DomainKey domain, EndKind how, int status) override;
  void room() override;
  NewFamily new_family(const std::string &name, OnExit on_exit) override;
  void bye(DomainKey master) override { rules_.bye(master); }

  // Handshake
  void hello(Session &session, std::string_view line);
  bool is_relay(const wire::Hello &hello) const;
  Answer take_role(Session &session, const wire::Hello &hello);
  Answer join_family(Session &session, const wire::Hello &hello);
  std::string introduction(const Session &session) const;

  // Replies
  void send(Session &session, std::string_view line);
  void ok(Session &session, std::uint32_t id, std::string_view verb, std::string_view fields = "");
  void list(Session &session, std::uint32_t id, std::string_view verb, const std::vector<std::string> &items);
  void refuse(Session &session, std::uint32_t id, std::string_view verb, const Answer &answer);
  void answer(Session &session, const wire::Request &request, const Answer &answer);  // ok or error
  bool lose_reply(Session &session, std::string_view verb);

  // Requests
  void request(Session &session, std::string_view line);
  void run(Session &session, const wire::Request &request);
  void run_domain_call(Session &session, const wire::Request &request);
  // A number for a call that waits; nullopt: refused, too many are open.
  std::optional<CallId> number_call(Session &session, const wire::Request &request);
  std::optional<CallId> open_call(Session &session, const wire::Request &request);
  void take_back(CallId call);
  // Are there descriptors for this many clones more, beside those that are promised? Else CLONE_FAILED, and *most is how many.
  Answer check_descriptors(std::int64_t clones, std::int64_t promised, std::int64_t *most) const;
  void request_ticket(Session &session, const wire::Request &request, std::int64_t maxcpus,
                      std::int64_t minvms, std::int64_t mincpuspervm, std::int64_t timeout);
  void answer_order(Session &session, const wire::Request &request);
  void info(Session &session, const wire::Request &request);
  void kill_domain(Session &session, const wire::Request &request);
  void list_all(Session &session, const wire::Request &request);
  void whoami(Session &session, const wire::Request &request);
  void join(Session &session, const wire::Request &request);
  void cancel(Session &session, const wire::Request &request);
  void list_tickets(Session &session, const wire::Request &request);
  void list_domains(Session &session, const wire::Request &request);
  Answer find_domain(std::string_view family, std::string_view vmid, DomainKey *domain) const;
  std::string domain_fields(const DomainInfo &domain) const;   // VMID PARENT IP TICKET STATE
  static std::string ticket_fields(const TicketInfo &ticket);  // UUID STATUS CPUS VMS MINCPUSPERVM
  std::string address(DomainKey domain) const;                 // "-": none

  // The wheel
  void settle();
  void carry_out(Event &event);
  void schedule_deadline();

  EpollLoop &loop_;
  Hypervisor &hypervisor_;
  const Options options_;
  Rules rules_;
  CallId last_call_ = 0;
  bool settling_ = false;
  bool had_family_ = false;
  std::unordered_map<DomainKey, int> promised_;  // clones that reserved tickets are for
  std::int64_t being_made_ = 0;                  // clones
  std::unordered_map<Connection *, std::unique_ptr<Session>> sessions_;
  std::vector<std::unique_ptr<Session>> closed_sessions_;
  std::unordered_set<Session *> unflushed_;
  std::unordered_map<DomainKey, std::set<Session *>> sessions_of_;
  std::unordered_map<CallId, OpenCall> calls_;
  std::unique_ptr<Orders> orders_;
  std::unique_ptr<Control> control_;
  std::optional<std::int64_t> scheduled_;
  std::uint64_t deadline_timer_ = 0;
};

// The open `clone` call as the driver sees it. Outlives the call and its session.
class CloneCaller final : public Caller {
 public:
  CloneCaller(Host &host, Session &session, std::uint32_t id);
  Peer peer() const override { return peer_; }
  std::string mode() const override { return mode_; }
  void order(const CloneOrder &order) override;
  void on_answer(std::function<void(CloneAnswer)> handler) override { handler_ = std::move(handler); }

  void detach() { session_ = nullptr; }
  void done() { handler_ = nullptr; }
  // False: the driver expects no answer.
  bool answered(CloneAnswer answer);

 private:
  Host &host_;
  Session *session_;
  std::uint32_t id_;
  Peer peer_;
  std::string mode_;
  std::function<void(CloneAnswer)> handler_;
};

}  // namespace gridcentric::host
