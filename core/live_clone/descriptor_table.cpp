// The table of open descriptors: every descriptor of the parked master with its kind, and which of them are duplicates of
// one open file. Knows what they are, not how they are carried over (descriptors.cpp). Runs while threads are parked: see
// sys.hpp.
#include <linux/kcmp.h>
#include <string.h>
#include <sys/stat.h>

#include "descriptor.hpp"
#include "private_files.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

long same_file(int a, int b) {
  return sys(SYS_kcmp, engine.prepared.pid, engine.prepared.pid, KCMP_FILE, a, b);
}

uint64_t device_in_maps(uint64_t device) {
  return ((device >> 8 & 0xfff) | (device >> 32 & ~0xfffUL)) << 32 |
         ((device & 0xff) | (device >> 12 & 0xffffff00));
}

bool classify_file(Descriptor &d, const char *link, const struct stat &st) {
  const unsigned mode = st.st_mode & S_IFMT;
  if (const char *why = refused_file(link)) {
    Text text = fail(EOPNOTSUPP);
    return tell_refused(text, d.fd, why), false;
  }
  d.kind = Kind::kept;
  if (const PrivateFolder *folder = private_folder_of(d.fd)) {
    if (!classify_private_file(d, *folder, st)) return false;
    if (d.kind != Kind::kept) return true;
  } else if (!after(link, "/proc/") && !classify_folder_outside(d, st)) {
    return false;
  }
  if ((d.flags & O_PATH) || d.kind != Kind::kept) return true;
  if (const char *anonymous = after(link, "anon_inode:")) {
    if (same_text(anonymous, "[eventfd]")) d.kind = Kind::event;
    if (is_ring(link)) d.kind = Kind::ring;
    if (same_text(anonymous, "[eventpoll]")) d.kind = Kind::epoll;
    if (same_text(anonymous, "[timerfd]")) d.kind = Kind::timer;
    if (same_text(anonymous, "[signalfd]")) d.kind = Kind::signals;
    if (same_text(anonymous, "[pidfd]")) d.kind = Kind::process;
    if (same_text(anonymous, "inotify") || same_text(anonymous, "[inotify]")) d.kind = Kind::inotify;
    return true;
  }
  if (mode == S_IFSOCK) return classify_socket(d);
  if (mode == S_IFIFO) {
    d.kind = Kind::pipe;
    d.pipe.next = -1;
  }
  if (mode == S_IFCHR && classify_pty(d, st.st_rdev)) return true;
  if (mode == S_IFDIR || mode == S_IFREG) {
    d.kind = after(link, "/proc/") ? Kind::kept : Kind::file;
    d.file.map_device = device_in_maps(st.st_dev);
    d.file.size = (uint64_t)st.st_size;
  }
  if (mode == S_IFREG && after(link, "/memfd:")) {
    // It is sealed against writing, so sharing it is harmless and saves the copy.
    const long seals = sys(SYS_fcntl, d.fd, F_GET_SEALS);
    d.file.seals = seals > 0 ? (int)seals : 0;
    d.kind = d.file.seals & F_SEAL_WRITE ? Kind::kept : Kind::shared_memory;
  }
  if (mode == S_IFREG && d.kind == Kind::file && is_mapped_shared(d)) {
    // A file in memory that is locked is shared with other processes: a database in /dev/shm, say.
    const char *info = fdinfo(d);
    if (!info) return false;
    if (field(info, "lock:"))
      leave_mapped(d);
    else
      d.kind = Kind::shared_memory;
  }
  return true;
}

bool examine(Descriptor &d) {
  struct stat st {};
  if (sys(SYS_fstat, d.fd, &st) < 0) return d.kind = Kind::kept, true;
  d.inode = st.st_ino;
  d.device = st.st_dev;
  d.flags = (int)sys(SYS_fcntl, d.fd, F_GETFL);
  d.descriptor_flags = (int)sys(SYS_fcntl, d.fd, F_GETFD);
  char link[256];
  const long n = sys(SYS_readlinkat, AT_FDCWD, Path("/proc/self/fd/", d.fd).text, link, sizeof link - 1);
  link[n > 0 ? n : 0] = 0;
  return classify_file(d, link, st);
}

bool engines_own(int fd) {
  const Engine &e = engine;
  if (fd == e.prepared.reaper || fd == e.prepared.gate || fd == e.prepared.progress ||
      fd == e.prepared.master_pidfd || fd == e.order->lifeline || fd == e.prepared.tree_fd ||
      fd == e.prepared.root_pidfd)
    return true;
  for (const int own : e.order->private_descriptors)
    if (fd == own) return true;
  return false;
}

bool list_descriptors() {
  Engine &e = engine;
  const long dir = sys(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0) return fail((int)-dir) << "/proc/self/fd can't be read", false;
  long n;
  bool ok = true;
  while (ok && (n = sys(SYS_getdents64, dir, e.scratch, 65536)) > 0)
    for (char *p = e.scratch; ok && p < e.scratch + n; p += reinterpret_cast<DirectoryEntry *>(p)->length) {
      const char *name = reinterpret_cast<DirectoryEntry *>(p)->name;
      unsigned long fd;
      if (*name == '.') continue;
      parse_dec(name, &fd);
      if ((long)fd == dir || engines_own((int)fd)) continue;
      Descriptor *d = e.plan.descriptors.add(e.arena);
      if (!d) {
        ok = fail_arena();
        break;
      }
      memset(d, 0, sizeof *d);
      d->fd = (int)fd;
      d->same_as = d->next_same = -1;
    }
  sys(SYS_close, dir);
  return ok;
}

