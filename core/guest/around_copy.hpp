// For clone.cpp: brackets the copying of this process with the handlers of around_copy() (client.hpp).
// It must not know: what the handlers hold still.
#pragma once

#include <functional>

namespace gridcentric::guest {

// Made right before the process is copied, ended in the caller as soon as its threads run again and in each
// clone after the handlers of on_clone(). What a handler throws leaves the constructor, after those that had
// begun have ended.
class AroundCopy {
 public:
  AroundCopy();
  ~AroundCopy();
  /// Ends, waits and begins anew: the program goes on meanwhile.
  void let_go_during(const std::function<void()> &wait);
  /// Ends before its time: in the caller, whose threads run again.
  void end() noexcept;
  AroundCopy(const AroundCopy &) = delete;
  AroundCopy &operator=(const AroundCopy &) = delete;
};

}  // namespace gridcentric::guest
