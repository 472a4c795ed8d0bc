// The control channel of a host for tests (docs/protocol.md, "Control"): it drives the clock, scripts the hypervisor and sees
// everything. A host that is not made with one has no such channel. Belongs to the loop's thread.
#pragma once
#include <cstdint>
#include <gridcentric/hypervisor.hpp>
#include <map>
#include <string>
#include <string_view>

#include "core/model/rules.hpp"
#include "core/wire/request.hpp"

namespace gridcentric::host {

class Host;
struct Session;

class Control {
 public:
  explicit Control(Hypervisor &hypervisor);
  void belongs_to(Host &host) { host_ = &host; }

  // A tester's request.
  void run(Session &session, const wire::Request &request);
  // Is this reply scripted to be lost? Asked once for each.
  bool loses_reply(const Session &session, std::string_view verb);
  void take_back(CallId call) { awaits_.erase(call); }
  // Testers that wait for calls to be open are answered when they are.
  void answer_awaits();

 private:
  struct Await {
    Session *session;
    std::uint32_t id;
    Verb verb;
    std::size_t count;
  };

  void await(Session &session, const wire::Request &request);
  void advance(Session &session, const wire::Request &request);
  void fault(Session &session, const wire::Request &request);
  void end_scripted(Session &session, const wire::Request &request);
  void dump(Session &session, const wire::Request &request, bool only_domains);
  void forget_everything(Session &but, bool control_too);

  Host *host_ = nullptr;
  Script *script_;  // nullptr: the hypervisor can't be scripted
  std::map<CallId, Await> awaits_;
  std::map<std::string, int, std::less<>> lost_replies_;  // by verb
};

}  // namespace gridcentric::host
