// See mapped_files.hpp. Runs while threads are parked: see sys.hpp.
#include "mapped_files.hpp"

#include "sys.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr const char *own_memory[] = {"/memfd:", "/SYSV", "/dev/zero (deleted)", "/anon_hugepage",
                                      "/dev/shm/"};
constexpr const char *memory_types[] = {" - tmpfs ", " - ramfs ", " - hugetlbfs "};

// A line: "36 35 98:0 /root /where rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
bool is_memory_mount(const char *mounts, uint64_t device) {
  for (const char *p = mounts; *p; p = next_line(p)) {
    unsigned long id, parent, major, minor;
    p = parse_dec(parse_dec(p, &id) + 1, &parent) + 1;
    p = parse_dec(parse_dec(p, &major) + 1, &minor);
    if ((major << 32 | minor) != device) continue;
    for (const char *type : memory_types)
      if (find_in_line(p, type)) return true;
  }
  return false;
}

}  // namespace

bool is_program_memory(const char *name, uint64_t device, char *space, size_t size) {
  for (const char *own : own_memory)
    if (after(name, own)) return true;
  // A file in memory that still has a name is meant for others to open.
  if (!find_in_line(name, " (deleted)") || read_file("/proc/self/mountinfo", space, size) < 0) return false;
  return is_memory_mount(space, device);
}

}  // namespace gridcentric::live_clone
