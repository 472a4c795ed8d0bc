#include "core/private_files/folders.hpp"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif

namespace gridcentric::private_files {
namespace {

// "\040" is a blank.
std::string unescaped(const std::string &text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\' || text.size() - at < 4) {
      plain += text[at];
      continue;
    }
    plain += static_cast<char>(std::strtol(text.substr(at + 1, 3).c_str(), nullptr, 8));
    at += 3;
  }
  return plain;
}

// Is it what a path leads to, and not hidden by another mount?
bool is_on_top(const std::string &proc, const Mount &mount) {
  struct statx facts {};
  return ::syscall(SYS_statx, AT_FDCWD, (proc + "/root" + mount.point).c_str(), 0, STATX_MNT_ID, &facts) ==
             0 &&
         facts.stx_mnt_id == mount.id;
}

constexpr const char *any_source = " - ", *our_sources = " gridcentric-";

// "36 35 98:0 /root /where rw,noatime master:1 - ext3 /dev/root rw,errors=continue"; only lines with the text `wanted`.
std::vector<Mount> mounts_with(const char *wanted, const std::string &proc) {
  std::vector<Mount> mounts;
  std::ifstream table(proc + "/mountinfo");
  for (std::string line; std::getline(table, line);) {
    if (line.find(wanted) == std::string::npos) continue;
    const auto second_half = line.find(" - ");
    if (second_half == std::string::npos) continue;
    std::istringstream first(line.substr(0, second_half)), second(line.substr(second_half + 3));
    Mount mount{};
    std::uint64_t parent = 0, major = 0, minor = 0;
    char colon = 0;
    std::string root, point;
    first >> mount.id >> parent >> major >> colon >> minor >> root >> point;
    second >> mount.type >> mount.source;
    mount.device = major << 32 | minor;
    mount.point = unescaped(point);
    mount.source = unescaped(mount.source);
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

}  // namespace

std::vector<Mount> mounts_of(const std::string &proc) { return mounts_with(any_source, proc); }

Folders folders_of(const std::string &proc) {
  Folders found;
  for (const Mount &mount : mounts_with(our_sources, proc)) {
    const bool store = mount.type == "tmpfs" && mount.source == store_source;
    const bool folder = mount.type == "overlay" && mount.source.starts_with(folder_source);
    if ((!store && !folder) || !is_on_top(proc, mount)) continue;
    if (store) {
      found.store = mount.point;
      continue;
    }
    const auto number =
        static_cast<unsigned>(std::strtoul(mount.source.c_str() + std::strlen(folder_source), nullptr, 10));
    found.all.push_back({mount.point, number, mount.id, mount.device});
  }
  if (found.store.empty()) found.all.clear();
  std::sort(found.all.begin(), found.all.end(),
            [](const Folder &a, const Folder &b) { return a.number < b.number; });
  return found;
}

}  // namespace gridcentric::private_files
