#include "core/generators/findings.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "core/generators/objects.hpp"

namespace gridcentric::generators {
namespace {

std::string_view environment(const char *name) {
  const char *value = std::getenv(name);
  return value != nullptr ? value : "";
}

// "/x/tokenizers.abi3.so" -> "tokenizers"
std::string_view short_name(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return path.substr(0, path.find('.'));
}

bool declared(std::string_view name) {
  std::string_view list = environment("GRIDCENTRIC_RESEEDED");
  while (!list.empty()) {
    const auto end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == name) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

// By another library that is loaded.
bool reseeded(const Known &row, const std::vector<std::string> &paths) {
  const auto does_it = [&](const std::string &path) {
    return path.find(row.reseeded_by) != std::string::npos;
  };
  return !row.reseeded_by.empty() && std::ranges::any_of(paths, does_it);
}

void add(std::vector<std::string> &lines, const Known &row, std::string_view where) {
  const std::string_view name = row.found_as == FoundAs::TEXT ? short_name(where) : row.name;
  if (declared(name)) return;
  std::string line("random numbers of ");
  line.append(row.name).append(" (").append(where).append(") repeat in every clone: ").append(row.what);
  line.append(". Once a handler of on_clone() reseeds it, say so: GRIDCENTRIC_RESEEDED=").append(name);
  lines.push_back(std::move(line));
}

}  // namespace

std::vector<std::string> what_repeats(int pid, const std::vector<Repeating> &found_by_binding) {
  std::vector<std::string> lines;
  std::vector<const Known *> named;  // OBJECT rows: one line for all their libraries
  const std::string root = pid == 0 ? "" : "/proc/" + std::to_string(pid) + "/root";
  const std::vector<std::string> paths = loaded_objects(pid);
  for (const std::string &path : paths) {
    const auto rows = repeating(root, path);
    if (!rows) {
      if (!declared(short_name(path)))
        lines.push_back(
            "random numbers of " + path +
            " may repeat in every clone: the file can't be read any more. Restart the program, or "
            "declare it harmless: GRIDCENTRIC_RESEEDED=" +
            std::string(short_name(path)));
      continue;
    }
    for (const Known *row : *rows) {
      if (std::ranges::find(named, row) != named.end() || reseeded(*row, paths)) continue;
      if (row->found_as == FoundAs::OBJECT) named.push_back(row);
      add(lines, *row, path);
    }
  }
  for (const Repeating &found : found_by_binding) {
    if (const Known *row = find_known(found.generator)) add(lines, *row, found.where);
  }
  return lines;
}

bool strict() {
  const std::string_view value = environment("GRIDCENTRIC_STRICT");
  return !value.empty() && value != "0";
}

}  // namespace gridcentric::generators
