// See private_files.hpp. The clone leaves the master's mount namespace for its own, mounts a new store over the copied one,
// copies the master's changes there and mounts an overlay over each folder, of the real folder and these. The copied mounts below
// cannot be unmounted, as they belong to another user namespace, but nobody sees them.
#include "private_files.hpp"

#include <linux/sched.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tree/tree.hpp"
#include "tree_copy.hpp"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif

namespace gridcentric::live_clone {

const char *const removed_folder = "a folder that has been removed, or the path of what has been removed,";
const char *const removed_working_folder =
    "the working folder has been removed, so a clone can't have its own: change to another one first";

const char *const hidden_private_folders =
    "the private folders of this program can't be found from its root folder (chroot), so a clone can't have "
    "its own";

namespace {

constexpr const char *real = "real", *work = "work";  // core/private_files/folders.hpp

bool is_same(const struct stat &a, const struct stat &b) {
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

// Does the path lead to this file?
bool leads_to(const char *path, const struct stat &st) {
  struct stat there {};
  return sys(SYS_newfstatat, AT_FDCWD, path, &there, AT_SYMLINK_NOFOLLOW) == 0 && is_same(there, st);
}

// What a link in /proc says, in the arena; null with a failure recorded.
const char *keep_link(const char *link) {
  char *text = engine.scratch;
  const long n = sys(SYS_readlinkat, AT_FDCWD, link, text, longest_path);
  if (n < 0) return fail((int)-n) << link << " can't be read (error " << -n << ")", nullptr;
  auto *kept = static_cast<char *>(engine.arena.take((size_t)n + 1));
  if (!kept) return fail_arena(), nullptr;
  memcpy(kept, text, (size_t)n);
  kept[n] = 0;
  return kept;
}

const PrivateFolder *folder_of_mount(int fd, const char *path) {
  const Prepared &p = engine.prepared;
  if (!p.private_folder_count) return nullptr;
  struct statx facts {};
  if (sys(SYS_statx, fd, path, *path ? 0 : AT_EMPTY_PATH, STATX_MNT_ID, &facts) < 0) return nullptr;
  for (size_t i = 0; i < p.private_folder_count; i++)
    if (p.private_folders[i].mount == facts.stx_mnt_id) return &p.private_folders[i];
  return nullptr;
}

// ---- the clone's namespace

bool write_own(const char *file, const char *text) {
  const long fd = sys(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return false;
  const long n = sys(SYS_write, fd, text, strlen(text));
  sys(SYS_close, fd);
  return n == (long)strlen(text);
}

bool map_own_id(const char *file, long id) {
  char line[64];
  Text(line, sizeof line) << id << " " << id << " 1";
  return write_own(file, line);
}

// In pidns mode the clone has a user namespace in which it may mount; in plain mode it makes one, unless it is root.
bool leave_mounts() {
  const long user = sys(SYS_geteuid), group = sys(SYS_getegid);
  long r = sys(SYS_unshare, CLONE_NEWNS);
  if (r == -EPERM && !engine.pidns()) {
    r = sys(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS);
    if (r == 0 && !(write_own("/proc/self/setgroups", "deny") && map_own_id("/proc/self/uid_map", user) &&
                    map_own_id("/proc/self/gid_map", group)))
      r = -EACCES;
    sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);  // new credentials may have undone it
  }
  if (r == 0) return true;
  return fail((int)-r) << "a mount namespace for private folders is refused in the clone (error " << -r
                       << ")",
         false;
}

bool refuse_mount(const char *what, const char *where, long r) {
  (fail((int)-r) << "the clone's own view of a private folder: " << what << " is refused (error " << -r
                 << "): ")
      .path(where);
  return false;
}

/// "changes3", or the same below the store.
struct Layer {
  char text[256];
  Layer(const char *name, unsigned number, const char *folder = "") {
    Text(text, sizeof text) << folder << (*folder ? "/" : "") << name << number;
  }
};

// A folder like one in the copied store, which is the working folder.
bool make_layer(const Layer &fresh, const Layer &old) {
  struct stat like {};
  long r = sys(SYS_newfstatat, AT_FDCWD, old.text, &like, 0);
  if (r == 0) r = sys(SYS_mkdirat, AT_FDCWD, fresh.text, 0700);
  if (r == 0) r = sys(SYS_fchmodat, AT_FDCWD, fresh.text, like.st_mode & 07777);
  if (r == 0 && (like.st_uid != (uid_t)sys(SYS_geteuid) || like.st_gid != (gid_t)sys(SYS_getegid)))
    sys(SYS_fchownat, AT_FDCWD, fresh.text, like.st_uid, like.st_gid, 0);
  return r == 0 || refuse_mount("making a folder", fresh.text, r);
}

bool fill_store(const char *store) {
  for (size_t i = 0; i < engine.prepared.private_folder_count; i++) {
    const unsigned number = engine.prepared.private_folders[i].number;
    const Layer old_real(real, number), old_changes(changes_name, number), old_work(work, number);
    const Layer own_real(real, number, store), own_changes(changes_name, number, store),
        own_work(work, number, store);
    if (!make_layer(own_real, old_real) || !make_layer(own_changes, old_changes) ||
        !make_layer(own_work, old_work))
      return false;
    const long r = sys(SYS_mount, old_real.text, own_real.text, nullptr, MS_BIND, nullptr);
    if (r < 0) return refuse_mount("mounting the real folder", own_real.text, r);
    if (!copy_layer(old_changes.text, own_changes.text)) return false;
  }
  return true;
}

bool mount_folders() {
  for (size_t i = 0; i < engine.prepared.private_folder_count; i++) {
    const PrivateFolder &folder = engine.prepared.private_folders[i];
    char options[160], source[64];
    Text(options, sizeof options) << "userxattr,lowerdir=" << real << folder.number
                                  << ",upperdir=" << changes_name << folder.number << ",workdir=" << work
                                  << folder.number;
    Text(source, sizeof source) << "gridcentric-folder-" << folder.number;
    const long r = sys(SYS_mount, source, folder.path, "overlay", 0, options);
    if (r < 0) return refuse_mount("overlayfs", folder.path, r);
  }
  return true;
}

// `before` was opened in the namespace that unshare() has made: a relative path leads nowhere else.
bool return_to_working_folder(int before) {
  const char *own = engine.plan.private_working_folder;
  const long r = own ? sys(SYS_chdir, own) : sys(SYS_fchdir, before);
  return r == 0 || refuse_mount("entering the working folder", own ? own : ".", r);
}

// Below the root of a tree: the root's copy makes the mounts for all.
bool enter_with_the_root() {
  const long before = sys(SYS_openat, AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (before < 0) return refuse_mount("opening the working folder", ".", before);
  const bool ok = tree::enter_folders_of_root() && return_to_working_folder((int)before);
  sys(SYS_close, before);
  return ok;
}

}  // namespace

const PrivateFolder *private_folder_of(int fd) { return folder_of_mount(fd, ""); }

bool plan_private_files() {
  Plan &plan = engine.plan;
  plan.private_working_folder = nullptr;
  if (!engine.prepared.private_folder_count) return true;
  const bool below = folder_of_mount(AT_FDCWD, ".");
  if (below || tree::is_member()) {
    struct stat here {};
    sys(SYS_newfstatat, AT_FDCWD, ".", &here, 0);
    const char *path = keep_link("/proc/self/cwd");
    if (!path) return false;
    const bool there = leads_to(path, here);
    if (below && !there) return fail(EOPNOTSUPP) << removed_working_folder, false;
    if (there) plan.private_working_folder = path;
  }
  return plan_private_mappings();
}

bool classify_private_file(Descriptor &d, const PrivateFolder &folder, const struct stat &st) {
  const unsigned mode = st.st_mode & S_IFMT;
  const bool path_only = d.flags & O_PATH;
  if (mode != S_IFREG && mode != S_IFDIR && !path_only) return true;  // a FIFO: as everywhere
  const char *path = keep_link(Path("/proc/self/fd/", d.fd));
  if (!path) return false;
  d.file.map_device = folder.device;
  d.file.size = (uint64_t)st.st_size;
  if (leads_to(path, st)) {
    d.kind = Kind::file;
    d.private_path = path;
  } else if (mode == S_IFREG && !path_only) {
    d.kind = Kind::shared_memory;
  } else {
    Text text = fail(EOPNOTSUPP);
    return tell_refused(text, d.fd, removed_folder), false;
  }
  return true;
}

bool classify_folder_outside(Descriptor &d, const struct stat &st) {
  if (!engine.prepared.private_folder_count || (st.st_mode & S_IFMT) != S_IFDIR) return true;
  const char *path = keep_link(Path("/proc/self/fd/", d.fd));
  if (!path) return false;
  if (!leads_to(path, st)) return true;  // it has been removed
  d.kind = Kind::file;
  d.folder_path = path;
  return true;
}

void note_private_file(const Descriptor &d) {
  struct stat st {};
  if (d.file.offset == 0 || (d.flags & O_PATH) || sys(SYS_fstat, d.fd, &st) < 0) return;
  if ((st.st_mode & S_IFMT) != S_IFDIR) return;
  Text text = note();
  end_note(tell_read_folder(text, d.fd));
}

Text &tell_read_folder(Text &text, int fd) {
  return text << "descriptor " << fd
              << ": a private folder that is being read; a clone may see some names twice or not at all";
}

bool enter_private_folders() {
  const char *store = engine.prepared.store;
  if (!engine.prepared.private_folder_count) return true;
  if (tree::is_member()) return enter_with_the_root();
  if (!leave_mounts()) return false;
  const long before = sys(SYS_openat, AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (before < 0) return refuse_mount("opening the working folder", ".", before);
  long r = sys(SYS_chdir, store);
  if (r == 0) r = sys(SYS_mount, "gridcentric-store", store, "tmpfs", 0, "mode=0700");
  if (r < 0) return refuse_mount("a file system in memory", store, r);
  const bool filled = fill_store(store);
  r = filled ? sys(SYS_chdir, store) : 0;
  if (r < 0) return refuse_mount("entering it", store, r);
  const bool ok = filled && mount_folders() && return_to_working_folder((int)before);
  sys(SYS_close, before);
  if (ok) tree::folders_are_mounted();
  return ok;
}

bool reopen_by_path(Descriptor &d) {
  const char *path = d.private_path ? d.private_path : d.folder_path;
  const int flags = d.flags & O_PATH ? O_PATH | O_NOFOLLOW | O_CLOEXEC : reopening_flags(d) | O_NOFOLLOW;
  long fd = sys(SYS_openat, AT_FDCWD, path, flags, 0);
  if (fd == -EPERM && (flags & O_NOATIME)) fd = sys(SYS_openat, AT_FDCWD, path, flags & ~O_NOATIME, 0);
  if (fd >= 0 && d.file.offset > 0) sys(SYS_lseek, fd, d.file.offset, SEEK_SET);
  return place_with_duplicates((int)fd, d);
}

}  // namespace gridcentric::live_clone
