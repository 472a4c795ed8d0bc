#include "core/generators/objects.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <tuple>

#include "core/generators/elf_image.hpp"

namespace gridcentric::generators {
namespace {

// Whether the text begins with the pattern of a TEXT row.
bool matches(std::string_view text, std::string_view pattern) {
  const auto skip = [&](auto is_one) {
    std::size_t length = 0;
    while (length < text.size() && is_one(static_cast<unsigned char>(text[length]))) ++length;
    text.remove_prefix(length);
    return length;
  };
  for (const char expected : pattern) {
    if (expected == '#') {
      if (skip([](int c) { return std::isdigit(c) != 0; }) == 0) return false;
    } else if (expected == '_') {
      if (skip([](int c) { return c == ' '; }) == 0) return false;
    } else if (expected == '?') {
      if (!text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
    } else {
      if (text.empty() || text.front() != expected) return false;
      text.remove_prefix(1);
    }
  }
  return true;
}

bool contains(std::string_view bytes, std::string_view pattern) {
  const std::string_view literal = pattern.substr(0, pattern.find_first_of("#_?"));
  while (!bytes.empty()) {
    const auto *found =
        static_cast<const char *>(::memmem(bytes.data(), bytes.size(), literal.data(), literal.size()));
    if (found == nullptr) return false;
    bytes.remove_prefix(static_cast<std::size_t>(found - bytes.data()));
    if (matches(bytes, pattern)) return true;
    bytes.remove_prefix(1);
  }
  return false;
}

bool names(std::string_view evidence, std::string_view path) {
  for (;;) {
    const auto end = std::min(evidence.find('|'), evidence.size());
    if (path.find(evidence.substr(0, end)) != std::string_view::npos) return true;
    if (end == evidence.size()) return false;
    evidence.remove_prefix(end + 1);
  }
}

std::vector<const Known *> found_in(std::string_view bytes) {
  std::vector<const Known *> found;
  const ElfImage image(bytes);
  for (const Known &row : known()) {
    if (row.found_as == FoundAs::TEXT && contains(bytes, row.evidence)) found.push_back(&row);
  }
  // It is the shared OpenSSL itself, or is linked with it and merely contains its version.
  const bool reached = image.exported_function("RAND_seed") != 0 || image.needs("libcrypto");
  std::erase_if(found, [&](const Known *row) { return reached && row->name == "static OpenSSL"; });
  return found;
}

using File = std::tuple<dev_t, ino_t, off_t, long, long>;

std::mutex lock;
std::map<File, std::vector<const Known *>> &seen = *new std::map<File, std::vector<const Known *>>;

}  // namespace

std::vector<std::string> loaded_objects(int pid) {
  std::vector<std::string> paths;
  std::ifstream maps("/proc/" + (pid == 0 ? std::string("self") : std::to_string(pid)) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto permissions = line.find(' '), path = line.find('/');
    if (permissions == std::string::npos || path == std::string::npos || line[permissions + 3] != 'x')
      continue;
    std::string name = line.substr(path);
    const bool memory = name.starts_with("/memfd:") || name.starts_with("/dev/") || name.starts_with("/SYSV");
    if (!memory && std::ranges::find(paths, name) == paths.end()) paths.push_back(std::move(name));
  }
  return paths;
}

std::optional<std::vector<const Known *>> repeating(const std::string &root, const std::string &path) {
  for (const Known &row : known()) {
    if (row.found_as != FoundAs::OBJECT || !names(row.evidence, path)) continue;
    if (row.outcome == InClone::RESEEDED) return std::vector<const Known *>{};
    return std::vector<const Known *>{&row};
  }
  struct stat file {};
  if (::stat((root + path).c_str(), &file) != 0) return std::nullopt;
  const File key{file.st_dev, file.st_ino, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec};
  std::lock_guard guard(lock);
  const auto before = seen.find(key);
  if (before != seen.end()) return before->second;
  const FileInMemory mapped(root + path);
  if (mapped.bytes().empty()) return std::nullopt;
  return seen.emplace(key, found_in(mapped.bytes())).first->second;
}

}  // namespace gridcentric::generators
