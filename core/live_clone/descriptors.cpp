// The descriptor table: read once in the parked master (plan), replaced in each clone (rebuild). A fork shares open files
// with its parent, offsets, counters and all; a clone gets its own, with the same contents, under the same numbers.
// Start at `handlers`, the table of kinds. Runs while threads are parked, or in a clone with one thread: see sys.hpp.
#include "descriptor.hpp"

#include <linux/kcmp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

namespace gridcentric::live_clone {
namespace {

long same_file(int a, int b) { return sys(SYS_kcmp, engine.pid, engine.pid, KCMP_FILE, a, b); }

const char* fdinfo(const Descriptor& d) {
  const long n = read_file(Path("/proc/self/fdinfo/", d.fd), engine.scratch, engine.scratch_size);
  if (n == -ENOBUFS) return fail_arena(), nullptr;
  if (n < 0) return fail_descriptor((int)-n, d) << "its /proc/self/fdinfo can't be read", nullptr;
  return engine.scratch;
}

unsigned long number(const char* text, const char* key, bool hexadecimal) {
  unsigned long v = 0;
  if (const char* p = field(text, key)) hexadecimal ? parse_hex(p, &v) : parse_dec(p, &v);
  return v;
}

timespec time_pair(const char* text, const char* key) {
  unsigned long s = 0, ns = 0;
  if (const char* p = field(text, key)) parse_dec(parse_dec(p, &s) + 2, &ns);  // "(seconds, nanoseconds)"
  return {(time_t)s, (long)ns};
}

// ---- plan: one function a kind that has something to remember

bool plan_event(Descriptor& d) {
  const char* info = fdinfo(d);
  if (!info) return false;
  d.count = number(info, "eventfd-count:", true);
  d.option = number(info, "eventfd-semaphore:", false) != 0;
  return true;
}

bool plan_timer(Descriptor& d) {
  const char* info = fdinfo(d);
  if (!info) return false;
  d.option = (int)number(info, "clockid:", false);
  d.count = number(info, "ticks:", false);
  d.setting = {time_pair(info, "it_interval: ("), time_pair(info, "it_value: (")};
  return true;
}

bool plan_signals(Descriptor& d) {
  const char* info = fdinfo(d);
  if (!info) return false;
  d.count = number(info, "sigmask:", true);
  return true;
}

bool plan_inotify(Descriptor& d) {
  const char* info = fdinfo(d);
  if (!info) return false;
  if (field(info, "inotify ")) end_note(note() << "descriptor " << d.fd << ": inotify, its watches must be added again");
  return true;
}

bool plan_file(Descriptor& d) {
  const char* info = fdinfo(d);
  if (!info) return false;
  d.offset = (int64_t)number(info, "pos:", false);
  if (field(info, "lock:")) end_note(note() << "descriptor " << d.fd << ": its file lock stays with the master");
  return true;
}

bool plan_shared_memory(Descriptor& d) {
  d.offset = sys(SYS_lseek, d.fd, 0, SEEK_CUR);
  return true;
}

// What is in a pipe is duplicated into a pipe of ours (tee) and read from there: the master's stays as it is.
bool plan_pipe(Descriptor& d) {
  if (d.peer < 0 || (d.flags & O_ACCMODE) != O_RDONLY) return true;
  int waiting = 0;
  sys(SYS_ioctl, d.fd, FIONREAD, &waiting);
  d.count = (uint64_t)sys(SYS_fcntl, d.fd, F_GETPIPE_SZ);
  if (waiting <= 0) return true;
  int copy[2];
  long r = sys(SYS_pipe2, copy, O_NONBLOCK | O_CLOEXEC);
  if (r < 0) return fail_descriptor((int)-r, d) << "no pipe to copy its contents with", false;
  sys(SYS_fcntl, copy[1], F_SETPIPE_SZ, d.count);
  long n = sys(SYS_tee, d.fd, copy[1], waiting, 2 /* SPLICE_F_NONBLOCK */);
  if (n > 0) {
    d.data = static_cast<char*>(engine.arena.take((size_t)n));
    if (d.data) d.data_size = (size_t)n;
    for (size_t at = 0; at < d.data_size;) {
      const long got = sys(SYS_read, copy[0], d.data + at, d.data_size - at);
      if (got <= 0) break;
      at += (size_t)got;
    }
  }
  sys(SYS_close, copy[0]);
  sys(SYS_close, copy[1]);
  if (n > 0 && !d.data) return fail_arena();
  if (n != waiting) end_note(note() << "descriptor " << d.fd << ": pipe, " << (waiting - (n > 0 ? n : 0)) << " bytes lost");
  return true;
}

Descriptor* find(int fd) {
  size_t low = 0, high = engine.descriptors.count;  // sorted: /proc lists them in order
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (engine.descriptors[middle].fd < fd)
      low = middle + 1;
    else
      high = middle;
  }
  return low < engine.descriptors.count && engine.descriptors[low].fd == fd ? &engine.descriptors[low] : nullptr;
}

// A registration outlives its descriptor when the open file lives on elsewhere; it can't be made again then.
bool still_registered(const Descriptor& set, const Registration& r, unsigned long inode) {
  const Descriptor* target = find(r.fd);
  if (!target || target->inode != inode) return false;
  struct {
    uint32_t set, fd, nth;
  } slot{(uint32_t)set.fd, (uint32_t)r.fd, 0};
  const long same = sys(SYS_kcmp, engine.pid, engine.pid, KCMP_EPOLL_TFD, r.fd, &slot);
  return same == 0 || same == -EPERM || same == -ENOSYS || same == -EOPNOTSUPP;
}

bool plan_epoll(Descriptor& d) {
  const char* info = fdinfo(d);
  if (!info) return false;
  d.first_registration = (uint32_t)engine.registrations.count;
  int stale = 0;
  for (const char* p = info; *p; p = next_line(p)) {
    const char* tfd = after(p, "tfd:");
    const char* events = tfd ? find_in_line(p, "events:") : nullptr;
    const char* data = events ? find_in_line(p, "data:") : nullptr;
    const char* inode = data ? find_in_line(data, "ino:") : nullptr;
    if (!inode) continue;
    const auto value = [](const char* at, size_t skip, bool hexadecimal) {
      at += skip;
      while (*at == ' ') at++;
      unsigned long v;
      hexadecimal ? parse_hex(at, &v) : parse_dec(at, &v);
      return v;
    };
    const Registration r{(int)value(p, 4, false), (uint32_t)value(events, 7, true), value(data, 5, true)};
    if (!still_registered(d, r, value(inode, 4, true))) {
      stale++;
      continue;
    }
    Registration* kept = engine.registrations.add(engine.arena);
    if (!kept) return fail_arena();
    *kept = r;
    d.registrations++;
  }
  if (stale) end_note(note() << "descriptor " << d.fd << ": epoll, " << stale << " registrations of closed descriptors lost");
  return true;
}

// ---- rebuild

bool rebuild_event(Descriptor& d) {
  const long fd = sys(SYS_eventfd2, 0, (d.flags & O_NONBLOCK ? EFD_NONBLOCK : 0) | (d.option ? EFD_SEMAPHORE : 0) | EFD_CLOEXEC);
  if (fd >= 0 && d.count) sys(SYS_write, fd, &d.count, 8);
  return place_with_duplicates((int)fd, d);
}

bool rebuild_timer(Descriptor& d) {
  const long fd = sys(SYS_timerfd_create, d.option, (d.flags & O_NONBLOCK ? TFD_NONBLOCK : 0) | TFD_CLOEXEC);
  if (fd >= 0) {
    sys(SYS_timerfd_settime, fd, 0, &d.setting, nullptr);
    if (d.count) sys(SYS_ioctl, fd, _IOW('T', 0, uint64_t) /* TFD_IOC_SET_TICKS */, &d.count);
  }
  return place_with_duplicates((int)fd, d);
}

bool rebuild_signals(Descriptor& d) {
  return place_with_duplicates((int)sys(SYS_signalfd4, -1, &d.count, 8, (d.flags & O_NONBLOCK) | SFD_CLOEXEC), d);
}

bool rebuild_inotify(Descriptor& d) {
  return place_with_duplicates((int)sys(SYS_inotify_init1, (d.flags & O_NONBLOCK) | IN_CLOEXEC), d);
}

bool rebuild_pipe(Descriptor& d) {
  if ((d.flags & O_ACCMODE) != O_RDONLY) return true;  // made together with the reading end
  Descriptor& writer = engine.descriptors[(size_t)d.peer];
  int ends[2];
  const long r = sys(SYS_pipe2, ends, O_CLOEXEC | (writer.flags & O_DIRECT));
  if (r < 0) return place_with_duplicates((int)r, d);
  if (d.count != 65536) sys(SYS_fcntl, ends[1], F_SETPIPE_SZ, d.count);
  if (d.data_size) sys(SYS_write, ends[1], d.data, d.data_size);
  sys(SYS_fcntl, ends[0], F_SETFL, d.flags);
  sys(SYS_fcntl, ends[1], F_SETFL, writer.flags);
  return place_with_duplicates(ends[0], d) && place_with_duplicates(ends[1], writer);
}

// /proc/self/fd opens the file itself, also when it has no name any more. One that may not be opened again (opened before
// privileges were dropped, say) stays shared.
bool rebuild_file(Descriptor& d) {
  const long fd = sys(SYS_openat, AT_FDCWD, Path("/proc/self/fd/", d.fd).text,
                      (d.flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_NOCTTY)) | O_CLOEXEC, 0);
  if (fd < 0) return true;
  if (d.offset > 0) sys(SYS_lseek, fd, d.offset, SEEK_SET);
  return place_with_duplicates((int)fd, d);
}

