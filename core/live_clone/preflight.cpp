// Can this process be cloned? Looks from outside, through /proc, so that it works for any process of the same user, and
// stops no thread. It finds what the plan (descriptors.cpp, memory.cpp) would refuse later, by the same tables
// (refusals.cpp). If it is not allowed to look, it says so: what it could not see never counts as fine.
#include "preflight.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "arch.hpp"
#include "descriptor.hpp"
#include "libc_profile.hpp"
#include "preflight_files.hpp"
#include "preflight_private.hpp"
#include "preflight_rings.hpp"
#include "preflight_sockets.hpp"
#include "preflight_text.hpp"
#include "watches.hpp"

namespace gridcentric::live_clone {
namespace {

std::string value_of(const std::string &text, const std::string &key) {
  size_t at = text.rfind("\n" + key, text.size());
  if (text.rfind(key, 0) == 0) at = 0;
  if (at == std::string::npos) return "";
  at = text.find(':', at) + 1;
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) at++;
  return text.substr(at, text.find('\n', at) - at);
}

std::string read_link(const std::string &path, int *err = nullptr) {
  char link[4096];
  const ssize_t n = readlink(path.c_str(), link, sizeof link);
  if (n < 0 && err) *err = errno;
  return n < 0 ? "" : std::string(link, (size_t)n);
}

// The names in a folder of /proc, without the descriptor that reads it, which /proc/self/fd lists too.
std::vector<std::string> entries(const std::string &path, int *err = nullptr) {
  std::vector<std::string> names;
  DIR *dir = opendir(path.c_str());
  if (!dir) {
    if (err) *err = errno;
    return names;
  }
  const std::string own = path == "/proc/self/fd" ? std::to_string(dirfd(dir)) : "";
  while (const dirent *e = readdir(dir))
    if (e->d_name[0] != '.' && own != e->d_name) names.push_back(e->d_name);
  closedir(dir);
  std::sort(names.begin(), names.end(),
            [](const std::string &a, const std::string &b) { return atoi(a.c_str()) < atoi(b.c_str()); });
  return names;
}

unsigned long long size_of(const std::string &range) {  // START-END
  char *end = nullptr;
  const unsigned long long start = strtoull(range.c_str(), &end, 16);
  return *end == '-' ? strtoull(end + 1, nullptr, 16) - start : 0;
}

constexpr double waiting_ms =
    3000;  // instead of passing_ms: a thread that waits for a processor cannot leave its state yet

// Duplicates share one open file, which the plan reports once.
class OpenFilesSeen {
 public:
  explicit OpenFilesSeen(pid_t pid) : pid_(pid) {}

  bool is_first(int fd, const std::string &link) {
    const bool anonymous = link.rfind("anon_inode:", 0) == 0;  // all of a kind have one name
    for (int other : of_link_[link])
      if (!anonymous || syscall(SYS_kcmp, pid_, pid_, KCMP_FILE, fd, other) == 0) return false;
    of_link_[link].push_back(fd);
    return true;
  }

 private:
  const pid_t pid_;
  std::map<std::string, std::vector<int>> of_link_;
};

class Examination {
 public:
  Examination(const Examined &process, Mode mode, Surroundings around = {})
      : proc_(process.proc),
        pid_(process.pid),
        self_(process.self),
        mode_(mode),
        around_(around),
        rings_(pid_, self_),
        sockets_(proc_, pid_, self_, around_),
        private_folders_(proc_),
        files_(pid_) {}

  Preflight all() {
    engine_itself();
    process();
    threads();
    descriptors(true);
    mappings();
    result_.can_clone = result_.refusals.empty();
    return std::move(result_);
  }

  std::vector<Refusal> urgent(const std::vector<int> &left_out) {
    engine_itself();
    process();
    descriptors(false, left_out);
    return std::move(result_.refusals);
  }

 private:
  void refuse(int err, const std::string &what) { result_.refusals.push_back({err, what}); }
  void note(const std::string &what) { result_.notes.push_back(what); }
  void refuse_descriptor(const std::string &fd, const char *what, const char *more = "") {
    refuse(EOPNOTSUPP, said([&](Text &text) { tell_refused(text, atoi(fd.c_str()), what, more); }));
  }
  void refuse_unread(int err, const std::string &what) {
    const char *way_out = self_ ? "" : ": run this as its user, or as root with CAP_SYS_PTRACE";
    refuse(err, what + " can't be read (" + strerror(err) + ")" + way_out);
  }

  void engine_itself() {
    if (!arch::proven)
      refuse(EOPNOTSUPP, std::string("live clone has never been run on ") + arch::name +
                             ": run tests/live_clone there first and set `proven` in its arch file");
    if (!self_) return;
    const LibcProfile &libc = libc_profile();
    if (mode_ == Mode::plain && !libc.glibc)
      refuse(EOPNOTSUPP, "plain mode knows the locks of glibc only, and this process runs on " + libc.name +
                             ": allow user namespaces, so that pidns mode works");
    int *address = nullptr;
    if (prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0) != 0)
      refuse(EOPNOTSUPP, "the kernel was built without CONFIG_CHECKPOINT_RESTORE (PR_GET_TID_ADDRESS)");
  }

