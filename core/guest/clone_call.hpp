// The call `clone` as the guest and its host talk it through (docs/protocol.md, "Cloning").
// It must not know: why something fails, handlers and hooks, how a process is copied.
#pragma once
#include <gridcentric/cloning.hpp>
#include <string>
#include <variant>

#include "core/guest/exchange.hpp"
#include "core/live_clone/live_clone.hpp"

namespace gridcentric::guest {

// The clones are there, made by the hypervisor: 0 in the caller, the vmid in each clone.
struct Cloned {
  int vmid;
};

class CloneCall {
 public:
  CloneCall(const std::string &ticket, Call *call);

  // What the host says to the request: an order to this process to clone itself, or that it has been done. Throws the host's
  // refusal, error_cancelled, a broken connection. A cancel that crossed the answer has lost: the clones are there.
  std::variant<Cloned, CloneOrder> reply();

  // After an order. From here on the call can't be taken back.
  void make_final() { exchange_.make_final(); }
  // There will be no clones. Throws the error that the host makes of it.
  [[noreturn]] void fail(int error, const std::string &reason);
  // The same, where the caller throws what it knows better.
  void report_failure(int error, const std::string &reason);
  // The clones are held: hands them over; returns when the host knows them.
  void hand_over(const live_clone::Outcome &outcome);

  // Has this process become another domain since the call began?
  bool became_clone() const { return exchange_.lease().became_clone(); }
  Error broken() const { return exchange_.lease().broken(); }

 private:
  Exchange exchange_;
};

}  // namespace gridcentric::guest
