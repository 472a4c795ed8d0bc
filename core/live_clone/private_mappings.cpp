// Mapped files below private folders (private_files.hpp). A file that the master has not changed is the same in all domains; one that
// it has changed is mapped again from the clone's own view, at the same address. Runs while threads are parked, or in a clone
// that has one thread: see sys.hpp.
#include <string.h>
#include <sys/mman.h>

#include "maps_line.hpp"
#include "private_files.hpp"
#include "program_memory.hpp"

namespace gridcentric::live_clone {

/// A mapped file that the master has changed.
struct PrivateMapping {
  uint64_t start, end, offset;
  int protection;
  bool shared;
  const char *path;
};

namespace {

// By a path up to the end of a line: in the folder, not the folder itself.
const PrivateFolder *folder_of_path(const char *path) {
  const Prepared &p = engine.prepared;
  for (size_t i = 0; i < p.private_folder_count; i++) {
    const char *rest = after(path, p.private_folders[i].path);
    if (rest && *rest == '/') return &p.private_folders[i];
  }
  return nullptr;
}

// A name of /proc/self/maps, where only line ends are escaped. False if it is too long.
bool read_name(const char *name, char (&path)[longest_path]) {
  size_t n = 0;
  for (; *name && *name != '\n'; n++) {
    if (n == longest_path - 1) return false;
    const char *escaped = after(name, "\\012");
    path[n] = escaped ? '\n' : *name;
    name = escaped ? escaped : name + 1;
  }
  path[n] = 0;
  return true;
}

bool is_regular(const char *path) {
  struct stat st {};
  return sys(SYS_newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         (st.st_mode & S_IFMT) == S_IFREG;
}

// Is there a changed copy of the file? Others never change under a mapping.
bool is_changed(const PrivateFolder &folder, const char *path) {
  char copy[longest_path + 128];
  Text(copy, sizeof copy) << engine.prepared.store << "/" << changes_name << folder.number
                          << after(path, folder.path);
  return is_regular(copy);
}

// Calls use(line, path) for each mapping of a changed file that has a name.
template <typename Use>
bool each_changed_mapping(Use use) {
  Engine &e = engine;
  const long n = read_file("/proc/self/maps", e.scratch, e.scratch_size);
  if (n == -ENOBUFS) return fail_arena();
  if (n < 0) return fail((int)-n) << "/proc/self/maps can't be read", false;
  MapsLine line;
  char path[longest_path];
  for (const char *p = e.scratch; *p;) {
    p = parse_maps_line(p, &line);
    const PrivateFolder *folder = folder_of_path(line.name);
    if (folder && read_name(line.name, path) && is_changed(*folder, path) && !use(line, path)) return false;
  }
  return true;
}

bool fail_mapping(long r, const PrivateMapping &m) {
  (fail((int)-r) << "a mapped file can't be mapped in the clone (error " << -r << "): ").path(m.path);
  return false;
}

bool map_own_file(const PrivateMapping &m) {
  const int mode = m.shared && (m.protection & PROT_WRITE) ? O_RDWR : O_RDONLY;
  const long fd = sys(SYS_openat, AT_FDCWD, m.path, mode | O_CLOEXEC | O_NOFOLLOW, 0);
  if (fd < 0) return fail_mapping(fd, m);
  const long r = sys(SYS_mmap, m.start, m.end - m.start, m.protection,
                     (m.shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, fd, m.offset);
  sys(SYS_close, fd);
  return r >= 0 || fail_mapping(r, m);
}

// Pages that the program has written in a private mapping, which is now at `from`.
bool take_written_pages(const PrivateMapping &m, uint64_t from, const ProgramMemory &memory,
                        const PageMap &page_map) {
  auto *entries = reinterpret_cast<PageEntry *>(engine.scratch);
  const size_t capacity = engine.scratch_size / sizeof(PageEntry);
  for (uint64_t at = 0; at < m.end - m.start;) {
    size_t count = (m.end - m.start - at) / page_size;
    if (count > capacity) count = capacity;
    if (!page_map.read(from + at, entries, count)) return fail_mapping(-EIO, m);
    for (size_t i = 0; i < count; i++, at += page_size) {
      const bool written = (entries[i].present() || entries[i].swapped()) && !entries[i].of_file();
      if (written && !memory.write(m.start + at, reinterpret_cast<void *>(from + at), page_size))
        return fail_mapping(-EFAULT, m);
    }
  }
  return true;
}

// Truncating a file takes away the pages that others have written in private mappings, so a mapping of the clone's own file
// takes the place of the old one, which moves aside for a moment.
bool replace_private(const PrivateMapping &m, const ProgramMemory &memory, const PageMap &page_map) {
  const uint64_t size = m.end - m.start;
  const long aside =
      sys(SYS_mmap, nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (aside < 0) return fail_mapping(aside, m);
  long r = sys(SYS_mremap, m.start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, aside);
  if (r >= 0) r = sys(SYS_mprotect, aside, size, PROT_READ);
  const bool ok = r < 0 ? fail_mapping(r, m)
                        : map_own_file(m) && take_written_pages(m, (uint64_t)aside, memory, page_map);
  sys(SYS_munmap, aside, size);
  return ok;
}

// The engine cannot take its own library away from under itself. Its pages become the clone's own where they are.
bool own_pages(const PrivateMapping &m, const ProgramMemory &memory) {
  for (uint64_t at = m.start; at < m.end; at += page_size) {
    char byte;
    if (memory.read(at, &byte, 1) == 1 && !memory.write(at, &byte, 1)) return fail_mapping(-EFAULT, m);
  }
  return true;
}

// What is loaded with this code.
const char *path_of_engine() {
  const auto code = (uint64_t)&path_of_engine;
  for (size_t i = 0; i < engine.plan.private_mapping_count; i++) {
    const PrivateMapping &m = engine.plan.private_mappings[i];
    if (code >= m.start && code < m.end) return m.path;
  }
  return "";
}

}  // namespace

const PrivateFolder *folder_of_unnamed(const char *name) {
  const PrivateFolder *folder = folder_of_path(name);
  char path[longest_path];
  if (!folder || !find_in_line(name, " (deleted)") || !read_name(name, path)) return nullptr;
  return is_regular(path) ? nullptr : folder;
}

bool plan_private_mappings() {
  Plan &plan = engine.plan;
  plan.private_mapping_count = 0;
  size_t count = 0, text = 0;
  if (!each_changed_mapping(
          [&](const MapsLine &, const char *path) { return count++, text += strlen(path) + 1, true; }))
    return false;
  plan.private_mappings =
      static_cast<PrivateMapping *>(engine.arena.take(count * sizeof(PrivateMapping) + 1));
  auto *paths = static_cast<char *>(engine.arena.take(text + 1));
  if (!plan.private_mappings || !paths) return fail_arena();
  plan.private_mapping_count = 0;
  return each_changed_mapping([&](const MapsLine &line, const char *path) {
    if (plan.private_mapping_count == count) return false;
    memcpy(paths, path, strlen(path) + 1);
    plan.private_mappings[plan.private_mapping_count++] = {
        line.start, line.end, line.offset, protection_of(line), line.permissions[3] == 's', paths};
    paths += strlen(path) + 1;
    return true;
  });
}

bool rebuild_private_mappings() {
  if (!engine.plan.private_mapping_count) return true;
  const ProgramMemory memory;
  const PageMap page_map;
  if (memory.error() || page_map.error())
    return fail(EACCES) << "/proc/self/mem and /proc/self/pagemap can't be opened in the clone", false;
  const char *own = path_of_engine();
  for (size_t i = 0; i < engine.plan.private_mapping_count; i++) {
    const PrivateMapping &m = engine.plan.private_mappings[i];
    const bool ok = m.shared                 ? map_own_file(m)
                    : same_text(m.path, own) ? own_pages(m, memory)
                                             : replace_private(m, memory, page_map);
    if (!ok) return false;
  }
  return true;
}

}  // namespace gridcentric::live_clone