  void process() {
    const std::string status = read_text(proc_ + "/status");
    if (status.empty()) return;
    const std::string tracer = value_of(status, "TracerPid");
    if (!tracer.empty() && tracer != "0")
      refuse(EOPNOTSUPP, "process " + tracer + " traces this one (a debugger, strace): detach it first");
    if (value_of(status, "x86_Thread_features").find("shstk") != std::string::npos)
      refuse(EOPNOTSUPP, "the process runs with a shadow stack: set GLIBC_TUNABLES=glibc.cpu.x86_shstk=off");
    if (value_of(status, "State").starts_with('Z')) {
      const bool others_run = entries(proc_ + "/task").size() > 1;
      refuse(EOPNOTSUPP, others_run
                             ? "the main thread has ended (pthread_exit): such a process can't be cloned"
                             : "the process has ended (a zombie, until its parent waits for it)");
    } else if (value_of(status, "VmSize").empty()) {
      refuse(EOPNOTSUPP, "it is a kernel thread, not a process");
    }
    for (const Refusal &refusal : private_folders_.refusals()) result_.refusals.push_back(refusal);
    if (access((proc_ + "/timers").c_str(), F_OK) != 0)
      note("the kernel has no /proc/PID/timers: timers of timer_create() are not carried over");
  }

  void threads() {
    std::string filters;
    std::map<std::string, const char *> stuck;
    for (const std::string &tid : entries(proc_ + "/task")) {
      const std::string status = read_text(proc_ + "/task/" + tid + "/status");
      if (status.empty()) continue;  // it has just ended
      const std::string name = value_of(status, "Name");
      if (is_of_kernel(name)) continue;
      result_.threads++;
      if (const char *why = why_stuck(status)) stuck[tid] = why;
      const std::string filter = value_of(status, "Seccomp") + "/" + value_of(status, "Seccomp_filters");
      if (filters.empty()) filters = filter;
      if (filter != filters)
        refuse(EOPNOTSUPP, "thread " + tid + " (" + name +
                               ") has its own seccomp filter, which can't be set up in a clone");
    }
    note_what_stays(stuck);
  }

  // It works for a ring.
  static bool is_of_kernel(const std::string &name) {
    return name.starts_with("iou-wrk-") || name.starts_with("iou-sqp-");
  }

  static const char *why_stuck(const std::string &status) {
    if (is_of_kernel(value_of(status, "Name"))) return nullptr;  // it had no name yet at first
    if (strtoul(value_of(status, "SigBlk").c_str(), nullptr, 16) >> 32 & 1) return "blocks signal 33";
    return value_of(status, "State").starts_with('D') ? "waits in the kernel (vfork, disk)" : nullptr;
  }

  // A thread that creates another blocks all signals for a moment, and so does the new one: report only a state that lasts.
  void note_what_stays(std::map<std::string, const char *> &stuck) {
    for (const double begin = now_ms(); !stuck.empty(); nanosleep(&between_looks, nullptr)) {
      const double waited = now_ms() - begin;
      for (auto it = stuck.begin(); it != stuck.end();) {
        const std::string status = read_text(proc_ + "/task/" + it->first + "/status");
        const char *why = status.empty() ? nullptr : why_stuck(status);
        const bool stays =
            why && waited >= (value_of(status, "State").starts_with('R') ? waiting_ms : passing_ms);
        if (stays)
          note("thread " + it->first + " (" + value_of(status, "Name") + ") " + why +
               ": if that does not change, it can't be stopped and the clone fails");
        it = why && !stays ? std::next(it) : stuck.erase(it);
      }
    }
  }

  void descriptors(bool closely, const std::vector<int> &left_out = {}) {
    int err = 0;
    for (const std::string &fd : entries(proc_ + "/fd", &err)) {
      if (std::find(left_out.begin(), left_out.end(), atoi(fd.c_str())) != left_out.end()) continue;
      int link_err = 0;
      const std::string link = read_link(proc_ + "/fd/" + fd, &link_err);
      if (link_err && link_err != ENOENT) err = link_err;  // ENOENT: it has just been closed
      if (link.empty()) continue;
      result_.descriptors++;
      if (is_ring(link.c_str())) ring(fd, closely);
      if (const char *why = refused_file(link.c_str())) refuse_descriptor(fd, why);
      std::string degraded;
      if (const std::string why = private_folders_.why_not(atoi(fd.c_str()), link, &degraded); !why.empty())
        refuse_descriptor(fd, why.c_str());
      if (!closely) continue;
      if (!degraded.empty()) note(degraded);
      const bool told = link.rfind("socket:", 0) == 0 || link == "anon_inode:[eventpoll]" ||
                        link == "anon_inode:inotify" || link == "anon_inode:[inotify]";
      if (!told) continue;  // there may be thousands of others
      const bool first = files_.is_first(atoi(fd.c_str()), link),
                 shared = !first || around_.is_standard(proc_, atoi(fd.c_str())) ||
                          around_.is_made_by_another(atoi(fd.c_str()));
      if (link.rfind("socket:", 0) == 0)
        sockets_.look_at(atoi(fd.c_str()), link, shared);
      else if (!shared)
        degraded_file(atoi(fd.c_str()), link);
    }
    if (err) refuse_unread(err, "what its descriptors are");
    if (!closely) return;
    for (const Refusal &refusal : sockets_.refusals()) result_.refusals.push_back(refusal);
    for (const std::string &what : sockets_.notes()) note(what);
    for (const std::string &what : notes_on_files(proc_, around_)) note(what);
  }