bool rebuild_epoll(Descriptor& d) { return place_with_duplicates((int)sys(SYS_epoll_create1, EPOLL_CLOEXEC), d); }

bool register_all() {
  for (Descriptor& d : engine.descriptors) {
    if (d.kind != Kind::epoll || d.same_as >= 0) continue;
    for (uint32_t i = 0; i < d.registrations; i++) {
      const Registration& r = engine.registrations[d.first_registration + i];
      epoll_event event{};
      event.events = r.events;
      event.data.u64 = r.data;
      const long done = sys(SYS_epoll_ctl, d.fd, EPOLL_CTL_ADD, r.fd, &event);
      if (done < 0) return fail_descriptor((int)-done, d) << "epoll_ctl of descriptor " << r.fd << " failed", false;
    }
  }
  return true;
}

struct Handler {
  Kind kind;
  const char* name;
  bool (*plan)(Descriptor&);     // in the parked master; null: nothing to remember
  bool (*rebuild)(Descriptor&);  // in the clone; null: done elsewhere or nothing to do
};

constexpr Handler handlers[] = {
    {Kind::listener, "a listening TCP socket", plan_listener, rebuild_listener},
    {Kind::udp, "a UDP socket", plan_udp, rebuild_udp},
    {Kind::tcp_idle, "a TCP socket", nullptr, rebuild_tcp_idle},
    {Kind::tcp_dead, "a TCP connection", nullptr, rebuild_tcp_dead},
    {Kind::unix_listener, "a listening Unix socket", nullptr, rebuild_unix_listener},
    {Kind::unix_pair, "a Unix socket pair", nullptr, rebuild_unix_pair},
    {Kind::unix_dead, "a Unix connection", nullptr, rebuild_unix_dead},
    {Kind::unix_idle, "a Unix socket", nullptr, rebuild_unix_idle},
    {Kind::netlink, "a netlink socket", nullptr, rebuild_netlink},
    {Kind::pipe, "a pipe", plan_pipe, rebuild_pipe},
    {Kind::event, "an eventfd", plan_event, rebuild_event},
    {Kind::timer, "a timerfd", plan_timer, rebuild_timer},
    {Kind::signals, "a signalfd", plan_signals, rebuild_signals},
    {Kind::inotify, "inotify", plan_inotify, rebuild_inotify},
    {Kind::file, "a file", plan_file, rebuild_file},
    {Kind::shared_memory, "shared memory", plan_shared_memory, nullptr},
    {Kind::epoll, "an epoll set", plan_epoll, rebuild_epoll},
    {Kind::kept, "shared with the master", nullptr, nullptr},
};

