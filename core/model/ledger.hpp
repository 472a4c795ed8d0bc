// The CPUs of the host and the line of those who wait for them. Strictly first come, first served (rule 11).
// Knows neither tickets nor domains: a request is a call, an offer the VMs that there are CPUs for.
#pragma once
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

namespace gridcentric {

class Ledger {
 public:
  struct Request {
    std::uint64_t call;
    std::int64_t maxcpus;
    std::int64_t minvms;
    std::int64_t mincpuspervm;
  };
  struct Offer {
    Request request;
    std::int64_t vms;
  };

  explicit Ledger(std::int64_t cpus) : total_(cpus), free_(cpus) {}

  std::int64_t total() const { return total_; }
  std::int64_t free() const { return free_; }
  std::size_t waiting() const { return line_.size(); }

  // Would there ever be CPUs enough for it (rule 1)?
  bool possible(const Request &request) const;
  // Nobody waits, and there are CPUs for it.
  bool at_once(const Request &request) const { return line_.empty() && vms_for(request) > 0; }
  void wait_in_line(const Request &request);
  void leave_line(std::uint64_t call);  // ignored when it is not in line
  // The head of the line, when there are CPUs for it. It stays where it is, and they stay free, until take().
  std::optional<Offer> offer() const;
  // The head of the line leaves it with the CPUs of that many VMs; how many CPUs that is.
  std::int64_t take(std::int64_t vms);
  void give_back(std::int64_t cpus) { free_ += cpus; }

 private:
  std::int64_t vms_for(const Request &request) const;  // 0: too few

  std::int64_t total_;
  std::int64_t free_;
  std::list<Request> line_;
  std::unordered_map<std::uint64_t, std::list<Request>::iterator> place_;
};

}  // namespace gridcentric
