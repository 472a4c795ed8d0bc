// Orders: domains that listen for them, and those that were given and have no answer yet (docs/protocol.md, "Orders").
// It must not know: how a domain clones itself, when a ticket may be used or change hands. Belongs to the loop's thread.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "core/model/rules.hpp"
#include "core/wire/request.hpp"

namespace gridcentric::host {

class Host;
struct Session;

class Orders {
 public:
  explicit Orders(Host &host) : host_(host) {}

  // A domain's own process will carry out orders that come over this connection, instead of any before.
  void listen(Session &session, const wire::Request &request);
  // Somebody orders a domain of the family to clone itself.
  void give(Session &session, const wire::Request &request);
  // The listener's answer to an order.
  void answered(Session &session, const wire::Request &request);

  // The call is not waited for any more; what was ordered goes on.
  void take_back(CallId call);
  // The connection has closed, after its own calls were taken back.
  void closed(Session &session);

 private:
  struct Given {
    Session *listener;
    CallId call;  // 0: nobody waits for it
    DomainKey giver, domain;
    int giver_vmid;
    std::string ticket;
  };

  void refuse(Given &order, const Answer &answer);
  void report(Given &order);
  Session *listener_of(DomainKey domain) const;

  Host &host_;
  std::int64_t last_number_ = 0;
  std::map<std::int64_t, Given> given_;
  std::map<DomainKey, Session *> listeners_;
};

}  // namespace gridcentric::host