// ---- reading the table

bool classify_file(Descriptor& d, const char* link, const struct stat& st) {
  const unsigned mode = st.st_mode & S_IFMT;
  if (const char* why = refused_file(link))
    return fail(EOPNOTSUPP) << "descriptor " << d.fd << " is " << why << ", which can't be cloned; close it first", false;
  d.kind = Kind::kept;
  if (d.flags & O_PATH) return true;
  if (const char* anonymous = after(link, "anon_inode:")) {
    if (same_text(anonymous, "[eventfd]")) d.kind = Kind::event;
    if (same_text(anonymous, "[eventpoll]")) d.kind = Kind::epoll;
    if (same_text(anonymous, "[timerfd]")) d.kind = Kind::timer;
    if (same_text(anonymous, "[signalfd]")) d.kind = Kind::signals;
    if (same_text(anonymous, "inotify") || same_text(anonymous, "[inotify]")) d.kind = Kind::inotify;
    return true;
  }
  if (mode == S_IFSOCK) return classify_socket(d);
  if (mode == S_IFIFO && (d.flags & O_ACCMODE) != O_RDWR) d.kind = Kind::pipe;
  if (mode == S_IFDIR || mode == S_IFREG) d.kind = after(link, "/proc/") ? Kind::kept : Kind::file;
  if (mode == S_IFREG && after(link, "/memfd:")) {
    // Sealed against writing, sharing it does no harm and saves the copy.
    const long seals = sys(SYS_fcntl, d.fd, F_GET_SEALS);
    d.seals = seals > 0 ? (int)seals : 0;
    d.kind = d.seals & F_SEAL_WRITE ? Kind::kept : Kind::shared_memory;
  }
  if (mode == S_IFREG && d.kind == Kind::file && (st.st_nlink == 0 || after(link, "/dev/shm/")) && is_mapped_shared(d))
    d.kind = Kind::shared_memory;
  return true;
}

