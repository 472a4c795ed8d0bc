// Gives the calling process private folders: it moves into its own mount namespace, and what it executes stays there.
#pragma once

#include <string>
#include <vector>

namespace gridcentric::private_files {

/// Which folders are meant, as absolute paths without links. Throws guest::Error for what cannot be one. Changes nothing.
std::vector<std::string> checked(const std::vector<std::string> &wanted);

/// Makes checked folders private. For a process with one thread. Throws guest::Error, which says what this system refuses.
void enter(const std::vector<std::string> &folders);

}  // namespace gridcentric::private_files
