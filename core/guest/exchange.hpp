// One call on the wire: a request, the lines of its reply, and taking it back.
// It must not know: which call it is.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/guest/connection_pool.hpp"

namespace gridcentric::guest {

class Exchange {
 public:
  struct Line {
    std::string word;  // "item", "ok", "fork"; an error is thrown instead
    std::string rest;  // its fields
  };

  // Sends the request (verb and arguments). Throws what Lease throws.
  // timeout: that of the call, negative for ever. It is the host's to keep; next() throws TIMED_OUT when it is long over and
  // the host does not answer at all.
  Exchange(std::string_view request, Call *call, int timeout = -1);

  // The next line of the reply. Throws the host's error, a broken connection as Lease::broken() has it, error_cancelled.
  // When the call was cancelled (or its hook threw) it has been taken back by the time this throws.
  Line next();
  // From here on the call cannot be taken back.
  void make_final() { call_ = nullptr; }
  // A line of the guest within the call, with descriptors; the ID is put before it.
  void answer(std::string_view line, std::span<const int> descriptors = {});

  // The reply "ok" crossed the cancel: its fields, else "". Only after next() threw.
  bool won() const { return won_; }
  const std::string &won_fields() const { return won_fields_; }
  const Lease &lease() const { return lease_; }

 private:
  void take_back();

  Call *call_;
  Patience patience_;
  Lease lease_;
  bool won_ = false;
  std::string won_fields_;
};

// A whole call: the fields of its items, and those of its "ok" as the last element.
std::vector<std::string> call_host(std::string_view request, Call *call, int timeout = -1);

// The same on a connection that is nobody's domain ("observe"). Throws Disconnected too, also after wait_ms of silence.
std::vector<std::string> call_observed(Connection &connection, std::string_view request, int wait_ms);

}  // namespace gridcentric::guest
