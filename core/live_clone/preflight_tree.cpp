// The preflight of a tree. Finds its processes as gather.cpp does, but stops none of them, and says by the same table
// (tree/refused_processes.hpp) which can't be cloned. The others are examined one after the other, as the plan of each would be made.
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "preflight.hpp"
#include "preflight_text.hpp"
#include "tree/page.hpp"
#include "tree/refused_processes.hpp"

namespace gridcentric::live_clone {
namespace {

using tree::Facts;

constexpr double starting_ms = 500;  // for a process to load the library
constexpr const char *reaper = "gc-reaper";

std::string folder_of(int proc_pid) { return "/proc/" + std::to_string(proc_pid); }

std::vector<int> children_of(int proc_pid) {
  std::vector<int> found;
  const std::string tasks = folder_of(proc_pid) + "/task";
  DIR *dir = opendir(tasks.c_str());
  if (!dir) return found;
  while (const dirent *e = readdir(dir)) {
    if (e->d_name[0] == '.') continue;
    std::istringstream list(read_text(tasks + "/" + e->d_name + "/children"));
    for (int child; list >> child;) found.push_back(child);
  }
  closedir(dir);
  return found;
}

// Nothing of a process that has ended, or is about to: the kernel takes its memory away before all else.
std::optional<Facts> look_at(int proc_pid) {
  const std::string status = read_text(folder_of(proc_pid) + "/status");
  if (status.empty()) return std::nullopt;
  Facts facts{};
  tree::read_facts(status.c_str(), &facts);
  const bool ending = facts.state != 'Z' && !field(status.c_str(), "VmSize:");
  return ending || tree::is_over(facts) ? std::nullopt : std::optional(facts);
}

bool has_library(int proc_pid) {
  return read_text(folder_of(proc_pid) + "/maps").find(tree::library) != std::string::npos;
}

int parent_of(int proc_pid) {
  const std::string status = read_text(folder_of(proc_pid) + "/status");
  const char *parent = field(status.c_str(), "PPid:");
  return parent ? atoi(parent) : 0;
}

// All its pids, from that in /proc's namespace to that in its own.
std::vector<int> pids_of(const std::string &proc) {
  const std::string status = read_text(proc + "/status");
  const char *list = field(status.c_str(), "NSpid:");
  std::istringstream numbers(list ? std::string(list, static_cast<size_t>(next_line(list) - list)) : "");
  std::vector<int> pids;
  for (int pid; numbers >> pid;) pids.push_back(pid);
  return pids;
}

bool is_reaper(int proc_pid) {
  char path[4096];
  const ssize_t n = readlink((folder_of(proc_pid) + "/exe").c_str(), path, sizeof path);
  const std::string name(path, n > 0 ? static_cast<size_t>(n) : 0);
  return name.substr(name.rfind('/') + 1).starts_with(reaper);
}

// The pid for which a gc-reaper stands (tree/children.cpp); 0: for none.
int stood_for(int proc_pid) {
  std::string words = read_text(folder_of(proc_pid) + "/cmdline");
  std::ranges::replace(words, '\0', ' ');
  std::istringstream line(words);
  std::string program, what, status;
  int pid = 0;
  line >> program >> what >> status >> pid;
  return what == "stand-in" ? pid : 0;
}

struct Member {
  int proc_pid;
  Facts facts;
  std::optional<Refusal> refusal;  ///< why it can't be part of the tree
};

class Finder {
 public:
  Finder(int root, int left_out) : root_(root), left_out_(left_out) {}

  std::vector<Member> all() {
    const auto facts = look_at(root_);
    if (!facts) return {};
    likeness_ = {facts->depth, facts->user};
    found_.push_back({root_, *facts, std::nullopt});
    // The list grows meanwhile: children of children follow their parents.
    for (size_t i = 0; i < found_.size() && !too_many(); i++)
      if (!found_[i].refusal)
        for (const int child : children_of(found_[i].proc_pid)) add(child);
    return std::move(found_);
  }

 private:
  bool too_many() const { return found_.size() > static_cast<size_t>(tree::most_processes); }

