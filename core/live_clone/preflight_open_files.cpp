#include "preflight_open_files.hpp"

#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "descriptor.hpp"
#include "pipes.hpp"
#include "preflight_text.hpp"

namespace gridcentric::live_clone {
namespace {

std::string name_of(const std::string &proc, int fd) { return proc + "/fd/" + std::to_string(fd); }

int pipe_ends_of(const std::string &proc, int fd) {
  const std::string info = read_text(proc + "/fdinfo/" + std::to_string(fd));
  const char *flags = field(info.c_str(), "flags:");
  return flags ? pipe_ends(static_cast<int>(strtoul(flags, nullptr, 8))) : 0;
}

}  // namespace

int pty_mastered(dev_t device, const std::string &fdinfo) {
  const char *number = device == makedev(5, 2) ? field(fdinfo.c_str(), "tty-index:") : nullptr;
  return number ? atoi(number) : -1;
}

std::set<int> descriptors_of(const std::string &proc) {
  std::set<int> found;
  DIR *dir = opendir((proc + "/fd").c_str());
  if (!dir) return found;
  while (const dirent *e = readdir(dir))
    if (e->d_name[0] != '.') found.insert(atoi(e->d_name));
  if (proc == "/proc/self") found.erase(dirfd(dir));
  closedir(dir);
  return found;
}

int copy_of_descriptor(int pid, int fd) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return -1;
  const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
  close(pidfd);
  return copy;
}

void OpenFiles::add(const std::string &proc, int pid) {
  Table table{proc, pid, {}, {}};
  for (const int fd : descriptors_of(proc)) {
    struct stat st {};
    if (stat(name_of(proc, fd).c_str(), &st) != 0) continue;
    const File file{st.st_dev, st.st_ino};
    table.descriptors[file].push_back(fd);
    const int ends = S_ISFIFO(st.st_mode) ? pipe_ends_of(proc, fd) : 0;
    if (ends) table.pipe_ends[file] |= ends;
    if (S_ISCHR(st.st_mode)) {
      pty_masters_.insert(pty_mastered(st.st_rdev, read_text(proc + "/fdinfo/" + std::to_string(fd))));
      pty_sides_.insert({number_of_pty(st.st_rdev), file});
    }
    if (S_ISSOCK(st.st_mode)) sockets_.insert(static_cast<uint32_t>(st.st_ino));
    if (!tables_.empty() || fd > 2) continue;
    streams_.insert(file);
    if (ends) stream_ends_[file] |= ends;
  }
  tables_.push_back(std::move(table));
}

bool Surroundings::is_standard(const std::string &proc, int fd) const {
  if (place_ == 0) return fd <= 2;
  struct stat st {};
  return stat(name_of(proc, fd).c_str(), &st) == 0 && all_->streams_.contains({st.st_dev, st.st_ino});
}

bool Surroundings::is_made_by_another(int fd) const {
  if (place_ == 0) return false;
  const OpenFiles::Table &own = all_->tables_[place_];
  struct stat st {};
  if (stat(name_of(own.proc, fd).c_str(), &st) != 0) return false;
  for (size_t i = 0; i < place_; i++) {
    const OpenFiles::Table &other = all_->tables_[i];
    const auto same = other.descriptors.find({st.st_dev, st.st_ino});
    if (same != other.descriptors.end() && std::ranges::any_of(same->second, [&](int theirs) {
          return syscall(SYS_kcmp, other.pid, own.pid, KCMP_FILE, theirs, fd) == 0;
        }))
      return true;
  }
  return false;
}

bool Surroundings::have_pty(int number) const {
  return all_ && number >= 0 && all_->pty_masters_.contains(number) &&
         std::ranges::any_of(all_->pty_sides_, [&](const auto &side) {
           return side.first == number && !all_->streams_.contains(side.second);
         });
}

Surroundings::Pipe Surroundings::of_pipe(dev_t device, ino_t inode) const {
  Pipe found;
  for (size_t i = 0; all_ && i < all_->tables_.size(); i++) {
    if (i == place_) continue;
    const auto &ends = all_->tables_[i].pipe_ends;
    if (const auto at = ends.find({device, inode}); at != ends.end()) found.ends |= at->second;
  }
  if (!all_ || place_ == 0) return found;
  if (const auto at = all_->stream_ends_.find({device, inode}); at != all_->stream_ends_.end())
    found.streams = at->second;
  return found;
}

}  // namespace gridcentric::live_clone
