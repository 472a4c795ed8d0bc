// The part of the preflight that examines private folders (core/private_files) and what is open below them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "live_clone.hpp"

namespace gridcentric::live_clone {

/// The private folders of the process with this folder in /proc. Says what the plan (private_files.cpp) would do.
class PrivateFoldersSeen {
 public:
  explicit PrivateFoldersSeen(std::string proc);

  /// Is it an open file below one, by its fdinfo?
  bool holds(const std::string &fdinfo) const;
  /// Of the process itself.
  std::vector<Refusal> refusals() const;
  /// Of a descriptor; "" if it follows. `degraded`: what a clone would lack, or "".
  std::string why_not(int fd, const std::string &link, std::string *degraded) const;

 private:
  bool leads_to(const std::string &link, const std::string &seen) const;

  const std::string proc_;
  std::set<unsigned long long> mounts_;
};

}  // namespace gridcentric::live_clone