  void add(int proc_pid) {
    if (is_reaper(proc_pid)) proc_pid = in_this_clone(stood_for(proc_pid));
    if (!proc_pid || proc_pid == left_out_ || !known_.insert(proc_pid).second) return;
    auto facts = look_at(proc_pid);
    if (!facts) return;
    bool loaded = is_loaded(proc_pid, *facts);
    while (facts && now_ms() - begin_ < starting_ms && tree::may_be_starting(*facts, loaded, likeness_)) {
      nanosleep(&between_looks, nullptr);
      facts = look_at(proc_pid);
      loaded = facts && is_loaded(proc_pid, *facts);
    }
    if (!facts) return;
    found_.push_back({proc_pid, *facts, refusal_of(*facts, loaded)});
  }

  std::optional<Refusal> refusal_of(const Facts &facts, bool loaded) const {
    char why[text_size];
    Text obstacle(why, sizeof why);
    if (tree::tell_obstacle(obstacle, facts, loaded, likeness_))
      return Refusal{EOPNOTSUPP, said([&](Text &text) { tree::tell_child(text, facts) << why; })};
    if (found_.size() == static_cast<size_t>(tree::most_processes))
      return Refusal{E2BIG, said([](Text &text) { tree::tell_too_many(text); })};
    return std::nullopt;
  }

  static bool is_loaded(int proc_pid, const Facts &facts) {
    return facts.handles_signal && has_library(proc_pid);
  }

  // The processes of a clone are children of its pid 1, and so is its root, perhaps with another gc-reaper between.
  int in_this_clone(int pid) const {
    int first = pid ? parent_of(root_) : 0;
    while (first && is_reaper(first) && pids_of(folder_of(first)).back() != 1) first = parent_of(first);
    if (!first || !is_reaper(first)) return 0;
    for (const int child : children_of(first)) {
      const auto facts = look_at(child);
      if (facts && facts->pid == pid && facts->depth == likeness_.depth) return child;
    }
    return 0;
  }

  const int root_, left_out_;
  const double begin_ = now_ms();
  tree::Likeness likeness_{};
  std::vector<Member> found_;
  std::set<int> known_;
};

Preflight::Process named(const Member &member, int root) {
  return {member.proc_pid, said([&](Text &text) {
            if (member.proc_pid != root) tree::tell_process(text, member.facts.pid, member.facts.name);
          })};
}

}  // namespace

std::vector<Preflight::Process> processes_of_tree(int root) {
  std::vector<Preflight::Process> processes;
  for (const Member &member : Finder(root, 0).all())
    if (!member.refusal) processes.push_back(named(member, root));
  return processes;
}

Preflight preflight_of_tree(int root, Mode mode, int left_out) {
  const auto members = Finder(root, left_out).all();
  if (members.empty()) return preflight_of(root, mode);
  const auto own = pids_of("/proc/self");
  OpenFiles open_files;
  std::vector<Examined> examined;
  std::vector<Preflight::Process> processes;
  Preflight all;
  if (mode != Mode::pidns) all.refusals.push_back({EINVAL, tree::pidns_mode_only});
  for (const Member &member : members) {
    if (member.refusal) all.refusals.push_back(*member.refusal);
    if (member.refusal) continue;
    const auto pids = pids_of(folder_of(member.proc_pid));
    if (pids.size() < own.size()) continue;  // it has just ended
    const int pid = pids[own.size() - 1];
    const bool self = pid == getpid();
    examined.push_back({self ? "/proc/self" : folder_of(member.proc_pid), pid, self});
    open_files.add(examined.back().proc, pid);
    processes.push_back(named(member, root));
  }
  for (size_t i = 0; i < examined.size(); i++) {
    const std::string &heading = processes[i].heading;
    const Preflight one = examine(examined[i], mode, Surroundings(open_files, i));
    if (!look_at(processes[i].proc_pid)) continue;  // it ended meanwhile: what was seen of it is not true
    all.processes.push_back(processes[i]);
    for (const Refusal &refusal : one.refusals) all.refusals.push_back({refusal.err, heading + refusal.what});
    for (const std::string &note : one.notes) all.notes.push_back(heading + note);
    all.threads += one.threads;
    all.descriptors += one.descriptors;
  }
  all.can_clone = all.refusals.empty();
  return all;
}

}  // namespace gridcentric::live_clone
