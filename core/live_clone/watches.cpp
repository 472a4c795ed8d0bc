// inotify. The kernel does not say which file a watch is on, so a clone cannot add it again: its instance has no watches. But
// a fresh instance would give the old watches' numbers to new ones, and a listener that knows an old number would get another
// watch's events. The kernel counts numbers up, so the clone adds and removes watches until it is past the master's highest.
// Each removal sends IN_IGNORED, as when a watch ends; those with numbers that the master had are left for the program to
// read. Runs while threads are parked, or in a clone whose threads do not run yet: see sys.hpp.
#include "watches.hpp"

#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "descriptor.hpp"

namespace gridcentric::live_clone {
namespace {

struct Watches {
  unsigned long highest = 0, count = 0;
};

Watches watches_in(const char *fdinfo) {
  Watches all;
  unsigned long number = 0;
  for (const char *p = fdinfo; (p = next_watch(p, &number)); all.count++)
    if (number > all.highest) all.highest = number;
  return all;
}

bool had(const Descriptor &d, unsigned long number) {
  return d.inotify.watches[number / 64] >> number % 64 & 1;
}

bool fail_watch(const Descriptor &d, long error) {
  Text text = fail_descriptor((int)-error, d);
  text << "its watch numbers can't be used up in the clone (error " << -error << ")";
  if (error == -ENOSPC) text << ": raise fs.inotify.max_user_watches";
  return false;
}

// Watches a pipe, on which nothing happens; the watch keeps it alive.
struct Pipe {
  int ends[2] = {-1, -1};
  const long error;
  Pipe() : error(sys(SYS_pipe2, ends, O_CLOEXEC)) {}
  ~Pipe() {
    for (int fd : ends)
      if (fd >= 0) sys(SYS_close, fd);
  }
  Pipe(const Pipe &) = delete;
  Pipe &operator=(const Pipe &) = delete;
};

// Returns the watch's number, or -errno.
long add_watch(const Descriptor &d, const Pipe &pipe) {
  if (pipe.error < 0) return pipe.error;
  return sys(SYS_inotify_add_watch, d.fd, Path("/proc/self/fd/", pipe.ends[0]).text, IN_DELETE_SELF);
}

void read_events(const Descriptor &d) {
  int waiting = 0;
  while (sys(SYS_ioctl, d.fd, FIONREAD, &waiting) == 0 && waiting > 0)
    if (sys(SYS_read, d.fd, engine.scratch, engine.scratch_size) <= 0) return;
}

// Uses up the numbers up to `end` without leaving events. Watches with numbers of the master's stay for now, each on its own
// file.
bool pass_gaps(const Descriptor &d, unsigned long end, const Pipe &passing) {
  for (unsigned long number = 1; number <= end; number++) {
    const bool stays = had(d, number);
    const long given = stays ? add_watch(d, Pipe()) : add_watch(d, passing);
    if (given < 0) return fail_watch(d, given);
    if (!stays) sys(SYS_inotify_rm_watch, d.fd, given);
    if (number % 64 == 0) read_events(d);  // before the queue is full
  }
  read_events(d);
  return true;
}

}  // namespace

// "inotify wd:1 ino:14a3 sdev:800001 mask:...", with the number in hexadecimal.
const char *next_watch(const char *text, unsigned long *number) {
  for (const char *p = text; *p; p = next_line(p)) {
    const char *at = after(p, "inotify wd:");
    if (at) return next_line(parse_hex(at, number));
  }
  return nullptr;
}

Text &tell_lost_watches(Text &text, int fd, const char *fdinfo) {
  const Watches all = watches_in(fdinfo);
  text << "descriptor " << fd << ": inotify, its " << all.count
       << (all.count == 1 ? " watch must be added again" : " watches must be added again");
  if (all.highest > highest_watch_kept_apart)
    text << ", to a new inotify: this one would reuse their numbers, up to " << all.highest;
  return text;
}

bool plan_inotify(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  const Watches all = watches_in(info);
  if (!all.count) return true;
  Text text = note();
  end_note(tell_lost_watches(text, d.fd, info));
  if (all.highest > highest_watch_kept_apart) return true;
  const size_t bytes = (all.highest / 64 + 1) * sizeof *d.inotify.watches;
  d.inotify.watches = static_cast<uint64_t *>(engine.arena.take(bytes));
  if (!d.inotify.watches) return fail_arena();
  memset(d.inotify.watches, 0, bytes);
  d.inotify.highest = (uint32_t)all.highest;
  unsigned long number = 0;
  for (const char *p = info; (p = next_watch(p, &number));)
    d.inotify.watches[number / 64] |= 1ul << number % 64;
  return true;
}

bool rebuild_inotify(Descriptor &d) {
  return place_with_duplicates((int)sys(SYS_inotify_init1, (d.flags & O_NONBLOCK) | IN_CLOEXEC), d);
}

bool end_watches(Descriptor &d) {
  if (!d.inotify.highest) return true;
  const Pipe passing;
  unsigned long gap = d.inotify.highest;  // the highest number that none of the master's watches has
  while (gap > 0 && had(d, gap)) gap--;
  if (!pass_gaps(d, gap, passing)) return false;
  for (unsigned long number = 1; number <= d.inotify.highest; number++) {
    if (!had(d, number)) continue;
    const long given = number > gap ? add_watch(d, passing) : (long)number;
    if (given < 0) return fail_watch(d, given);
    sys(SYS_inotify_rm_watch, d.fd, given);
  }
  return true;
}

}  // namespace gridcentric::live_clone
