// Work that is due at a time, in the order of time and, at the same time, of asking. Knows no clock.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

namespace gridcentric::host {

class Timers {
 public:
  std::uint64_t add(std::int64_t when_ms, std::function<void()> work);
  void cancel(std::uint64_t id);  // ignored when it has run
  std::optional<std::int64_t> next() const;
  // Takes out the first that is due; empty when none is.
  std::function<void()> take_due(std::int64_t now_ms);
  void clear();

 private:
  std::uint64_t last_id_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, std::function<void()>> work_;
  std::unordered_map<std::uint64_t, std::int64_t> when_;
};

}  // namespace gridcentric::host
