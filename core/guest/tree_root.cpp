#include "core/guest/tree_root.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace gridcentric::guest {
namespace {

namespace fs = std::filesystem;

std::string folder_of(int proc_pid) { return "/proc/" + std::to_string(proc_pid); }

std::string first_line(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<fs::path> tasks_of(int proc_pid) {
  std::vector<fs::path> tasks;
  std::error_code ignored;
  for (fs::directory_iterator at(folder_of(proc_pid) + "/task", ignored), end; !ignored && at != end;
       at.increment(ignored))
    tasks.push_back(at->path());
  return tasks;
}

bool is_root(int proc_pid) {
  for (const auto &task : tasks_of(proc_pid))
    if (first_line(task / "comm") == listener_of_tree) return true;
  return false;
}

int parent_of(int proc_pid) {
  std::ifstream status(folder_of(proc_pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("PPid:")) return std::atoi(line.c_str() + 5);
  return 0;
}

// In a clone all processes are children of a gc-reaper.
int root_below(int reaper) {
  for (const auto &task : tasks_of(reaper)) {
    std::ifstream children(task / "children");
    for (int child; children >> child;)
      if (is_root(child)) return child;
  }
  return 0;
}

}  // namespace

int root_of_tree(int proc_pid) {
  for (int at = proc_pid; at > 0; at = parent_of(at)) {
    if (is_root(at)) return at;
    if (first_line(folder_of(at) + "/comm") != "gc-reaper") continue;
    if (const int root = root_below(at)) return root;
  }
  return 0;
}

int own_number() {
  std::error_code ignored;
  return std::atoi(fs::read_symlink("/proc/self", ignored).c_str());
}

}  // namespace gridcentric::guest
