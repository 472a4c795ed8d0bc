// See preflight_files.hpp. Reads only /proc, so that it works for any process of the same user; skips what is closed
// meanwhile.
#include "preflight_files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "descriptor.hpp"
#include "file_locks.hpp"
#include "pipes.hpp"
#include "preflight_private.hpp"
#include "preflight_text.hpp"

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
      if (!around_.have_pty(number) && (!pty_others_.count(number) || standard_ptys_.count(number)))
        note(fd, dead_pty);
    controlling_terminal();
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
    if (around_.is_made_by_another(fd)) return;
    if (const int number = pty_mastered(st.st_rdev, info(fd)); number >= 0) pty_masters_.emplace(number, fd);
    if (const int number = number_of_pty(st.st_rdev); number >= 0) {
      pty_others_.insert(number);
      if (around_.is_standard(proc_, fd)) standard_ptys_.insert(number);
    }
  }

  void controlling_terminal() {
    const std::string text = read_text(proc_ + "/stat");
    std::istringstream after_name(text.substr(std::min(text.size(), text.rfind(')') + 1)));
    std::string state;
    long parent = 0, group = 0, session = 0;
    uint64_t device = 0;
    after_name >> state >> parent >> group >> session >> device;
    if (around_.have_pty(number_of_pty(device)) && (around_.is_root() || session != atol(text.c_str())))
      notes_.emplace_back(left_terminal);
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
  std::map<int, int> pty_masters_;
  std::set<int> pty_others_, standard_ptys_;
  std::set<std::string> said_;
  std::vector<std::string> notes_;
};

}  // namespace

std::vector<std::string> notes_on_files(const std::string &proc, const Surroundings &around) {
  return Files(proc, around).all();
}

}  // namespace gridcentric::live_clone
