#include "core/guest/machine_page.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace gridcentric::guest {
namespace {

const MachinePage *map_page() {
  const char *host = std::getenv("GRIDCENTRIC_HOST");
  if (host != nullptr && *host != '\0' && std::string("unix:") + machine_host_path != host) return nullptr;
  const int fd = ::open(machine_page_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  const bool whole = ::lseek(fd, 0, SEEK_END) >= static_cast<off_t>(sizeof(MachinePage));
  void *page = whole ? ::mmap(nullptr, sizeof(MachinePage), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
  ::close(fd);
  return page == MAP_FAILED ? nullptr : static_cast<const MachinePage *>(page);
}

const MachinePage *page() noexcept {
  static const MachinePage *mapped = map_page();
  return mapped;
}

std::string text(const char *field, std::size_t size) { return {field, ::strnlen(field, size)}; }

}  // namespace

bool in_machine() noexcept { return page() != nullptr; }

std::uint32_t machine_generation() noexcept {
  return in_machine() ? page()->generation.load(std::memory_order_acquire) : 0;
}

MachineIdentity machine_identity() {
  const MachinePage &mine = *page();
  for (;;) {
    const std::uint32_t before = machine_generation();
    MachineIdentity identity{text(mine.family, sizeof mine.family), mine.vmid, mine.parent,
                             text(mine.ip, sizeof mine.ip), text(mine.hypervisor, sizeof mine.hypervisor)};
    // This thread may have been frozen in the middle of it and gone on in a clone. Only then is the page written: it is
    // the compiler that must not look at the generation first.
    std::atomic_signal_fence(std::memory_order_acquire);
    if (machine_generation() == before) return identity;
  }
}

void wait_for_other_machine(std::uint32_t known) noexcept {
  while (machine_generation() == known)
    ::syscall(SYS_futex, &page()->generation, FUTEX_WAIT, known, nullptr, nullptr, 0);
}

}  // namespace gridcentric::guest
