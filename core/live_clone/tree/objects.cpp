// What the processes of a tree share. Each tells the others what it has open and mapped; whatever more than one of them has,
// the first one makes anew in each clone, and offers it to the others there, which take it with pidfd_getfd(2). A process only
// ever waits for those before it, so nobody waits for ever.
#include <linux/sched.h>
#include <string.h>

#include "../descriptor.hpp"
#include "../pipes.hpp"
#include "../private_files.hpp"
#include "../tcp_ends.hpp"
#include "tree.hpp"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438  // Linux 5.6
#endif

namespace gridcentric::live_clone::tree {
namespace {

Copy &own_copy() { return page().copy(engine.prepared.process, own_clone()); }

void describe_socket(const Descriptor &d, OpenFile *file) {
  if (d.kind > Kind::tcp_dead) return;
  Connection c;
  file->family = d.socket.family;
  if (!local_endpoint(d.fd, &c.local)) return;
  file->port = c.local.port;
  file->loops = is_on_loopback(c.local);
  if (d.kind == Kind::tcp_dead && connection_of(d.fd, &c) && !same_endpoint(c.local, c.peer))
    file->connection = number_for(c);
}

bool publish() {
  const int me = engine.prepared.process;
  size_t files = 0, mappings = 0;
  OpenFile *file = page().open_files(me);
  Mapping *mapping = page().mappings(me);
  const auto add_mapping = [&](uint64_t device, uint64_t inode, bool writable) {
    if (mappings == most_mappings) return false;
    mapping[mappings++] = {device, inode, writable};
    return true;
  };
  bool fits = true;
  for (const Descriptor &d : engine.plan.descriptors) {
    if (d.same_as >= 0) continue;
    if (files == most_open_files)
      return fail(E2BIG) << "more than " << most_open_files << " open files", false;
    file[files] = {};
    file[files].device = d.device;
    file[files].inode = d.inode;
    file[files].fd = d.fd;
    file[files].kind = (int)d.kind;
    file[files].flags = d.flags;
    file[files].terminal = d.kind == Kind::pty || d.kind == Kind::pty_dead ? (int)d.terminal.number : -1;
    file[files].stream = !me && is_standard(d.fd);
    describe_socket(d, &file[files++]);
    if (d.kind == Kind::shared_memory) fits = fits && add_mapping(d.file.map_device, d.inode, true);
  }
  // A standard stream may have a duplicate with a lower number than the stream's.
  if (!me)
    for (const Descriptor &d : engine.plan.descriptors)
      for (size_t i = 0; d.same_as >= 0 && is_standard(d.fd) && i < files; i++)
        if (file[i].fd == engine.plan.descriptors[(size_t)d.same_as].fd) file[i].stream = true;
  for (const SharedMapping &m : engine.plan.shared)
    if (!m.ring && !m.stays) fits = fits && add_mapping(m.device, m.inode, m.protection & 2 /* PROT_WRITE */);
  if (!fits) return fail(E2BIG) << "more than " << most_mappings << " mappings of shared memory", false;
  self().mappings = (int)mappings;
  self().open_files = (int)files;
  return true;
}

template <typename Action>
void each_open_file_of(int process, Action action) {
  const OpenFile *file = page().open_files(process);
  for (int i = 0; i < page().processes[process].open_files; i++) action(file[i]);
}

// The kinds of which a pipe's or socket's two ends are told apart by more than the open file: see pipes.cpp, unix_sockets.cpp.
bool is_matched_by_inode(Kind kind) { return kind == Kind::pipe; }

// Which process before this one has the same open file, if any, makes it anew.
void find_owner(Descriptor &d) {
  const int me = engine.prepared.process;
  for (int i = 0; i < me; i++) {
    int theirs = -1;
    each_open_file_of(i, [&](const OpenFile &f) {
      if (theirs >= 0 || f.device != d.device || f.inode != d.inode || f.kind != (int)d.kind) return;
      if (sys(SYS_kcmp, page().processes[i].pid, page().processes[me].pid, 0 /* KCMP_FILE */, f.fd, d.fd) ==
          0)
        theirs = f.fd;
    });
    if (theirs < 0) continue;
    d.kind = Kind::fetched;
    d.fetched = {i, theirs};
    return;
  }
}

}  // namespace

bool wait_for_word(const std::atomic<int> &word, int value, double deadline) {
  const int root = is_member() ? engine.prepared.root_pidfd : engine.prepared.master_pidfd;
  if (now_ms() > deadline || page().phase == given_up || page().clone(own_clone()).died || has_ended(root))
    return false;
  futex_wait(word, value, look_again_ms);
  return true;
}

long fetch(int process, int fd) {
  const Process &other = page().processes[process];
  const long pidfd = sys(SYS_pidfd_open, engine.result.frozen ? (int)other.frozen_pid : other.pid, 0);
  if (pidfd < 0) return pidfd;
  const long taken = sys(SYS_pidfd_getfd, pidfd, fd, 0);
  sys(SYS_close, pidfd);
  return taken;
}

bool exchange() {
  tell_session(self());
  if (!publish()) return false;
  if (is_member()) {
    report(tabled);
    if (!wait_for_root(planning)) return fail(ECANCELED) << "the program gave up cloning", false;
  } else {
    settle_connections();
    begin(planning);
  }
  int place = 0;
  for (Descriptor &d : engine.plan.descriptors) {
    if (d.same_as >= 0) continue;
    if (is_member() && is_roots_stream(d) && d.kind != Kind::pipe)
      d.kind = Kind::kept;
    else if (d.kind != Kind::kept && !is_matched_by_inode(d.kind))
      find_owner(d);
    match_terminal(d);
    if (!plan_across(d, place++)) return false;
  }
  return true;
}

bool is_roots_stream(const Descriptor &d) {
  bool found = false;
  each_open_file_of(0, [&](const OpenFile &f) {
    found = found || (f.stream && f.device == d.device && f.inode == d.inode);
  });
  return found;
}

PipeElsewhere pipe_elsewhere(uint64_t device, uint64_t inode) {
  PipeElsewhere all{0, INT32_MAX, INT32_MAX, 0};
  for (int i = 0; whole() && i < page().count; i++) {
    if (i == engine.prepared.process) continue;
    each_open_file_of(i, [&](const OpenFile &f) {
      if (f.device != device || f.inode != inode) return;
      all.ends |= pipe_ends(f.flags);
      if (f.stream) all.streams |= pipe_ends(f.flags);
      if (i < all.first) all.first = i;
      if ((pipe_ends(f.flags) & reading_end) && i < all.first_reader) all.first_reader = i;
    });
  }
  return all;
}

int holder_of_socket(uint64_t device, uint64_t inode) {
  for (int i = 0; whole() && i < page().count; i++) {
    bool has = false;
    each_open_file_of(i, [&](const OpenFile &f) { has = has || (f.device == device && f.inode == inode); });
    if (has) return i;
  }
  return -1;
}

int first_with_memory(uint64_t device, uint64_t inode, bool *writable) {
  int first = INT32_MAX;
  for (int i = 0; whole() && i < page().count; i++) {
    if (i == engine.prepared.process) continue;
    const Mapping *m = page().mappings(i);
    for (int k = 0; k < page().processes[i].mappings; k++) {
      if (m[k].device != device || m[k].inode != inode) continue;
      if (i < first) first = i;
      *writable = *writable || m[k].writable;
    }
  }
  return first;
}

bool offer(uint64_t device, uint64_t inode, bool memory, int first, int second) {
  Copy &copy = own_copy();
  const int n = copy.offers_made;
  if ((size_t)n == most_offers)
    return fail(E2BIG) << "more than " << most_offers << " objects are shared", false;
  copy.offers[n] = {device, inode, memory, {first, second}};
  copy.offers_made = n + 1;
  futex_wake(copy.offers_made);
  return true;
}

long take(int process, uint64_t device, uint64_t inode, bool memory, int end) {
  const Copy &copy = page().copy(process, own_clone());
  const double deadline = now_ms() + offer_timeout_ms;
  for (int looked = 0;;) {
    const int made = copy.offers_made;
    for (; looked < made; looked++) {
      const Offer &o = copy.offers[looked];
      if (o.device == device && o.inode == inode && o.memory == memory) return fetch(process, o.ends[end]);
    }
    if (copy.in_place || !wait_for_word(copy.offers_made, made, deadline)) return -ETIMEDOUT;
  }
}

void descriptors_are_in_place() {
  if (!whole()) return;
  own_copy().in_place = 1;
  futex_wake(own_copy().in_place);
}

bool rebuild_fetched(Descriptor &d) {
  const Copy &copy = page().copy(d.fetched.process, own_clone());
  const double deadline = now_ms() + offer_timeout_ms;
  while (!copy.in_place)
    if (!wait_for_word(copy.in_place, 0, deadline)) return place(-ETIMEDOUT, d);
  return place_with_duplicates((int)fetch(d.fetched.process, d.fetched.fd), d);
}

void folders_are_mounted() {
  if (!whole()) return;
  page().clone(own_clone()).mounted = 1;
  futex_wake(page().clone(own_clone()).mounted);
}

bool enter_folders_of_root() {
  const std::atomic<int> &mounted = page().clone(own_clone()).mounted;
  const double deadline = now_ms() + copying_timeout_ms;
  while (!mounted)
    if (!wait_for_word(mounted, 0, deadline))
      return fail(ETIMEDOUT) << "the clone's private folders were not there in time", false;
  const long pidfd = sys(SYS_pidfd_open, page().processes[0].pid, 0);
  const long r = pidfd < 0 ? pidfd : sys(SYS_setns, pidfd, CLONE_NEWNS);
  if (pidfd >= 0) sys(SYS_close, pidfd);
  if (r >= 0) return true;
  return fail((int)-r) << "entering the mount namespace with the clone's private folders is refused (error "
                       << -r << ")",
         false;
}

void close_offers() {
  if (!whole()) return;
  Copy &copy = own_copy();
  for (int i = 0; i < copy.offers_made; i++)
    for (const int fd : copy.offers[i].ends)
      if (fd >= 0) sys(SYS_close, fd);
}

}  // namespace gridcentric::live_clone::tree
