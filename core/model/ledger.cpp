#include "core/model/ledger.hpp"

#include <algorithm>

namespace gridcentric {

// All three are at most 2^31 - 1, so the products fit.
bool Ledger::possible(const Request &request) const {
  const std::int64_t least = request.minvms * request.mincpuspervm;
  return least <= request.maxcpus && least <= total_;
}

std::int64_t Ledger::take(const Request &request) {
  const std::int64_t vms = std::min(free_, request.maxcpus) / request.mincpuspervm;
  if (vms < request.minvms) return 0;
  free_ -= vms * request.mincpuspervm;
  return vms * request.mincpuspervm;
}

std::int64_t Ledger::take_now(const Request &request) { return line_.empty() ? take(request) : 0; }

void Ledger::wait_in_line(const Request &request) {
  place_.emplace(request.call, line_.insert(line_.end(), request));
}

void Ledger::leave_line(std::uint64_t call) {
  const auto found = place_.find(call);
  if (found == place_.end()) return;
  line_.erase(found->second);
  place_.erase(found);
}

std::vector<Ledger::Grant> Ledger::serve() {
  std::vector<Grant> grants;
  while (!line_.empty()) {
    const std::int64_t cpus = take(line_.front());
    if (cpus == 0) break;
    grants.push_back({line_.front().call, cpus});
    place_.erase(line_.front().call);
    line_.pop_front();
  }
  return grants;
}

}  // namespace gridcentric