bool examine(Descriptor& d) {
  struct stat st{};
  if (sys(SYS_fstat, d.fd, &st) < 0) return d.kind = Kind::kept, true;
  d.inode = st.st_ino;
  d.device = st.st_dev;
  d.map_device = ((st.st_dev >> 8 & 0xfff) | (st.st_dev >> 32 & ~0xfffUL)) << 32 |
                 ((st.st_dev & 0xff) | (st.st_dev >> 12 & 0xffffff00));
  d.size = (uint64_t)st.st_size;
  d.flags = (int)sys(SYS_fcntl, d.fd, F_GETFL);
  d.descriptor_flags = (int)sys(SYS_fcntl, d.fd, F_GETFD);
  char link[256];
  const long n = sys(SYS_readlinkat, AT_FDCWD, Path("/proc/self/fd/", d.fd).text, link, sizeof link - 1);
  link[n > 0 ? n : 0] = 0;
  return classify_file(d, link, st);
}

bool engines_own(int fd) {
  const Engine& e = engine;
  if (fd == e.reaper || fd == e.gate || fd == e.progress || fd == e.master_pidfd || fd == e.lifeline) return true;
  for (size_t i = 0; i < e.private_fd_count; i++)
    if (fd == e.private_fds[i]) return true;
  return false;
}

bool list_descriptors() {
  Engine& e = engine;
  const long dir = sys(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0) return fail((int)-dir) << "/proc/self/fd can't be read", false;
  long n;
  bool ok = true;
  while (ok && (n = sys(SYS_getdents64, dir, e.scratch, 65536)) > 0)
    for (char* p = e.scratch; ok && p < e.scratch + n; p += reinterpret_cast<DirectoryEntry*>(p)->length) {
      const char* name = reinterpret_cast<DirectoryEntry*>(p)->name;
      unsigned long fd;
      if (*name == '.') continue;
      parse_dec(name, &fd);
      if ((long)fd == dir || engines_own((int)fd)) continue;
      Descriptor* d = e.descriptors.add(e.arena);
      if (!d) {
        ok = fail_arena();
        break;
      }
      memset(d, 0, sizeof *d);
      d->fd = (int)fd;
      d->same_as = d->next_same = d->peer = -1;
    }
  sys(SYS_close, dir);
  return ok;
}

int* order;  // indexes of all descriptors, sorted by device, inode, kind, open file

// Duplicates share one open file. kcmp orders open files, so sorting brings duplicates together without comparing each
// with each; only descriptors of one inode can be duplicates.
bool before(const Descriptor& a, const Descriptor& b) {
  if (a.device != b.device) return a.device < b.device;
  if (a.inode != b.inode) return a.inode < b.inode;
  if (a.kind != b.kind) return a.kind < b.kind;
  const long order = same_file(a.fd, b.fd);
  return order == 1 || ((order == 0 || order > 2 || order < 0) && a.fd < b.fd);
}

void sift(int* heap, size_t root, size_t count) {
  auto& d = engine.descriptors;
  for (size_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && before(d[heap[child]], d[heap[child + 1]])) child++;
    if (!before(d[heap[root]], d[heap[child]])) return;
    const int t = heap[root];
    heap[root] = heap[child];
    heap[child] = t;
  }
}

// The two ends of a pipe have one inode, so they are neighbours in `order`.
void match_pipes() {
  auto& all = engine.descriptors;
  int reader = -1, writer = -1;
  for (size_t i = 0; i < all.count; i++) {
    Descriptor& d = all[(size_t)order[i]];
    if (d.kind != Kind::pipe) continue;
    if (i && (all[(size_t)order[i - 1]].inode != d.inode || all[(size_t)order[i - 1]].device != d.device))
      reader = writer = -1;
    if (d.same_as >= 0) continue;
    int& end = (d.flags & O_ACCMODE) == O_RDONLY ? reader : writer;
    if (end < 0) end = order[i];
    if (reader < 0 || writer < 0) continue;
    all[(size_t)reader].peer = writer;
    all[(size_t)writer].peer = reader;
  }
}

