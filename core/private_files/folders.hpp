// Private folders: folders of which every domain of a family has its own view (gc run --private-files). Each is an overlay in
// the domain's mount namespace, over the real folder; what the domain changes is kept in memory, in its store: a tmpfs that is
// mounted in that namespace too, so that both vanish with the last process in it. This file says what they look like and finds
// them; enter.cpp makes those of a master, core/live_clone/private_files.cpp those of a clone.
// It must not know: hosts, tickets, languages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gridcentric::private_files {

/// What mountinfo names as their source; an overlay's is followed by its number.
inline constexpr const char *store_source = "gridcentric-store", *folder_source = "gridcentric-folder-";

/// Folders in the store, each followed by the number of its private folder: the real one, what has been changed, and what
/// overlayfs needs.
inline constexpr const char *real_name = "real", *changes_name = "changes", *work_name = "work";

/// What an overlay is mounted with; `userxattr`, because clones mount theirs without being root.
inline constexpr const char *overlay_options = "userxattr,lowerdir=real%u,upperdir=changes%u,workdir=work%u";

/// Set in the environment of a program that has been started with private folders.
inline constexpr const char *variable = "GRIDCENTRIC_PRIVATE_FILES";

struct Folder {
  std::string path;
  unsigned number;
  std::uint64_t mount;   ///< its id, as statx and fdinfo have it
  std::uint64_t device;  ///< as /proc/self/maps writes it: major << 32 | minor
};

struct Folders {
  std::string store;  ///< where it is mounted; empty: there are no private folders
  std::vector<Folder> all;
};

/// Those that a process sees; `proc` is its folder in /proc.
Folders folders_of(const std::string &proc);

/// A mount as mountinfo describes it.
struct Mount {
  std::uint64_t id, device;
  std::string point, type, source;
};
/// All mounts that a process sees.
std::vector<Mount> mounts_of(const std::string &proc);

}  // namespace gridcentric::private_files
