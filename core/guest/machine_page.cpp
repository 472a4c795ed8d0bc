#include "core/guest/machine_page.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace gridcentric::guest {
namespace {

const MachinePage *map_page() {
  const char *path = std::getenv("GRIDCENTRIC_IDENTITY");
  if (path == nullptr) return nullptr;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void *page = ::mmap(nullptr, sizeof(MachinePage), PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  return page == MAP_FAILED ? nullptr : static_cast<const MachinePage *>(page);
}

}  // namespace

std::uint32_t machine_generation() noexcept {
  static const MachinePage *page = map_page();
  return page == nullptr ? 0 : page->generation.load(std::memory_order_acquire);
}

}  // namespace gridcentric::guest
