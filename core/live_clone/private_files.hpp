// The clone's own view of private folders (core/private_files): it is entered before anything else is rebuilt, and what the
// program has open or mapped below them follows. Runs while threads are parked, or in a clone that has one thread: see sys.hpp.
#pragma once

#include <sys/stat.h>

#include "descriptor.hpp"

namespace gridcentric::live_clone {

/// What was changed in private folders is copied for each clone while the master stands still.
inline constexpr int copying_timeout_ms = 60'000;

inline constexpr size_t longest_path = 4096;

/// The folder that holds an open file, or null.
const PrivateFolder *private_folder_of(int fd);

/// In the parked master: the working folder, and what is mapped.
bool plan_private_files();
/// Decides how an open file below a folder follows. False if it cannot.
bool classify_private_file(Descriptor &d, const PrivateFolder &folder, const struct stat &st);
/// Outside these folders: an open folder keeps the mounts below it, so that a clone opens it again by its path. False if its
/// path can't be kept.
bool classify_folder_outside(Descriptor &d, const struct stat &st);
/// When its offset is known.
void note_private_file(const Descriptor &d);

/// In the clone: mounts its own folders.
bool enter_private_folders();
/// Opens it by its path there: what is below them, and a folder outside.
bool reopen_by_path(Descriptor &d);

// ---- private_mappings.cpp
/// The folder of a mapped file that has no name any more, by its name in /proc/self/maps; or null.
const PrivateFolder *folder_of_unnamed(const char *name);
bool plan_private_mappings();
bool rebuild_private_mappings();

/// In the store, followed by the folder's number: what a domain has changed (core/private_files/folders.hpp).
inline constexpr const char *changes_name = "changes";

// ---- how things are said, by the preflight too
extern const char *const removed_folder, *const removed_working_folder, *const hidden_private_folders;
Text &tell_read_folder(Text &text, int fd);

}  // namespace gridcentric::live_clone