  // Work in flight in a ring is not reported, as it may be done in a moment: the plan checks it, with all threads stopped.
  void ring(const std::string &fd, bool closely) {
    const std::string info = read_text(proc_ + "/fdinfo/" + fd);
    if (closely) return rings_.descriptor(fd, info);
    const char *why = refused_ring(info.c_str());
    if (why && why != ring_in_flight) refuse_ring(fd, why);
  }

  void refuse_ring(const std::string &fd, const char *why) { refuse_descriptor(fd, "an io_uring ", why); }

  void degraded_file(int fd, const std::string &link) {
    if (link == "anon_inode:[eventpoll]") epoll_set(fd);
    if (link != "anon_inode:inotify" && link != "anon_inode:[inotify]") return;
    const std::string info = read_text(proc_ + "/fdinfo/" + std::to_string(fd));
    unsigned long number = 0;
    if (next_watch(info.c_str(), &number))
      note(said([&](Text &text) { tell_lost_watches(text, fd, info.c_str()); }));
  }

  // The program closes descriptors meanwhile: take the fewest of several looks.
  void epoll_set(int fd) {
    size_t lost = stale_registrations(fd);
    for (int looks = 1; lost && looks < 10; looks++) {
      nanosleep(&between_looks, nullptr);
      lost = std::min(lost, stale_registrations(fd));
    }
    if (lost) note(said([&](Text &text) { tell_lost_registrations(text, fd, lost); }));
  }

  size_t stale_registrations(int fd) {
    const std::string info = read_text(proc_ + "/fdinfo/" + std::to_string(fd));
    size_t stale = 0;
    Registration entry{};
    unsigned long inode = 0;
    for (const char *text = info.c_str(); (text = next_registration(text, &entry, &inode));) {
      struct stat st {};
      const bool open = stat((proc_ + "/fd/" + std::to_string(entry.fd)).c_str(), &st) == 0;
      stale += !open || st.st_ino != inode || !still_registered(pid_, fd, entry.fd);
    }
    return stale;
  }

  void mappings() {
    std::ifstream maps(proc_ + "/maps");
    std::string line;
    bool any = false;
    while (std::getline(maps, line)) {
      any = true;
      std::istringstream fields(line);
      std::string range, permissions, offset, device, inode, name;
      fields >> range >> permissions >> offset >> device >> inode >> std::ws;
      std::getline(fields, name);
      const bool shared = permissions.ends_with('s');
      if (is_ring(name.c_str())) rings_.mapping(inode, strtoull(offset.c_str(), nullptr, 16), size_of(range));
      if (const char *why = refused_mapping(name.c_str(), shared))
        refuse(EOPNOTSUPP, said([&](Text &text) { tell_refused_mapping(text, why, name.c_str()); }));
      if (shared && name.rfind("/SYSV", 0) == 0)
        note("System V shared memory: each clone gets its own copy, on which shmdt fails");
    }
    if (!any && result_.refusals.empty()) refuse_unread(errno ? errno : EACCES, "what its memory is");
    if (!any) return;
    for (const auto &[fd, why, said] : rings_.answers())
      why ? refuse_ring(fd, why) : note("descriptor " + fd + ": " + said);
  }

  const std::string proc_;
  const int pid_;
  const bool self_;
  const Mode mode_;
  const Surroundings around_;
  RingsSeen rings_;
  SocketsSeen sockets_;
  PrivateFoldersSeen private_folders_;
  OpenFilesSeen files_;
  Preflight result_;
};

}  // namespace

std::vector<Refusal> urgent_refusals(const Order &order) {
  return Examination(this_process(), order.mode).urgent(order.private_descriptors);
}

Preflight examine(const Examined &process, Mode mode, const Surroundings &around) {
  return Examination(process, mode, around).all();
}

Preflight preflight(Mode mode) { return examine(this_process(), mode, {}); }

Preflight preflight_of(int pid, Mode mode) {
  const std::string proc = "/proc/" + std::to_string(pid);
  struct stat st {};
  if (stat(proc.c_str(), &st) != 0) {
    Preflight missing;
    missing.refusals.push_back({ESRCH, "there is no process " + std::to_string(pid)});
    return missing;
  }
  int err = 0;
  entries(proc + "/fd", &err);
  if (err) {
    Preflight unseen;
    unseen.refusals.push_back({err, "process " + std::to_string(pid) + " can't be examined (" +
                                        std::string(strerror(err)) + "): run this as its user"});
    return unseen;
  }
  return examine({proc, pid, false}, mode, {});
}

}  // namespace gridcentric::live_clone
