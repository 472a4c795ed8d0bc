// Descriptors: looked at once in the parked master (plan), replaced in each clone (rebuild). A fork shares
// open files with its parent, offsets, counters and all; a clone gets its own, with the same contents, under
// the same numbers. Start at `handlers`, the table of kinds; what is open and of which kind is found in
// descriptor_table.cpp. Runs while threads are parked, or in a clone whose threads do not go on yet: see sys.hpp.
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "descriptor.hpp"
#include "pty_state.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {

unsigned long number_in(const char *info, const char *key, bool hexadecimal) {
  unsigned long v = 0;
  if (const char *p = field(info, key)) hexadecimal ? parse_hex(p, &v) : parse_dec(p, &v);
  return v;
}

namespace {

timespec time_pair(const char *text, const char *key) {
  unsigned long s = 0, ns = 0;
  if (const char *p = field(text, key)) parse_dec(parse_dec(p, &s) + 2, &ns);  // "(seconds, nanoseconds)"
  return {(time_t)s, (long)ns};
}

// ---- plan: one function a kind that has something to remember

// Before Linux 6.5 only a read tells whether an eventfd is a semaphore: of one it takes 1, otherwise all. What is taken is put
// back at once. Another process that has it may have been faster: then nothing is said, and nobody waits.
bool takes_one(int fd) {
  uint64_t taken = 0;
  const iovec into{&taken, sizeof taken};
  if (sys(SYS_preadv2, fd, &into, 1, -1L, -1L, RWF_NOWAIT) != sizeof taken) return false;
  sys(SYS_write, fd, &taken, sizeof taken);
  return taken == 1;
}

bool plan_event(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  d.event.count = number_in(info, "eventfd-count:", true);
  const bool told = field(info, "eventfd-semaphore:") != nullptr;
  d.event.semaphore =
      told ? number_in(info, "eventfd-semaphore:") != 0 : d.event.count > 1 && takes_one(d.fd);
  return true;
}

bool plan_timer(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  d.timer.clock = (int)number_in(info, "clockid:");
  d.timer.ticks = number_in(info, "ticks:");
  d.timer.setting = {time_pair(info, "it_interval: ("), time_pair(info, "it_value: (")};
  return true;
}

bool plan_signals(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  d.signal_mask = number_in(info, "sigmask:", true);
  return true;
}

bool plan_shared_memory(Descriptor &d) {
  d.file.offset = sys(SYS_lseek, d.fd, 0, SEEK_CUR);
  return true;
}

// ---- rebuild

bool rebuild_event(Descriptor &d) {
  const long fd =
      sys(SYS_eventfd2, 0,
          (d.flags & O_NONBLOCK ? EFD_NONBLOCK : 0) | (d.event.semaphore ? EFD_SEMAPHORE : 0) | EFD_CLOEXEC);
  if (fd >= 0 && d.event.count) sys(SYS_write, fd, &d.event.count, 8);
  return place_with_duplicates((int)fd, d);
}

bool rebuild_timer(Descriptor &d) {
  const long fd =
      sys(SYS_timerfd_create, d.timer.clock, (d.flags & O_NONBLOCK ? TFD_NONBLOCK : 0) | TFD_CLOEXEC);
  if (fd >= 0) {
    sys(SYS_timerfd_settime, fd, 0, &d.timer.setting, nullptr);
    if (d.timer.ticks) sys(SYS_ioctl, fd, _IOW('T', 0, uint64_t) /* TFD_IOC_SET_TICKS */, &d.timer.ticks);
  }
  return place_with_duplicates((int)fd, d);
}

bool rebuild_signals(Descriptor &d) {
  return place_with_duplicates(
      (int)sys(SYS_signalfd4, -1, &d.signal_mask, 8, (d.flags & O_NONBLOCK) | SFD_CLOEXEC), d);
}

bool rebuild_ring_at_once(Descriptor &d) { return is_polled(d) || rebuild_ring(d); }

struct Handler {
  Kind kind;
  const char *name;
  bool (*plan)(Descriptor &);     // in the parked master; null: nothing to remember
  bool (*freeze)(Descriptor &);   // in the frozen copy; null: the clones look at the master's
  bool (*rebuild)(Descriptor &);  // in the clone; null: done elsewhere or nothing to do
};

constexpr Handler handlers[] = {
    {Kind::tcp_pair, "a TCP connection to itself", nullptr, freeze_connection, rebuild_tcp_pair},
    {Kind::tcp_across, "a TCP connection between processes", nullptr, freeze_connection,
     tree::rebuild_tcp_across},
    {Kind::listener, "a listening TCP socket", plan_listener, freeze_socket, rebuild_listener},
    {Kind::udp, "a UDP socket", plan_udp, freeze_udp, rebuild_udp},
    {Kind::tcp_idle, "a TCP socket", plan_tcp_idle, freeze_socket, rebuild_tcp_idle},
    {Kind::tcp_dead, "a TCP connection", nullptr, let_go, rebuild_tcp_dead},
    {Kind::unix_listener, "a listening Unix socket", nullptr, nullptr, rebuild_unix_listener},
    {Kind::unix_pair, "a Unix socket pair", nullptr, rebuild_unix_pair, rebuild_unix_pair},
    {Kind::unix_across, "a Unix socket pair between processes", nullptr, freeze_unix_across,
     rebuild_unix_across},
    {Kind::unix_dead, "a Unix connection", nullptr, freeze_unix_dead, rebuild_unix_dead},
    {Kind::unix_idle, "a Unix socket", nullptr, nullptr, rebuild_unix_idle},
    {Kind::netlink, "a netlink socket", nullptr, nullptr, rebuild_netlink},
    {Kind::pipe, "a pipe", plan_pipe, let_go, rebuild_pipe},
    {Kind::pipe_joined, "a pipe between processes", plan_joined_pipe, let_go, rebuild_joined_pipe},
    {Kind::pipe_dead, "a pipe to the outside", plan_pipe_dead, let_go, rebuild_pipe_dead},
    {Kind::pty, "a pseudo-terminal", plan_pty, nullptr, rebuild_pty},
    {Kind::pty_across, "a pseudo-terminal between processes", read_pty_state, nullptr,
     tree::rebuild_pty_across},
    {Kind::pty_joined, "a pseudo-terminal between processes", nullptr, nullptr, tree::rebuild_pty_joined},
    {Kind::pty_dead, "a pseudo-terminal to the outside", plan_pty_dead, nullptr, rebuild_pty_dead},
    {Kind::event, "an eventfd", plan_event, let_go, rebuild_event},
    {Kind::timer, "a timerfd", plan_timer, let_go, rebuild_timer},
    {Kind::signals, "a signalfd", plan_signals, let_go, rebuild_signals},
    {Kind::inotify, "inotify", plan_inotify, let_go, rebuild_inotify},
    {Kind::process, "a pidfd", plan_pidfd, nullptr, rebuild_pidfd},
    {Kind::ring, "an io_uring", plan_ring, nullptr, rebuild_ring_at_once},
    {Kind::file, "a file", plan_file, freeze_file, rebuild_file},
    {Kind::shared_memory, "shared memory", plan_shared_memory, nullptr, nullptr},
    {Kind::epoll, "an epoll set", plan_epoll, let_go, rebuild_epoll},
    {Kind::fetched, "shared with another process", nullptr, let_go, tree::rebuild_fetched},
    {Kind::kept, "shared with the master", nullptr, nullptr, nullptr},
};

// In the order of the table; of duplicates, the lowest stands for all.
bool each_open_file(bool (*Handler::*step)(Descriptor &), Kind first = handlers[0].kind,
                    Kind last = Kind::kept) {
  for (const Handler &h : handlers) {
    if (!(h.*step) || h.kind < first || h.kind > last) continue;
    for (Descriptor &d : engine.plan.descriptors)
      if (d.kind == h.kind && d.same_as < 0 && !(h.*step)(d)) return false;
  }
  return true;
}

}  // namespace