// Duplicates share one open file. kcmp orders open files, so sorting brings duplicates together without comparing every
// pair; only descriptors of the same inode can be duplicates.
bool before(const Descriptor &a, const Descriptor &b) {
  if (a.device != b.device) return a.device < b.device;
  if (a.inode != b.inode) return a.inode < b.inode;
  if (a.kind != b.kind) return a.kind < b.kind;
  const long order = same_file(a.fd, b.fd);
  return order == 1 || ((order == 0 || order > 2 || order < 0) && a.fd < b.fd);
}

void sift(int *heap, size_t root, size_t count) {
  auto &d = engine.plan.descriptors;
  for (size_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && before(d[heap[child]], d[heap[child + 1]])) child++;
    if (!before(d[heap[root]], d[heap[child]])) return;
    const int t = heap[root];
    heap[root] = heap[child];
    heap[child] = t;
  }
}

bool find_duplicates() {
  auto &d = engine.plan.descriptors;
  int *const order = engine.plan.by_file = static_cast<int *>(engine.arena.take(d.count * sizeof(int) + 1));
  if (!order) return fail_arena();
  for (size_t i = 0; i < d.count; i++) order[i] = (int)i;
  for (size_t i = d.count / 2; i-- > 0;) sift(order, i, d.count);
  for (size_t n = d.count; n-- > 1;) {
    const int t = order[0];
    order[0] = order[n];
    order[n] = t;
    sift(order, 0, n);
  }
  bool compared = true;
  for (size_t i = 1; i < d.count; i++) {
    Descriptor &a = d[(size_t)order[i - 1]], &b = d[(size_t)order[i]];
    if (a.device != b.device || a.inode != b.inode || a.kind != b.kind) continue;
    const long same = same_file(a.fd, b.fd);
    if (same < 0) compared = false;
    if (same != 0) continue;
    b.same_as = a.same_as >= 0 ? a.same_as : order[i - 1];
    a.next_same = order[i];
  }
  if (!compared)
    end_note(note() << "kcmp is not permitted: duplicates of a descriptor become separate open files");
  return true;
}

// 0, 1 and 2 stay shared, and so do their duplicates: clones write where the master writes.
void keep_standard_streams() {
  auto &all = engine.plan.descriptors;
  for (size_t i = 0; i < all.count; i++) {
    if (!is_standard(all[i].fd)) continue;
    if (all[i].kind == Kind::listener || all[i].kind == Kind::pipe) continue;  // match_pipes() handles pipes
    if (all[i].private_path) continue;                                         // output to a file of its own
    const int original = all[i].same_as >= 0 ? all[i].same_as : (int)i;
    for (size_t j = 0; j < all.count; j++)
      if ((int)j == original || all[j].same_as == original) all[j].kind = Kind::kept;
  }
}

void duplicates_follow() {
  for (Descriptor &d : engine.plan.descriptors)
    if (d.same_as >= 0) d.kind = engine.plan.descriptors[(size_t)d.same_as].kind;
}

}  // namespace

bool is_standard(int fd) {
  if (tree::is_member()) return false;  // exchange() has dealt with those that are the root's
  for (const int more : engine.order->standard_streams)
    if (more == fd) return true;
  return fd <= 2;
}

Descriptor *descriptor_of_fd(int fd) {
  size_t low = 0, high = engine.plan.descriptors.count;  // sorted: /proc lists them in order
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (engine.plan.descriptors[middle].fd < fd)
      low = middle + 1;
    else
      high = middle;
  }
  return low < engine.plan.descriptors.count && engine.plan.descriptors[low].fd == fd
             ? &engine.plan.descriptors[low]
             : nullptr;
}

Descriptor *descriptor_of_inode(uint64_t device, uint64_t inode) {
  auto &all = engine.plan.descriptors;
  size_t low = 0, high = all.count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const Descriptor &d = all[(size_t)engine.plan.by_file[middle]];
    if (d.device < device || (d.device == device && d.inode < inode))
      low = middle + 1;
    else
      high = middle;
  }
  if (low == all.count) return nullptr;
  Descriptor &d = all[(size_t)engine.plan.by_file[low]];
  return d.device == device && d.inode == inode ? &d : nullptr;
}

bool read_descriptor_table() {
  if (!list_descriptors()) return false;
  for (Descriptor &d : engine.plan.descriptors)
    if (!examine(d)) return false;
  if (!find_duplicates() || (tree::whole() && !tree::exchange())) return false;
  keep_standard_streams();
  match_pipes(engine.plan.by_file, engine.plan.descriptors.count);
  match_ptys();
  if (!plan_tcp_pairs() || !plan_unix_sockets()) return false;
  duplicates_follow();
  return true;
}

}  // namespace gridcentric::live_clone
