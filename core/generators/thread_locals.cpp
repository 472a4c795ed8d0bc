#include "core/generators/thread_locals.hpp"

#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <cstring>

extern "C" __attribute__((weak)) const char *gnu_get_libc_version(void);

namespace gridcentric::generators {
namespace {

// The vector of a thread's blocks has an entry per library; the first has a count, and the one before it the vector's length.
struct Block {
  std::uintptr_t address;
  std::uintptr_t allocated;
};
#if defined(__x86_64__)
constexpr std::size_t vector_at = 8;  // tcbhead_t: tcb, dtv
#else
constexpr std::size_t vector_at = 0;  // dtv, private
#endif
constexpr std::uintptr_t not_allocated = ~std::uintptr_t{0};

template <typename Visit>
void for_each_block(Visit visit) {
  ::dl_iterate_phdr(
      [](dl_phdr_info *loaded, std::size_t, void *data) {
        if (loaded->dlpi_tls_data == nullptr) return 0;
        for (int i = 0; i < loaded->dlpi_phnum; ++i) {
          const auto &segment = loaded->dlpi_phdr[i];
          if (segment.p_type != PT_TLS) continue;
          (*static_cast<Visit *>(data))(loaded->dlpi_tls_modid,
                                        reinterpret_cast<std::uintptr_t>(loaded->dlpi_tls_data),
                                        segment.p_memsz);
        }
        return 0;
      },
      &visit);
}

}  // namespace

OwnMemory::OwnMemory() : fd_(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC)) {}

OwnMemory::~OwnMemory() {
  if (fd_ >= 0) ::close(fd_);
}

bool OwnMemory::read(std::uintptr_t from, void *to, std::size_t size) const {
  return fd_ >= 0 && ::pread(fd_, to, size, static_cast<off_t>(from)) == static_cast<ssize_t>(size);
}

std::uintptr_t own_thread_pointer() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
}

ThreadLocal thread_local_at(const void *mine) {
  ThreadLocal found;
  const auto wanted = reinterpret_cast<std::uintptr_t>(mine);
  for_each_block([&](std::size_t module, std::uintptr_t start, std::size_t size) {
    if (wanted >= start && wanted - start < size) found = {module, wanted - start};
  });
  return found;
}

std::vector<ThreadLocal> thread_locals_with(std::uintptr_t value) {
  std::vector<ThreadLocal> found;
  for_each_block([&](std::size_t module, std::uintptr_t start, std::size_t size) {
    for (std::size_t offset = -start % sizeof value; offset + sizeof value <= size; offset += sizeof value) {
      if (std::memcmp(reinterpret_cast<const void *>(start + offset), &value, sizeof value) == 0)
        found.push_back({module, offset});
    }
  });
  return found;
}

std::uintptr_t address_in(const OwnMemory &memory, std::uintptr_t thread_pointer, ThreadLocal object) {
  std::uintptr_t vector = 0, length = 0;
  Block block{};
  if (&gnu_get_libc_version == nullptr || object.module == 0) return 0;
  if (!memory.read(thread_pointer + vector_at, &vector, sizeof vector) ||
      !memory.read(vector - sizeof(Block), &length, sizeof length) || object.module > length ||
      !memory.read(vector + object.module * sizeof(Block), &block, sizeof block))
    return 0;
  return block.address == 0 || block.address == not_allocated ? 0 : block.address + object.offset;
}

}  // namespace gridcentric::generators
