#include "core/host/descriptors.hpp"

#include <dirent.h>
#include <sys/resource.h>

#include <limits>

namespace gridcentric::host {
namespace {

// -1: not known.
std::int64_t count_open() {
  DIR *folder = opendir("/proc/self/fd");
  if (!folder) return -1;
  std::int64_t count = -3;  // ".", ".." and the folder's own
  while (readdir(folder)) ++count;
  closedir(folder);
  return count;
}

}  // namespace

std::int64_t descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > std::numeric_limits<std::int32_t>::max())
    return std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int64_t>(limit.rlim_cur);
}

std::int64_t free_descriptors(std::int64_t known, std::int64_t wanted) {
  const std::int64_t limit = descriptor_limit();
  if (known + wanted < limit / 2) return limit - known;
  const std::int64_t open = count_open();
  // Without a descriptor left there is nothing to count with.
  return open < 0 ? 0 : limit - open;
}

}  // namespace gridcentric::host
