// Regular files and folders: opened again in the clone, with the same flags and their own offset. The contents are shared
// by master and clone, but for private folders (private_files.cpp). Knows nothing about locks, except that one made a file
// read-only (file_locks.cpp). Runs while
// threads are parked, or in a clone with one thread: see sys.hpp.
#include "descriptor.hpp"
#include "private_files.hpp"

namespace gridcentric::live_clone {

// Lists the flags that are kept, not those left out: flags that create a file (O_TMPFILE stays in F_GETFL) must never
// reach an existing file.
int reopening_flags(const Descriptor &d) {
  return (d.flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME)) |
         O_CLOEXEC;
}

bool plan_file(Descriptor &d) {
  const char *info = fdinfo(d);
  if (!info) return false;
  d.file.offset = (int64_t)number_in(info, "pos:");
  d.file.locked = field(info, "lock:") != nullptr;
  if (d.private_path) note_private_file(d);
  return true;
}

bool freeze_file(Descriptor &d) { return !d.file.locked || d.file.read_only || rebuild_file(d); }

// /proc/self/fd opens the file itself, even if it no longer has a name. A file that cannot be opened again (it was opened
// before privileges were dropped, say) stays shared, unless the clone must not write to it.
bool rebuild_file(Descriptor &d) {
  if (d.private_path || d.folder_path) return reopen_by_path(d);
  const Path self("/proc/self/fd/", d.fd);
  int flags = reopening_flags(d);
  if (d.file.read_only) flags &= ~(O_ACCMODE | O_APPEND);
  long fd = sys(SYS_openat, AT_FDCWD, self.text, flags, 0);
  if (fd == -EPERM && (flags & O_NOATIME)) fd = sys(SYS_openat, AT_FDCWD, self.text, flags & ~O_NOATIME, 0);
  if (fd < 0 && d.file.read_only) fd = sys(SYS_openat, AT_FDCWD, self.text, O_PATH | O_CLOEXEC, 0);
  if (fd < 0) return !d.file.read_only || place((int)fd, d);
  if (d.file.offset > 0) sys(SYS_lseek, fd, d.file.offset, SEEK_SET);
  return place_with_duplicates((int)fd, d);
}

}  // namespace gridcentric::live_clone
