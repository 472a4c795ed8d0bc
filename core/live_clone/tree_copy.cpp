#include "tree_copy.hpp"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_data.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr size_t names_size = 32 * 1024, attributes_size = 64 * 1024, buckets = 256;

// What overlayfs has written down about the layers below, and finds out again.
constexpr const char *left_out[] = {"user.overlay.origin", "user.overlay.impure", "user.overlay.nlink",
                                    "user.overlay.uuid"};

/// A folder that is being copied.
struct Level {
  Level *above;
  int from, to;
  char *names;
  long size, at;
  size_t path_length;  ///< of the path of what is in it
  struct stat facts;
};

/// A file with several names, which has been copied.
struct Linked {
  Linked *next;
  uint64_t inode;
  char path[1];
};

class Copy {
 public:
  Copy(const char *to) : target_(to) {}

  bool run(const char *from) {
    attributes_ = static_cast<char *>(engine.arena.take(attributes_size));
    path_ = static_cast<char *>(engine.arena.take(path_size));
    if (!attributes_ || !path_) return fail_arena();
    path_[0] = 0;
    const long source = sys(SYS_openat, AT_FDCWD, from, folder_flags, 0);
    const long target = sys(SYS_openat, AT_FDCWD, target_, folder_flags, 0);
    root_ = (int)target;
    if (source < 0 || target < 0) return refuse(source < 0 ? source : target);
    struct stat facts {};
    if (const long r = sys(SYS_fstat, source, &facts); r < 0) return refuse(r);
    if (!enter((int)source, (int)target, facts, 0)) return false;
    while (level_)
      if (!step()) return false;
    return true;
  }

 private:
  static constexpr int folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  static constexpr size_t path_size = 16 * 1024;

  bool refuse(long r) {
    Text text = fail((int)-r);
    text << "a changed file of a private folder can't be copied into the clone (error " << -r << ")";
    if (r == -ENOSPC) text << ", because the memory that files may use is full";
    if (r == -EMFILE) text << ", because folders are nested deeper than the limit of open files (ulimit -n)";
    (text << ": ").path(path_);
    return false;
  }

  bool enter(int from, int to, const struct stat &facts, size_t path_length) {
    Level *level = spare_;
    if (level) {
      spare_ = level->above;
    } else {
      level = static_cast<Level *>(engine.arena.take(sizeof(Level)));
      if (level) level->names = static_cast<char *>(engine.arena.take(names_size));
      if (!level || !level->names) return fail_arena();
    }
    *level = {level_, from, to, level->names, 0, 0, path_length, facts};
    level_ = level;
    return true;
  }

  bool leave() {
    Level *level = level_;
    path_[level->path_length] = 0;
    const bool ok = finish(level->from, level->to, level->facts);
    sys(SYS_close, level->from);
    sys(SYS_close, level->to);
    level_ = level->above;
    level->above = spare_;
    spare_ = level;
    return ok;
  }

  bool step() {
    Level &level = *level_;
    if (level.at >= level.size) {
      level.size = sys(SYS_getdents64, level.from, level.names, names_size);
      level.at = 0;
      if (level.size < 0) return refuse(level.size);
      if (level.size == 0) return leave();
    }
    const auto *entry = reinterpret_cast<DirectoryEntry *>(level.names + level.at);
    level.at += entry->length;
    const char *name = entry->name;
    if (same_text(name, ".") || same_text(name, "..")) return true;
    const size_t length = level.path_length;
    if (length + strlen(name) + 2 > path_size) return refuse(-ENAMETOOLONG);
    if (length) path_[length] = '/';
    strcpy_to(path_ + length + (length ? 1 : 0), name);
    return copy(level, name);
  }

  static void strcpy_to(char *to, const char *from) { memcpy(to, from, strlen(from) + 1); }

  bool copy(const Level &level, const char *name) {
    struct stat facts {};
    const long seen = sys(SYS_newfstatat, level.from, name, &facts, AT_SYMLINK_NOFOLLOW);
    if (seen == -ENOENT) return true;
    if (seen < 0) return refuse(seen);
    const unsigned kind = facts.st_mode & S_IFMT;
    if (kind == S_IFDIR) return copy_folder(level, name, facts);
    if (facts.st_nlink > 1) {
      if (const Linked *known = find(facts.st_ino)) {
        const long r = sys(SYS_linkat, root_, known->path, level.to, name, 0);
        if (r != -ENOENT) return r == 0 || refuse(r);
      } else if (!remember(facts.st_ino))
        return fail_arena();
    }
    if (kind == S_IFREG) return copy_regular(level, name, facts);
    if (kind == S_IFLNK) return copy_link(level, name, facts);
    const long made = sys(SYS_mknodat, level.to, name, facts.st_mode, facts.st_rdev);
    if (made < 0) return refuse(made);
    return is_whiteout(facts) || finish_named(level.to, name, facts);
  }

  static bool is_whiteout(const struct stat &facts) {
    return (facts.st_mode & S_IFMT) == S_IFCHR && facts.st_rdev == 0;
  }