const char *fdinfo(const Descriptor &d) {
  const long n = read_file(Path("/proc/self/fdinfo/", d.fd), engine.scratch, engine.scratch_size);
  if (n == -ENOBUFS) return fail_arena(), nullptr;
  if (n < 0) return fail_descriptor((int)-n, d) << "its /proc/self/fdinfo can't be read", nullptr;
  return engine.scratch;
}

Text fail_descriptor(int err, const Descriptor &d) {
  const char *name = "";
  for (const Handler &h : handlers)
    if (h.kind == d.kind) name = h.name;
  return fail(err) << "descriptor " << d.fd << " (" << name << "): ";
}

bool place(int fresh, const Descriptor &d) {
  if (fresh < 0)
    return fail_descriptor(-fresh, d) << "one like it can't be made in the clone (error " << -fresh << ")",
           false;
  if (fresh == d.fd) return true;
  const long r = sys(SYS_dup3, fresh, d.fd, d.descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0);
  sys(SYS_close, fresh);
  return r >= 0 ? true : (fail_descriptor((int)-r, d) << "it can't be replaced in the clone", false);
}

bool place_with_duplicates(int fresh, const Descriptor &d) {
  if (!place(fresh, d)) return false;
  for (int i = d.next_same; i >= 0; i = engine.plan.descriptors[(size_t)i].next_same) {
    const Descriptor &copy = engine.plan.descriptors[(size_t)i];
    const long r = sys(SYS_dup3, d.fd, copy.fd, copy.descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0);
    if (r < 0) return fail_descriptor((int)-r, copy) << "it can't be replaced in the clone", false;
  }
  return true;
}

bool plan_descriptors() {
  if (!read_descriptor_table() || !each_open_file(&Handler::plan)) return false;
  tree::count_connections();
  return plan_ring_mappings() && plan_file_locks();
}

bool let_go(Descriptor &d) {
  return place_with_duplicates((int)sys(SYS_fcntl, engine.prepared.reaper, F_DUPFD_CLOEXEC, 0), d);
}

bool freeze_descriptors() { return each_open_file(&Handler::freeze) && rebuild_file_locks(); }

bool rebuild_descriptors() {
  if (!each_open_file(&Handler::rebuild, Kind::tcp_pair, Kind::tcp_across) || !tree::connections_are_made() ||
      !each_open_file(&Handler::rebuild, Kind::listener))
    return false;
  end_exact_mapping();
  // A lock goes when any descriptor of its file is closed: from here on none is.
  if (!rebuild_file_locks()) return false;
  tree::descriptors_are_in_place();
  return tree::settle_controlling_terminal();
}

bool complete_descriptors() {
  for (Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::ring && d.same_as < 0 && is_polled(d) && !rebuild_ring(d)) return false;
  end_exact_mapping();
  for (Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::inotify && d.same_as < 0 && !end_watches(d)) return false;
  return complete_tcp_pairs() && tree::complete_tcp_across() && tree::send_datagrams() && register_all();
}

}  // namespace gridcentric::live_clone
