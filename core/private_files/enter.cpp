#include "core/private_files/enter.hpp"

#include <fcntl.h>
#include <gridcentric/gc-guest.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/guest/client.hpp"
#include "core/private_files/folders.hpp"

namespace gridcentric::private_files {
namespace {

// Empty folders that the kernel keeps for mounting something. So nothing has to be made in a file system, which somebody
// would have to remove. The first one on which nothing is mounted is taken; the others hold nothing that programs need.
constexpr const char *places[] = {"/sys/fs/fuse/connections", "/sys/kernel/debug", "/sys/kernel/config",
                                  "/sys/kernel/tracing",      "/sys/fs/pstore",    "/sys/fs/bpf",
                                  "/sys/kernel/security"};

[[noreturn]] void refuse(const std::string &what) { throw guest::Error(GC_E_NOT_SUPPORTED, what); }
[[noreturn]] void refuse_argument(const std::string &what) {
  throw guest::Error(GC_E_INVALID_ARGUMENT, what);
}

std::string system_text(int error) { return std::strerror(error); }

bool is_below(const std::string &path, const std::string &folder) {
  return path.starts_with(folder == "/" ? folder : folder + "/");
}

std::string real_path(const std::string &wanted) {
  char *real = ::realpath(wanted.c_str(), nullptr);
  if (real == nullptr)
    refuse_argument("--private-files: '" + wanted + "' cannot be found: " + system_text(errno));
  std::string path = real;
  std::free(real);
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode))
    refuse_argument("--private-files: '" + wanted + "' is not a folder");
  return path;
}

void check_mounts(const std::string &folder, const std::vector<Mount> &mounts) {
  if (folder == "/")
    refuse(
        "--private-files: '/' has other file systems mounted below it, which an overlay would hide: name the "
        "folders that the program writes to");
  for (const Mount &mount : mounts)
    if (is_below(mount.point, folder))
      refuse("--private-files: '" + folder + "' cannot be private, because '" + mount.point +
             "' is mounted below it and an overlay would hide it: name folders without mounts");
}

std::string place_for_store(const std::vector<Mount> &mounts) {
  std::string first;
  for (const char *place : places) {
    struct statfs system {};
    if (::statfs(place, &system) != 0) continue;
    if (first.empty()) first = place;
    if (system.f_type == SYSFS_MAGIC &&
        std::none_of(mounts.begin(), mounts.end(), [&](const Mount &mount) { return mount.point == place; }))
      return place;
  }
  if (first.empty())
    refuse(
        "--private-files: there is no /sys here, on which the memory for changed files could be mounted: "
        "mount sysfs on /sys");
  return first;
}

void write_whole(const char *path, const std::string &text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!written) refuse(std::string("--private-files: cannot write ") + path + ": " + system_text(error));
}

void map_own_id(const char *path, unsigned id) {
  const std::string number = std::to_string(id);
  write_whole(path, number + " " + number + " 1\n");
}

void leave_for_own_namespaces() {
  if (::unshare(CLONE_NEWNS) == 0) return;  // root
  const unsigned user = ::geteuid(), group = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    refuse("--private-files: a user and mount namespace is refused here (" + system_text(errno) +
           "): allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone; a "
           "container's seccomp profile) or run it as root with CAP_SYS_ADMIN");
  write_whole("/proc/self/setgroups", "deny");
  map_own_id("/proc/self/uid_map", user);
  map_own_id("/proc/self/gid_map", group);
}

// Clones copy the store without being root: attributes that only root can set would be lost.
void check_attributes(const std::string &store) {
  if (::setxattr(store.c_str(), "user.overlay.trial", "y", 1, 0) != 0)
    refuse(
        "--private-files: overlayfs needs extended attributes of files in memory (tmpfs), which this "
        "kernel has not (" +
        system_text(errno) + "): expected Linux 6.6 or newer with CONFIG_TMPFS_XATTR");
  ::removexattr(store.c_str(), "user.overlay.trial");
}

