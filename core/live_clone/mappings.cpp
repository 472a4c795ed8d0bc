// See mappings.hpp. Runs while threads are parked: see sys.hpp.
#include "mappings.hpp"

#include <sys/ioctl.h>

#include "engine.hpp"

namespace gridcentric::live_clone {
namespace {

/// struct procmap_query of linux/fs.h, Linux 6.11.
struct Query {
  uint64_t size, flags, address;
  uint64_t start, end, mapping_flags, page_size, offset, inode;
  uint32_t major, minor, name_size, build_id_size;
  char *name;
  uint64_t build_id;
};

constexpr unsigned long procmap_query = _IOWR('f', 17, Query);
enum : uint64_t { readable = 1, writable = 2, executable = 4, shared = 8, or_next = 16, of_a_file = 32 };
constexpr uint32_t longest_name = 4096 + 16;  // a path, and " (deleted)"

class Mappings {
 public:
  Mappings() : fd_(sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0)) {}
  ~Mappings() { sys(SYS_close, fd_); }
  Mappings(const Mappings &) = delete;
  Mappings &operator=(const Mappings &) = delete;

  /// 0, or -errno; -ENOENT: there is none. `name`: longest_name + 1 bytes for its name, which ends with a line end as in
  /// /proc/self/maps; null: not wanted, which is faster.
  long find(Query *q, uint64_t address, uint64_t flags, char *name) const {
    *q = {};
    q->size = sizeof *q;
    q->flags = flags;
    q->address = address;
    q->name = name;
    q->name_size = name ? longest_name : 0;
    const long r = sys(SYS_ioctl, fd_, procmap_query, q);
    if (r == 0 && name) {
      const size_t length = q->name_size ? q->name_size - 1 : 0;  // without its end
      name[length] = '\n';
      name[length + 1] = 0;
    }
    return r;
  }

 private:
  const long fd_;
};

bool is_data_of_kernel(const char *name) { return after(name, "[vvar"); }
bool is_code_of_kernel(const char *name) { return after(name, "[vdso]"); }

// False: it is not where the program was told that it is.
bool find_kernel_pages(const Mappings &mappings, char *name, KernelPages *kernel) {
  *kernel = {};
  if (!engine.prepared.libc.vdso) return true;
  Query q;
  if (mappings.find(&q, engine.prepared.libc.vdso, 0, name) < 0 || !is_code_of_kernel(name)) return false;
  *kernel = {q.start, q.end};
  while (mappings.find(&q, kernel->start - 1, 0, name) == 0 && is_data_of_kernel(name))
    kernel->start = q.start;
  return true;
}

// Devices without a disk have major number 0: only of those, and of shared mappings, does the name matter.
bool name_matters(const Query &q) { return (q.mapping_flags & shared) || q.major == 0; }

enum Asked { all_seen, refused, unanswered };

Asked ask_for_each(LookAt look, KernelPages *kernel) {
  char *const name = engine.scratch;
  const Space space{name + longest_name + 2, engine.scratch_size - longest_name - 2};
  const Mappings mappings;
  if (!find_kernel_pages(mappings, name, kernel)) return unanswered;
  Query q;
  for (uint64_t at = 0;; at = q.end) {
    const long r = mappings.find(&q, at, or_next | of_a_file, nullptr);
    if (r == -ENOENT) return all_seen;
    if (r < 0) return unanswered;
    if (!name_matters(q)) continue;
    if (mappings.find(&q, q.start, 0, name) < 0) return unanswered;
    const char permissions[] = {
        q.mapping_flags & readable ? 'r' : '-', q.mapping_flags & writable ? 'w' : '-',
        q.mapping_flags & executable ? 'x' : '-', q.mapping_flags & shared ? 's' : 'p'};
    const MapsLine line{q.start, q.end,       q.offset, (uint64_t)q.major << 32 | q.minor,
                        q.inode, permissions, name};
    if (!look(line, space)) return refused;
  }
}

bool read_all(LookAt look, KernelPages *kernel) {
  const Engine &e = engine;
  const long n = read_file("/proc/self/maps", e.scratch, e.scratch_size);
  if (n == -ENOBUFS) return fail_arena();
  if (n < 0) return fail((int)-n) << "/proc/self/maps can't be read", false;
  const Space space{e.scratch + n + 1, e.scratch_size - (size_t)n - 1};
  *kernel = {};
  MapsLine m;
  for (const char *p = e.scratch; *p;) {
    p = parse_maps_line(p, &m);
    if (is_data_of_kernel(m.name) || is_code_of_kernel(m.name)) {
      if (!kernel->start) kernel->start = m.start;
      kernel->end = m.end;
    } else if (!look(m, space)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool look_at_mappings(void (*begin)(), LookAt look, KernelPages *kernel) {
  begin();
  const Asked asked = ask_for_each(look, kernel);
  if (asked != unanswered) return asked == all_seen;
  begin();
  return read_all(look, kernel);
}

}  // namespace gridcentric::live_clone
