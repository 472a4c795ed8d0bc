#include "core/private_files/changes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <gridcentric/gc-guest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <set>

#include "core/guest/client.hpp"
#include "core/private_files/folders.hpp"

namespace gridcentric::private_files {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor &&other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

Descriptor folder_in(int folder, const std::string &name) {
  return Descriptor(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

std::set<std::string> names_in(int folder) {
  std::set<std::string> names;
  DIR *list = folder < 0 ? nullptr : ::fdopendir(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (list == nullptr) return names;
  while (const dirent *entry = ::readdir(list))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      names.insert(entry->d_name);
  ::closedir(list);
  return names;
}

// overlayfs' mark that something of the real folder is gone.
bool is_whiteout(int folder, const std::string &name, const struct stat &facts) {
  if (S_ISCHR(facts.st_mode)) return facts.st_rdev == 0;
  if (!S_ISREG(facts.st_mode) || facts.st_size != 0) return false;
  const Descriptor file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return file.open() && ::fgetxattr(file.get(), "user.overlay.whiteout", nullptr, 0) >= 0;
}

// Does it hide everything of the real folder below it?
bool is_opaque(int folder) {
  char value = 0;
  return ::fgetxattr(folder, "user.overlay.opaque", &value, 1) == 1 && value == 'y';
}

std::string target_of(int folder, const std::string &name) {
  char target[PATH_MAX];
  const auto n = ::readlinkat(folder, name.c_str(), target, sizeof target);
  return n < 0 ? "" : std::string(target, static_cast<std::size_t>(n));
}

bool same_contents(int ours, int real, const std::string &name) {
  const Descriptor one(::openat(ours, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  const Descriptor other(::openat(real, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!one.open() || !other.open()) return false;
  std::vector<char> left(65536), right(65536);
  for (off_t at = 0;;) {
    const auto n = ::pread(one.get(), left.data(), left.size(), at);
    if (n < 0 || n != ::pread(other.get(), right.data(), right.size(), at)) return false;
    if (n == 0) return true;
    if (std::memcmp(left.data(), right.data(), static_cast<std::size_t>(n)) != 0) return false;
    at += n;
  }
}

bool same_rights(const struct stat &one, const struct stat &other) {
  return one.st_mode == other.st_mode && one.st_uid == other.st_uid && one.st_gid == other.st_gid;
}

class Comparison {
 public:
  // `real`: the folder that this one has changed, or none; `hides`: nothing of it shows through.
  void folders(int ours, int real, bool hides, const std::string &path) {
    const auto names = names_in(ours);
    for (const std::string &name : names) entry(ours, real, hides, name, path + "/" + name);
    if (!hides) return;
    for (const std::string &name : names_in(real))
      if (!names.contains(name)) add(ChangeKind::deleted, path + "/" + name);
  }

  std::vector<Change> sorted() {
    std::sort(changes_.begin(), changes_.end(),
              [](const Change &a, const Change &b) { return a.path < b.path; });
    return std::move(changes_);
  }

 private:
  void add(ChangeKind kind, const std::string &path) { changes_.push_back({kind, path}); }

  void entry(int ours, int real, bool hides, const std::string &name, const std::string &path) {
    struct stat now {
    }, before{};
    if (::fstatat(ours, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0) return;  // it has just gone
    const bool was = real >= 0 && ::fstatat(real, name.c_str(), &before, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_whiteout(ours, name, now)) {
      if (was) add(ChangeKind::deleted, path);
      return;
    }
    const bool both_folders = was && S_ISDIR(now.st_mode) && S_ISDIR(before.st_mode);
    if (!was)
      add(ChangeKind::added, path);
    else if (both_folders ? !same_rights(now, before) : !same_file(ours, real, name, now, before))
      add(ChangeKind::changed, path);
    if (!S_ISDIR(now.st_mode)) return;
    const Descriptor below = folder_in(ours, name);
    const Descriptor real_below = both_folders ? folder_in(real, name) : Descriptor(-1);
    if (below.open()) folders(below.get(), real_below.get(), hides || is_opaque(below.get()), path);
  }

  static bool same_file(int ours, int real, const std::string &name, const struct stat &now,
                        const struct stat &before) {
    if (!same_rights(now, before)) return false;
    if (S_ISLNK(now.st_mode)) return target_of(ours, name) == target_of(real, name);
    if (S_ISREG(now.st_mode)) return now.st_size == before.st_size && same_contents(ours, real, name);
    return now.st_rdev == before.st_rdev;
  }

  std::vector<Change> changes_;
};

[[noreturn]] void cannot_look(int pid, int error) {
  if (error == ENOENT || error == ESRCH)
    throw guest::Error(GC_E_NO_SUCH_DOMAIN, "process " + std::to_string(pid) + " has just ended");
  throw guest::Error(
      GC_E_NOT_SUPPORTED,
      "the files of process " + std::to_string(pid) + " cannot be read: " + std::strerror(error) +
          "; a clone may look at itself and at its own clones only: run gc outside the family, as its "
          "user, or in its master");
}

}  // namespace

std::vector<Change> changes_of(const std::string &proc, int pid) {
  const Descriptor root(::open((proc + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.open()) cannot_look(pid, errno);
  const Folders found = folders_of(proc);
  if (found.store.empty())
    throw guest::Error(GC_E_NOT_SUPPORTED,
                       "process " + std::to_string(pid) +
                           " has no private folders: its family was not started with gc run --private-files");
  Comparison comparison;
  for (const Folder &folder : found.all) {
    const std::string number = std::to_string(folder.number), store = proc + "/root" + found.store + "/";
    const Descriptor ours = folder_in(AT_FDCWD, store + changes_name + number);
    const Descriptor real = folder_in(AT_FDCWD, store + real_name + number);
    if (!ours.open() || !real.open()) cannot_look(pid, errno);
    comparison.folders(ours.get(), real.get(), false, folder.path);
  }
  return comparison.sorted();
}

}  // namespace gridcentric::private_files
