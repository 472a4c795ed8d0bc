#include "core/cli/json.hpp"

#include <cstdio>

namespace gridcentric::cli {

std::string json_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char byte : text) {
    if (byte == '"' || byte == '\\') {
      quoted.append("\\").push_back(byte);
    } else if (static_cast<unsigned char>(byte) < ' ') {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(byte));
      quoted.append(escape);
    } else {
      quoted.push_back(byte);
    }
  }
  return quoted + "\"";
}

JsonObject &JsonObject::raw(std::string_view key, std::string_view json) {
  if (!fields_.empty()) fields_.append(", ");
  fields_.append(json_text(key)).append(": ").append(json);
  return *this;
}

std::string json_list(const std::vector<std::string> &elements) {
  std::string list = "[";
  for (const auto &element : elements) list.append(list.size() > 1 ? ",\n " : "").append(element);
  return list + "]";
}

}  // namespace gridcentric::cli
