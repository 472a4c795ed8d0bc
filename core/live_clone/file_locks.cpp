// File locks: finds those that the master holds, and takes the shared ones again in the clone, in private folders all; file_locks.hpp has what each
// means. A forked process does not inherit locks, and locks are advisory, so a clone that still believed in its master's
// locks would write into the middle of the master's transaction. Runs while threads are parked, or in a clone with one
// thread: see sys.hpp.
#include "file_locks.hpp"

#include <sys/file.h>

#include "descriptor.hpp"

namespace gridcentric::live_clone {

struct HeldLock {
  int descriptor;  ///< index
  FileLock lock;
};

namespace {

struct Link {
  char text[4096];
  explicit Link(int fd) {
    const long n = sys(SYS_readlinkat, AT_FDCWD, Path("/proc/self/fd/", fd).text, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
  }
};

bool refuse_transaction(const Descriptor &d, const FileLock &lock) {
  engine.result.passes = true;
  engine.result.locked_fd = d.fd;
  Text text = fail(EBUSY);
  tell(text, lock, d.fd, Link(d.fd).text);
  return false;
}

void leave_to_master(const Descriptor &owned) {
  const Link locked(owned.fd);
  for (Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::file && (d.flags & O_ACCMODE) != O_RDONLY &&
        ((d.inode == owned.inode && d.device == owned.device) || is_owned_with(Link(d.fd).text, locked.text)))
      d.file.read_only = true;
}

bool take_again(const HeldLock &held) {
  const Descriptor &d = engine.plan.descriptors[(size_t)held.descriptor];
  long r;
  if (held.lock.type == FileLock::flock) {
    r = sys(SYS_flock, d.fd, (held.lock.writes ? LOCK_EX : LOCK_SH) | LOCK_NB);
  } else {
    struct flock range {};
    range.l_type = held.lock.writes ? F_WRLCK : F_RDLCK;
    range.l_whence = SEEK_SET;
    range.l_start = (off_t)held.lock.start;
    range.l_len = (off_t)held.lock.length;
    r = sys(SYS_fcntl, d.fd, held.lock.type == FileLock::posix ? F_SETLK : F_OFD_SETLK, &range);
  }
  if (r == 0) return true;
  return (fail_descriptor((int)-r, d) << "its lock can't be taken in the clone (error " << -r << "): ")
             .path(Link(d.fd).text),
         false;
}

}  // namespace

// "lock:\t1: POSIX  ADVISORY  READ  4711 fe:01:815 120 120", the end inclusive or EOF.
const char *next_lock(const char *text, FileLock *lock) {
  for (const char *p = text; *p; p = next_line(p)) {
    if (!after(p, "lock:")) continue;
    if (find_in_line(p, ": POSIX "))
      lock->type = FileLock::posix;
    else if (find_in_line(p, ": OFDLCK "))
      lock->type = FileLock::open_file;
    else if (find_in_line(p, ": FLOCK "))
      lock->type = FileLock::flock;
    else
      continue;  // a lease: not a claim to the file
    const char *at = find_in_line(p, " READ ");
    lock->writes = !at;
    if (!at) at = find_in_line(p, " WRITE ");
    if (!at) continue;  // being unlocked
    const auto skip = [&](bool blanks) {
      while (*at && *at != '\n' && (*at == ' ') == blanks) at++;
    };
    for (int words = 0; words < 3; words++) skip(true), skip(false);  // READ, a pid, device and inode
    skip(true);
    unsigned long first = 0, last = 0;
    at = parse_dec(at, &first);
    skip(true);
    lock->start = first;
    lock->length = 0;
    if (!after(at, "EOF")) parse_dec(at, &last), lock->length = last - first + 1;
    return next_line(p);
  }
  return nullptr;
}

LockRule rule_of(const FileLock &lock) {
  if (!lock.writes) return LockRule::take_again;
  const bool whole = lock.start == 0 && lock.length == 0;
  return lock.type == FileLock::flock || whole ? LockRule::leave : LockRule::wait_for;
}

bool is_owned_with(const char *path, const char *locked) {
  const char *name = locked;
  for (const char *p = locked; *p; p++)
    if (*p == '/') name = p + 1;
  if (same_text(name, "LOCK")) {
    const char *p = path;
    for (const char *q = locked; q < name; q++, p++)
      if (*p != *q) return false;
    return true;
  }
  const char *rest = after(path, locked);
  return rest && (!*rest || *rest == '.' || *rest == '-');
}

Text &tell(Text &text, const FileLock &lock, int fd, const char *path) {
  (text << "descriptor " << fd << " (").path(path) << "): ";
  switch (rule_of(lock)) {
    case LockRule::take_again:
      return text << "clones take its shared lock again";
    case LockRule::wait_for:
      return text
             << "a transaction holds a write lock on part of the file; clone() waits for it to end, at most "
             << passing_timeout_ms / 1000 << " s, and then fails: commit, roll back or close it first";
    case LockRule::leave:
      return text << "the file lock stays with the master; in clones the file is read-only";
  }
  return text;
}

bool plan_file_locks() {
  for (size_t i = 0; i < engine.plan.descriptors.count; i++) {
    Descriptor &d = engine.plan.descriptors[i];
    if (d.kind != Kind::file || !d.file.locked) continue;
    const char *info = fdinfo(d);
    if (!info) return false;
    FileLock lock{};
    bool told = false;
    while ((info = next_lock(info, &lock))) {
      // The file in the clone is another one: it is locked there as it was here.
      switch (d.private_path ? LockRule::take_again : rule_of(lock)) {
        case LockRule::take_again: {
          HeldLock *held = engine.plan.locks.add(engine.arena);
          if (!held) return fail_arena();
          *held = {(int)i, lock};
          break;
        }
        case LockRule::wait_for:
          return refuse_transaction(d, lock);
        case LockRule::leave:
          leave_to_master(d);
          if (told) break;
          Text text = note();
          end_note(tell(text, lock, d.fd, Link(d.fd).text));
          told = true;
      }
    }
  }
  return true;
}

bool is_transaction_over(int fd) {
  const long n = read_file(Path("/proc/self/fdinfo/", fd), engine.scratch, engine.scratch_size);
  FileLock lock{};
  for (const char *info = n > 0 ? engine.scratch : ""; (info = next_lock(info, &lock));)
    if (rule_of(lock) == LockRule::wait_for) return false;
  return true;
}

bool rebuild_file_locks() {
  for (const HeldLock &held : engine.plan.locks)
    if (!take_again(held)) return false;
  return true;
}

}  // namespace gridcentric::live_clone
