#include "core/model/ledger.hpp"

#include <algorithm>

namespace gridcentric {

// All three are at most 2^31 - 1, so the products fit.
bool Ledger::possible(const Request &request) const {
  const std::int64_t least = request.minvms * request.mincpuspervm;
  return least <= request.maxcpus && least <= total_;
}

std::int64_t Ledger::vms_for(const Request &request) const {
  const std::int64_t vms = std::min(free_, request.maxcpus) / request.mincpuspervm;
  return vms < request.minvms ? 0 : vms;
}

void Ledger::wait_in_line(const Request &request) {
  place_.emplace(request.call, line_.insert(line_.end(), request));
}

void Ledger::leave_line(std::uint64_t call) {
  const auto found = place_.find(call);
  if (found == place_.end()) return;
  line_.erase(found->second);
  place_.erase(found);
}

std::optional<Ledger::Offer> Ledger::offer() const {
  const std::int64_t vms = line_.empty() ? 0 : vms_for(line_.front());
  if (vms == 0) return std::nullopt;
  return Offer{line_.front(), vms};
}

std::int64_t Ledger::take(std::int64_t vms) {
  const Request head = line_.front();
  leave_line(head.call);
  free_ -= vms * head.mincpuspervm;
  return vms * head.mincpuspervm;
}

}  // namespace gridcentric
