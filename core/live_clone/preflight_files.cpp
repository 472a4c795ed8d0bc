// See preflight_files.hpp. Reads only /proc, so that it works for any process of the same user; skips what is closed
// meanwhile.
#include "preflight_files.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "file_locks.hpp"
#include "pipes.hpp"
#include "preflight_private.hpp"

namespace gridcentric::live_clone {
namespace {

struct End {
  int fd, ends;
};

class Files {
 public:
  Files(std::string proc, const Surroundings &around)
      : proc_(std::move(proc)), around_(around), private_folders_(proc_) {}

  std::vector<std::string> all() {
    for (int fd : descriptors_of(proc_)) look_at(fd);
    for (const auto &[pipe, ends] : pipes_) pipe_notes(ends, around_.of_pipe(pipe.first, pipe.second));
    for (const auto &[number, fd] : pty_masters_)
      if (!pty_others_.count(number) || standard_ptys_.count(number)) note(fd, dead_pty);
    return std::move(notes_);
  }

 private:
  void note(int fd, const std::string &what) {
    notes_.push_back("descriptor " + std::to_string(fd) + ": " + what);
  }

  std::string info(int fd) const {
    std::ifstream file(proc_ + "/fdinfo/" + std::to_string(fd));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  static unsigned long number_in(const std::string &info, const char *key, int base) {
    const char *at = field(info.c_str(), key);
    return at ? strtoul(at, nullptr, base) : 0;
  }

  void look_at(int fd) {
    struct stat st {};
    const std::string name = proc_ + "/fd/" + std::to_string(fd);
    if (stat(name.c_str(), &st) != 0) return;
    const unsigned kind = st.st_mode & S_IFMT;
    if (kind == S_IFCHR) terminal(fd, st);
    if (kind != S_IFIFO && kind != S_IFREG) return;
    const std::string text = info(fd);
    const int flags = (int)number_in(text, "flags:", 8);
    if (flags & O_PATH) return;
    if (kind == S_IFIFO)
      pipes_[{st.st_dev, st.st_ino}].push_back({fd, pipe_ends(flags)});
    else if (!private_folders_.holds(text))
      lock_notes(fd, name, text);
  }

  void terminal(int fd, const struct stat &st) {
    const unsigned which = major(st.st_rdev), number = minor(st.st_rdev);
    if (around_.is_made_by_another(fd)) return;
    if (which == 5 && number == 2) {
      const std::string text = info(fd);
      pty_masters_.emplace((unsigned)number_in(text, "tty-index:", 10), fd);
    } else if (which >= 136 && which <= 143) {
      pty_others_.insert((which - 136) * 256 + number);
      if (around_.is_standard(proc_, fd)) standard_ptys_.insert((which - 136) * 256 + number);
    }
  }

  void lock_notes(int fd, const std::string &name, const std::string &text) {
    char path[4096];
    const ssize_t n = readlink(name.c_str(), path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    FileLock lock{};
    for (const char *at = text.c_str(); (at = next_lock(at, &lock));) {
      if (rule_of(lock) == LockRule::take_again) continue;
      if (around_.is_standard(proc_, fd) || around_.is_made_by_another(fd)) return;
      char line[sizeof path + 256];
      Text told(line, sizeof line);
      tell(told, lock, fd, path);
      if (said_.insert(line).second) notes_.push_back(line);
    }
  }

  void pipe_notes(const std::vector<End> &descriptors, const Surroundings::Pipe &elsewhere) {
    int all = 0, standard = elsewhere.streams, told = 0;
    for (const End &d : descriptors) {
      all |= d.ends;
      if (around_.is_root() && d.fd <= 2) standard |= d.ends;
    }
    if (pipe_is_in_tree(all, elsewhere.ends) || pipe_is_inside(all, standard)) return;
    for (const End &d : descriptors) {
      if (pipe_stays_shared(d.ends, standard) || !(d.ends & ~told)) continue;
      told |= d.ends;
      note(d.fd, dead_pipe);
    }
  }

  const std::string proc_;
  const Surroundings &around_;
  const PrivateFoldersSeen private_folders_;
  std::map<std::pair<dev_t, ino_t>, std::vector<End>> pipes_;
  std::map<unsigned, int> pty_masters_;
  std::set<unsigned> pty_others_, standard_ptys_;
  std::set<std::string> said_;
  std::vector<std::string> notes_;
};

}  // namespace

std::vector<std::string> notes_on_files(const std::string &proc, const Surroundings &around) {
  return Files(proc, around).all();
}

}  // namespace gridcentric::live_clone
