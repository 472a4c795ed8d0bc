// What domains use: memory (PSS) and CPU time of a process and all its descendants, from /proc.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

namespace gridcentric::cli {

struct Usage {
  std::int64_t pss_kib = -1;  // -1: could not be read
  std::int64_t cpu_ms = 0;    // of the processes that still live
};

// Reads /proc once, for any number of domains.
class ProcessTable {
 public:
  ProcessTable();
  // The process and its descendants, without those of other domains, whose roots are `others`.
  Usage usage_of(int pid, const std::vector<int> &others) const;

 private:
  std::multimap<int, int> children_;  // parent -> child
  std::map<int, std::int64_t> cpu_ms_;
};

}  // namespace gridcentric::cli
