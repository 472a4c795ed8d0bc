// The CPUs of the host and the line of those who wait for them. Strictly first come, first served (rule 11).
// Knows neither tickets nor domains: a request is a call, a grant a number of CPUs.
#pragma once
#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

namespace gridcentric {

class Ledger {
 public:
  struct Request {
    std::uint64_t call;
    std::int64_t maxcpus;
    std::int64_t minvms;
    std::int64_t mincpuspervm;
  };
  struct Grant {
    std::uint64_t call;
    std::int64_t cpus;
  };

  explicit Ledger(std::int64_t cpus) : total_(cpus), free_(cpus) {}

  std::int64_t total() const { return total_; }
  std::int64_t free() const { return free_; }
  std::size_t waiting() const { return line_.size(); }

  // Would it ever be granted (rule 1)?
  bool possible(const Request &request) const;
  // The CPUs taken, 0 when somebody waits already or there are not enough.
  std::int64_t take_now(const Request &request);
  void wait_in_line(const Request &request);
  void leave_line(std::uint64_t call);  // ignored when it is not in line
  void give_back(std::int64_t cpus) { free_ += cpus; }
  // Those at the head that can be served now leave the line with their CPUs. Due after each give_back and
  // leave_line.
  std::vector<Grant> serve();

 private:
  std::int64_t take(const Request &request);

  std::int64_t total_;
  std::int64_t free_;
  std::list<Request> line_;
  std::unordered_map<std::uint64_t, std::list<Request>::iterator> place_;
};

}  // namespace gridcentric
