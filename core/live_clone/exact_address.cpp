// Maps a file at a given address although the kernel does not let us choose it: since Linux 6.4 the kernel picks the address
// of a ring itself, but the cloned program knows the old one. The kernel takes the first free range that is large enough, so
// all that come before the wanted one are filled for a moment. Runs in a clone whose threads do not run yet: see sys.hpp.
#include <sys/mman.h>

#include "engine.hpp"

namespace gridcentric::live_clone {

/// A mapping that occupies what the kernel would take first.
struct Filler {
  uint64_t start, size;
};

namespace {

constexpr uint64_t page = 4096;
constexpr uint64_t largest_filler = uint64_t(1) << 46;

long reserve(uint64_t at, uint64_t size) {
  return sys(SYS_mmap, at, size, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
}

// The wanted range is occupied meanwhile. Fills every free range on that side of it, large ones first.
bool fill_beyond(uint64_t wanted, bool above) {
  for (uint64_t size = largest_filler; size >= page; size /= 2)
    for (;;) {
      const long got = reserve(0, size);
      if (got < 0) break;
      if (((uint64_t)got > wanted) != above) {
        sys(SYS_munmap, got, size);
        break;
      }
      Filler *f = engine.plan.fillers.add(engine.arena);
      if (!f) return sys(SYS_munmap, got, size), false;
      *f = {(uint64_t)got, size};
    }
  return true;
}

}  // namespace

long map_at_exactly(uint64_t start, uint64_t size, int protection, long fd, uint64_t offset) {
  const long asked = sys(SYS_mmap, start, size, protection, MAP_SHARED | MAP_FIXED, fd, offset);
  if (asked != -EINVAL) return asked;
  for (int attempt = 0; attempt < 2; attempt++) {
    sys(SYS_munmap, start, size);
    const long got = sys(SYS_mmap, nullptr, size, protection, MAP_SHARED, fd, offset);
    if (got < 0 || (uint64_t)got == start) return got;
    sys(SYS_munmap, got, size);
    const long taken = reserve(start, size);
    if (taken < 0 || attempt || !fill_beyond(start, (uint64_t)got > start)) break;
  }
  return -ENOMEM;
}

void end_exact_mapping() {
  for (const Filler &f : engine.plan.fillers) sys(SYS_munmap, f.start, f.size);
  engine.plan.fillers = {};
}

}  // namespace gridcentric::live_clone
