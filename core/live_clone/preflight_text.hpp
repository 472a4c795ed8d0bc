// Inside the preflight: reads files of /proc, writes texts the way the plan does, and tells what passes from what stays.
#pragma once

#include <time.h>

#include <fstream>
#include <sstream>
#include <string>

#include "engine.hpp"

namespace gridcentric::live_clone {

inline constexpr double passing_ms = 100;  ///< what has been so for longer may stay so
inline constexpr timespec between_looks{0, 1'000'000};

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
