#include "core/cli/json.hpp"

#include "core/cli/output.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::cli {

namespace {

// The code point of one character of UTF-8 of up to three bytes.
unsigned code_point(std::string_view one) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(one[i]); };
  if (one.size() == 1) return byte(0);
  if (one.size() == 2) return (byte(0) & 0x1fU) << 6 | (byte(1) & 0x3fU);
  return (byte(0) & 0x0fU) << 12 | (byte(1) & 0x3fU) << 6 | (byte(2) & 0x3fU);
}

}  // namespace

std::string json_text(std::string_view given) {
  const std::string text = wire::to_utf8(given);
  std::string quoted = "\"";
  for (std::size_t at = 0, end = 1; at < text.size(); at = end++) {
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    const auto one = std::string_view(text).substr(at, end - at);
    if (one == "\"" || one == "\\") {
      quoted.append("\\").append(one);
    } else if (!wire::is_printable(one) || static_cast<unsigned char>(one[0]) < ' ') {
      quoted.append(format("\\u%04x", code_point(one)));
    } else {
      quoted.append(one);
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
