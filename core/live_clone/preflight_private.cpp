#include "preflight_private.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "core/private_files/folders.hpp"
#include "preflight_text.hpp"
#include "private_files.hpp"

namespace gridcentric::live_clone {
namespace {

unsigned long long number_after(const std::string &info, const char *key, int base) {
  const char *at = field(info.c_str(), key);
  return at ? strtoull(at, nullptr, base) : 0;
}

}  // namespace

PrivateFoldersSeen::PrivateFoldersSeen(std::string proc) : proc_(std::move(proc)) {
  for (const auto &folder : private_files::folders_of(proc_).all) mounts_.insert(folder.mount);
}

bool PrivateFoldersSeen::holds(const std::string &fdinfo) const {
  return !mounts_.empty() && mounts_.contains(number_after(fdinfo, "mnt_id:", 10));
}

// `seen` is a link in /proc to a file, `link` what it says.
bool PrivateFoldersSeen::leads_to(const std::string &link, const std::string &seen) const {
  struct stat open_file {
  }, there{};
  return stat(seen.c_str(), &open_file) == 0 && lstat((proc_ + "/root" + link).c_str(), &there) == 0 &&
         there.st_ino == open_file.st_ino && there.st_dev == open_file.st_dev;
}

std::vector<Refusal> PrivateFoldersSeen::refusals() const {
  using namespace private_files;
  if (mounts_.empty()) {
    const std::string variables = '\0' + read_text(proc_ + "/environ");
    if (variables.find('\0' + (variable + std::string("="))) == std::string::npos) return {};
    return {{EOPNOTSUPP, hidden_private_folders}};
  }
  char link[4096];
  const std::string here = proc_ + "/cwd";
  const ssize_t n = readlink(here.c_str(), link, sizeof link);
  if (n <= 0) return {};
  for (const auto &folder : folders_of(proc_).all) {
    const std::string text(link, static_cast<size_t>(n));
    const bool below = text == folder.path || text.starts_with(folder.path + "/");
    if (below && text.ends_with(" (deleted)") && !leads_to(text, here))
      return {{EOPNOTSUPP, removed_working_folder}};
  }
  return {};
}

std::string PrivateFoldersSeen::why_not(int fd, const std::string &link, std::string *degraded) const {
  if (mounts_.empty()) return "";
  const std::string number = std::to_string(fd), info = read_text(proc_ + "/fdinfo/" + number);
  if (!holds(info)) return "";
  struct stat facts {};
  const std::string seen = proc_ + "/fd/" + number;
  if (stat(seen.c_str(), &facts) != 0) return "";  // it has just been closed
  const bool path_only = (number_after(info, "flags:", 8) & O_PATH) != 0;
  const bool named = leads_to(link, seen);
  if (S_ISDIR(facts.st_mode) && !path_only && named && number_after(info, "pos:", 10) != 0)
    *degraded = said([&](Text &text) { tell_read_folder(text, fd); });
  const bool refused = !named && (path_only || S_ISDIR(facts.st_mode));
  return refused ? removed_folder : "";
}

}  // namespace gridcentric::live_clone
