// What the processes of a tree have open, for the preflight of each of them: as the plan does (tree/objects.cpp), it must know what the
// others hold. Reads only /proc.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace gridcentric::live_clone {

class OpenFiles {
 public:
  /// The next process, the root first; `pid` as this process has to call it.
  void add(const std::string &proc, int pid);

 private:
  friend class Surroundings;
  using File = std::pair<dev_t, ino_t>;
  struct Table {
    std::string proc;
    int pid;
    std::map<File, std::vector<int>> descriptors;
    std::map<File, int> pipe_ends;  ///< see pipes.hpp
  };
  std::vector<Table> tables_;
  std::set<File> streams_;  ///< standard streams of the root
  std::map<File, int> stream_ends_;
  std::set<uint32_t> sockets_;
  std::set<int> pty_masters_;                 ///< numbers
  std::set<std::pair<int, File>> pty_sides_;  ///< the other sides
};

/// Of one process: where it stands among them. One that is cloned alone has none.
class Surroundings {
 public:
  Surroundings() = default;
  Surroundings(const OpenFiles &all, size_t place) : all_(&all), place_(place) {}

  /// It may be alone, too.
  bool is_root() const { return place_ == 0; }
  /// Is it one of the standard streams that clones share with the master?
  bool is_standard(const std::string &proc, int fd) const;
  /// Is it an open file of a process before this one, which makes it anew?
  bool is_made_by_another(int fd) const;

  struct Pipe {
    int ends = 0;     ///< that others have
    int streams = 0;  ///< those that are the root's standard streams
  };
  Pipe of_pipe(dev_t device, ino_t inode) const;
  /// Have any of them both sides of this pseudo-terminal? Then it is made anew.
  bool have_pty(int number) const;
  /// Has any of them this socket?
  bool have_socket(uint32_t inode) const { return all_ && all_->sockets_.contains(inode); }

 private:
  const OpenFiles *all_ = nullptr;
  size_t place_ = 0;
};

/// The pseudo-terminal of which this is the master side, by its device and fdinfo; -1: of none.
int pty_mastered(dev_t device, const std::string &fdinfo);

/// The numbers of a process's descriptors, without the one that reads them.
std::set<int> descriptors_of(const std::string &proc);

/// A copy of another process's descriptor, which the caller closes; -1: there is none, or it is not permitted.
int copy_of_descriptor(int pid, int fd);

}  // namespace gridcentric::live_clone