bool find_duplicates() {
  auto& d = engine.descriptors;
  order = static_cast<int*>(engine.arena.take(d.count * sizeof(int) + 1));
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
  match_pipes();
  if (!compared) end_note(note() << "kcmp is not permitted: duplicates of a descriptor become separate open files");
  return true;
}

// 0, 1 and 2 stay shared, with all their duplicates: clones write where the master writes.
void keep_standard_streams() {
  auto& all = engine.descriptors;
  for (size_t i = 0; i < all.count && all[i].fd <= 2; i++) {
    if (all[i].kind == Kind::listener) continue;
    const int original = all[i].same_as >= 0 ? all[i].same_as : (int)i;
    for (size_t j = 0; j < all.count; j++)
      if ((int)j == original || all[j].same_as == original) all[j].kind = Kind::kept;
  }
}

// A pipe whose other end is somebody else's stays shared.
void keep_outside_pipes() {
  for (Descriptor& d : engine.descriptors)
    if (d.kind == Kind::pipe && d.same_as < 0 &&
        (d.peer < 0 || engine.descriptors[(size_t)d.peer].kind != Kind::pipe || engine.descriptors[(size_t)d.peer].peer < 0))
      d.kind = Kind::kept;
}

void duplicates_follow() {
  for (Descriptor& d : engine.descriptors)
    if (d.same_as >= 0) d.kind = engine.descriptors[(size_t)d.same_as].kind;
}

}  // namespace

Text fail_descriptor(int err, const Descriptor& d) {
  const char* name = "";
  for (const Handler& h : handlers)
    if (h.kind == d.kind) name = h.name;
  return fail(err) << "descriptor " << d.fd << " (" << name << "): ";
}

Descriptor* descriptor_of_inode(uint64_t device, uint64_t inode) {
  auto& all = engine.descriptors;
  size_t low = 0, high = all.count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const Descriptor& d = all[(size_t)order[middle]];
    if (d.device < device || (d.device == device && d.inode < inode))
      low = middle + 1;
    else
      high = middle;
  }
  if (low == all.count) return nullptr;
  Descriptor& d = all[(size_t)order[low]];
  return d.device == device && d.inode == inode ? &d : nullptr;
}

bool place(int fresh, const Descriptor& d) {
  if (fresh < 0) return fail_descriptor(-fresh, d) << "one like it can't be made in the clone (error " << -fresh << ")", false;
  if (fresh == d.fd) return true;
  const long r = sys(SYS_dup3, fresh, d.fd, d.descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0);
  sys(SYS_close, fresh);
  return r >= 0 ? true : (fail_descriptor((int)-r, d) << "it can't be replaced in the clone", false);
}

bool place_with_duplicates(int fresh, const Descriptor& d) {
  if (!place(fresh, d)) return false;
  for (int i = d.next_same; i >= 0; i = engine.descriptors[(size_t)i].next_same) {
    const Descriptor& copy = engine.descriptors[(size_t)i];
    const long r = sys(SYS_dup3, d.fd, copy.fd, copy.descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0);
    if (r < 0) return fail_descriptor((int)-r, copy) << "it can't be replaced in the clone", false;
  }
  return true;
}

bool plan_descriptors() {
  if (!list_descriptors()) return false;
  for (Descriptor& d : engine.descriptors)
    if (!examine(d)) return false;
  if (!find_duplicates()) return false;
  keep_standard_streams();
  keep_outside_pipes();
  if (!plan_unix_sockets()) return false;
  duplicates_follow();
  for (const Handler& h : handlers) {
    if (!h.plan) continue;
    for (Descriptor& d : engine.descriptors)
      if (d.kind == h.kind && d.same_as < 0 && !h.plan(d)) return false;
  }
  return true;
}

bool rebuild_descriptors(uint32_t address) {
  set_clone_address(address);
  for (const Handler& h : handlers) {
    if (!h.rebuild) continue;
    for (Descriptor& d : engine.descriptors)
      if (d.kind == h.kind && d.same_as < 0 && !h.rebuild(d)) return false;
  }
  return register_all();
}

}  // namespace gridcentric::live_clone
