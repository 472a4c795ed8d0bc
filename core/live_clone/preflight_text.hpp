// Inside the preflight: reads files of /proc, and writes texts the way the plan does.
#pragma once

#include <fstream>
#include <sstream>
#include <string>

#include "engine.hpp"

namespace gridcentric::live_clone {

inline std::string read_text(const std::string &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The text that the plan would write.
template <typename Tell>
std::string said(Tell tell) {
  char line[text_size];
  Text text(line, sizeof line);
  tell(text);
  return line;
}

}  // namespace gridcentric::live_clone
