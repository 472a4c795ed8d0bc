// What a process has changed in its private folders, as seen by another process of the same user.
#pragma once

#include <string>
#include <vector>

namespace gridcentric::private_files {

enum class ChangeKind : char { added = 'A', changed = 'C', deleted = 'D' };

struct Change {
  ChangeKind kind;
  std::string path;
};

/// Compared with the real folders, by path. Of a folder that is gone only the folder itself; an added one with all that is in it.
/// Files that have been opened for writing and are as before do not count. `proc` is the process's folder in /proc, `pid` what it is called in errors. Throws
/// guest::Error.
std::vector<Change> changes_of(const std::string &proc, int pid);

}  // namespace gridcentric::private_files