void mount_store(const std::string &store) {
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    refuse("--private-files: mounts cannot be made private: " + system_text(errno));
  if (::mount(store_source, store.c_str(), "tmpfs", 0, "mode=0700") != 0)
    refuse("--private-files: a file system in memory (tmpfs) cannot be mounted: " + system_text(errno) +
           (errno == EPERM || errno == EACCES
                ? " (AppArmor may forbid it: sysctl kernel.apparmor_restrict_unprivileged_userns)"
                : ""));
  check_attributes(store);
}

// The first folder of a layer is what the private folder looks like from outside.
void make_folder(const std::string &path, const struct stat &like) {
  if (::mkdir(path.c_str(), 0700) != 0 || ::chmod(path.c_str(), like.st_mode & 07777) != 0)
    refuse("--private-files: cannot make '" + path + "': " + system_text(errno));
  // An ordinary user has no other owners to give it to.
  if (like.st_uid != ::geteuid() || like.st_gid != ::getegid())
    static_cast<void>(::chown(path.c_str(), like.st_uid, like.st_gid) == 0);
}

void make_private(const std::string &folder, unsigned number, const std::string &store) {
  const std::string suffix = std::to_string(number);
  struct stat like {};
  if (::stat(folder.c_str(), &like) != 0)
    refuse("--private-files: '" + folder + "' cannot be read: " + system_text(errno));
  make_folder(store + "/" + real_name + suffix, like);
  make_folder(store + "/" + changes_name + suffix, like);
  make_folder(store + "/" + work_name + suffix, like);
  const std::string real = store + "/" + real_name + suffix;
  if (::mount(folder.c_str(), real.c_str(), nullptr, MS_BIND, nullptr) != 0)
    refuse("--private-files: '" + folder + "' cannot be mounted a second time: " + system_text(errno));
  char options[160];
  std::snprintf(options, sizeof options, overlay_options, number, number, number);
  if (::chdir(store.c_str()) != 0 ||
      ::mount((folder_source + suffix).c_str(), folder.c_str(), "overlay", 0, options) != 0)
    refuse("--private-files: overlayfs cannot be mounted on '" + folder + "': " + system_text(errno) +
           (errno == ENODEV  ? " (this kernel has no overlayfs: modprobe overlay)"
            : errno == EPERM ? " (ordinary users may mount it since Linux 5.11)"
                             : " (its file system may not be one that overlayfs can lie on)"));
}

}  // namespace

std::vector<std::string> checked(const std::vector<std::string> &wanted) {
  if (!folders_of("/proc/self").store.empty())
    refuse(
        "--private-files: this program has been started with private folders itself, which are private to "
        "the "
        "clones of all programs in it, too: leave the option out");
  const auto mounts = mounts_of("/proc/self");
  std::vector<std::string> folders;
  for (const std::string &name : wanted) {
    const std::string folder = real_path(name);
    check_mounts(folder, mounts);
    for (const std::string &other : folders)
      if (other == folder || is_below(other, folder) || is_below(folder, other))
        refuse_argument("--private-files: '" + other + "' and '" + folder +
                        "' overlap: name only the outer one");
    folders.push_back(folder);
  }
  return folders;
}

void enter(const std::vector<std::string> &folders) {
  char *here = ::getcwd(nullptr, 0);
  if (here == nullptr) refuse("--private-files: the working folder has no path: " + system_text(errno));
  const std::string working_folder = here;
  std::free(here);
  const std::string store = place_for_store(mounts_of("/proc/self"));
  leave_for_own_namespaces();
  mount_store(store);
  for (std::size_t i = 0; i < folders.size(); ++i) make_private(folders[i], static_cast<unsigned>(i), store);
  ::setenv(variable, "1", 1);
  if (::chdir(working_folder.c_str()) != 0)
    refuse("--private-files: the working folder '" + working_folder +
           "' cannot be entered again: " + system_text(errno));
}

}  // namespace gridcentric::private_files
