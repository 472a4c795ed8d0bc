#include "core/cli/usage.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace gridcentric::cli {
namespace {

// Pss of /proc/PID/smaps_rollup; -1 if it cannot be read (another user's, or gone). A process without an address space has 0.
std::int64_t pss_kib(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Pss:")) return std::atoll(line.c_str() + 4);
  }
  return -1;
}

}  // namespace

ProcessTable::ProcessTable() {
  DIR *folder = ::opendir("/proc");
  if (folder == nullptr) return;
  const std::int64_t ticks = ::sysconf(_SC_CLK_TCK);
  while (const dirent *entry = ::readdir(folder)) {
    const int pid = std::atoi(entry->d_name);
    if (pid <= 0) continue;
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(file, line);
    // The name (in parentheses) may hold anything, even a ")": look for the last one.
    const auto end = line.rfind(')');
    int parent = 0;
    long long user = 0, system = 0;
    if (end == std::string::npos ||
        std::sscanf(line.c_str() + end + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &parent,
                    &user, &system) != 3) {
      continue;
    }
    children_.emplace(parent, pid);
    cpu_ms_[pid] = (user + system) * 1000 / ticks;
  }
  ::closedir(folder);
}

Usage ProcessTable::usage_of(int root, const std::vector<int> &others) const {
  Usage usage;
  std::vector<int> todo = {root};
  while (!todo.empty()) {
    const int pid = todo.back();
    todo.pop_back();
    if (const std::int64_t pss = pss_kib(pid); pss >= 0)
      usage.pss_kib = std::max<std::int64_t>(usage.pss_kib, 0) + pss;
    if (const auto found = cpu_ms_.find(pid); found != cpu_ms_.end()) usage.cpu_ms += found->second;
    const auto [begin, end] = children_.equal_range(pid);
    for (auto child = begin; child != end; ++child) {
      if (std::find(others.begin(), others.end(), child->second) == others.end())
        todo.push_back(child->second);
    }
  }
  return usage;
}

}  // namespace gridcentric::cli
