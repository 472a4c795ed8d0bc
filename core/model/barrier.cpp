#include "core/model/barrier.hpp"

#include <algorithm>
#include <utility>

namespace gridcentric {

Barrier::Arrival Barrier::arrive(std::uint64_t member, std::uint64_t call) {
  if (broken_) return Arrival::broken;
  if (!present_.insert(member).second) return Arrival::twice;
  calls_.push_back(call);
  return calls_.size() == members_ ? Arrival::passes : Arrival::waits;
}

void Barrier::withdraw(std::uint64_t member, std::uint64_t call) {
  const auto found = std::find(calls_.begin(), calls_.end(), call);
  if (found == calls_.end()) return;
  calls_.erase(found);
  present_.erase(member);
}

Barrier::Calls Barrier::start_anew() {
  present_ = {};  // gives the buckets back: a thousand idle barriers cost nothing
  return std::exchange(calls_, {});
}

Barrier::Calls Barrier::break_for_ever() {
  broken_ = true;
  return start_anew();
}

}  // namespace gridcentric