  bool copy_folder(const Level &level, const char *name, const struct stat &facts) {
    const long from = sys(SYS_openat, level.from, name, folder_flags, 0);
    if (from == -ENOENT) return true;
    if (from < 0) return refuse(from);
    long to = sys(SYS_mkdirat, level.to, name, 0700);
    if (to >= 0) to = sys(SYS_openat, level.to, name, folder_flags, 0);
    if (to < 0) return sys(SYS_close, from), refuse(to);
    return enter((int)from, (int)to, facts, strlen(path_));
  }

  bool copy_regular(const Level &level, const char *name, const struct stat &facts) {
    const long from = sys(SYS_openat, level.from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);
    if (from == -ENOENT) return true;
    if (from < 0) return refuse(from);
    const long to = sys(SYS_openat, level.to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = to < 0 ? (int)-to : copy_data((int)from, (int)to, (uint64_t)facts.st_size);
    const bool ok = err ? refuse(-err) : finish((int)from, (int)to, facts);
    sys(SYS_close, from);
    if (to >= 0) sys(SYS_close, to);
    return ok;
  }

  bool copy_link(const Level &level, const char *name, const struct stat &facts) {
    char *text = attributes_;  // free at the moment
    const long n = sys(SYS_readlinkat, level.from, name, text, attributes_size - 1);
    if (n == -ENOENT) return true;
    if (n < 0) return refuse(n);
    text[n] = 0;
    const long r = sys(SYS_symlinkat, text, level.to, name);
    return r < 0 ? refuse(r) : finish_named(level.to, name, facts);
  }

  // Owner, mode, attributes and times, of what is open.
  bool finish(int from, int to, const struct stat &facts) {
    struct stat made {};
    long r = sys(SYS_fstat, to, &made);
    if (r == 0 && (made.st_uid != facts.st_uid || made.st_gid != facts.st_gid))
      r = sys(SYS_fchown, to, facts.st_uid, facts.st_gid);
    if (r < 0 || !copy_attributes(from, to)) return r < 0 ? refuse(r) : false;
    r = sys(SYS_fchmod, to, facts.st_mode & 07777);
    if (r < 0) return refuse(r);
    const timespec times[2] = {facts.st_atim, facts.st_mtim};
    sys(SYS_utimensat, to, nullptr, times, 0);
    return true;
  }

  // The same for what cannot be opened.
  bool finish_named(int folder, const char *name, const struct stat &facts) {
    struct stat made {};
    long r = sys(SYS_newfstatat, folder, name, &made, AT_SYMLINK_NOFOLLOW);
    if (r == 0 && (made.st_uid != facts.st_uid || made.st_gid != facts.st_gid))
      r = sys(SYS_fchownat, folder, name, facts.st_uid, facts.st_gid, AT_SYMLINK_NOFOLLOW);
    if (r == 0 && (facts.st_mode & S_IFMT) != S_IFLNK)
      r = sys(SYS_fchmodat, folder, name, facts.st_mode & 07777);
    if (r < 0) return refuse(r);
    const timespec times[2] = {facts.st_atim, facts.st_mtim};
    sys(SYS_utimensat, folder, name, times, AT_SYMLINK_NOFOLLOW);
    return true;
  }

  bool copy_attributes(int from, int to) {
    constexpr size_t half = attributes_size / 2;
    const long size = sys(SYS_flistxattr, from, attributes_, half);
    if (size <= 0) return size == 0 || size == -ENOTSUP || refuse(size);
    for (const char *name = attributes_; name < attributes_ + size; name += strlen(name) + 1) {
      bool skip = false;
      for (const char *other : left_out) skip |= same_text(name, other);
      if (skip) continue;
      const long n = sys(SYS_fgetxattr, from, name, attributes_ + half, half);
      if (n < 0) return refuse(n);
      const long r = sys(SYS_fsetxattr, to, name, attributes_ + half, n, 0);
      // Those of security modules are theirs to give.
      if (r < 0 && !(after(name, "security.") && (r == -EPERM || r == -ENOTSUP))) return refuse(r);
    }
    return true;
  }

  const Linked *find(uint64_t inode) const {
    for (const Linked *l = linked_[inode % buckets]; l; l = l->next)
      if (l->inode == inode) return l;
    return nullptr;
  }

  bool remember(uint64_t inode) {
    const size_t length = strlen(path_) + 1;
    auto *l = static_cast<Linked *>(engine.arena.take(sizeof(Linked) + length));
    if (!l) return false;
    l->next = linked_[inode % buckets];
    l->inode = inode;
    memcpy(l->path, path_, length);
    linked_[inode % buckets] = l;
    return true;
  }

  const char *target_;
  int root_ = -1;
  Level *level_ = nullptr, *spare_ = nullptr;
  char *attributes_ = nullptr, *path_ = nullptr;
  Linked *linked_[buckets] = {};
};

}  // namespace

bool copy_layer(const char *from, const char *to) {
  const size_t used = engine.arena.used;
  Copy copy(to);
  const bool ok = copy.run(from);
  engine.arena.used = used;
  return ok;
}

}  // namespace gridcentric::live_clone
