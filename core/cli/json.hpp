// JSON for --json: objects of a few fields, and lists of them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gridcentric::cli {

std::string json_text(std::string_view text);  // quoted; invalid UTF-8 becomes U+FFFD

class JsonObject {
 public:
  JsonObject &text(std::string_view key, std::string_view value) { return raw(key, json_text(value)); }
  JsonObject &number(std::string_view key, std::int64_t value) { return raw(key, std::to_string(value)); }
  JsonObject &truth(std::string_view key, bool value) { return raw(key, value ? "true" : "false"); }
  JsonObject &null(std::string_view key) { return raw(key, "null"); }
  JsonObject &raw(std::string_view key, std::string_view json);
  std::string str() const { return "{" + fields_ + "}"; }

 private:
  std::string fields_;
};

std::string json_list(const std::vector<std::string> &elements);  // one per line

}  // namespace gridcentric::cli
