// The errors of the rules, made from the one table (errors.def). Words as on the wire: "timed_out".
// Knows nothing of errno: the C API maps these to numbers.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace gridcentric {

enum class Code {
  OK = 0,
#define GC_ERROR(NAME, ERRNO, EXIT, PYTHON, PYTHON_BASE, TEXT) NAME,
#include <gridcentric/errors.def>
#undef GC_ERROR
};

// "invalid_argument"; "ok" for Code::OK.
std::string_view code_word(Code code);

// The other way; nullopt: no such word, or "ok".
std::optional<Code> find_code(std::string_view word);

// What a call that can fail says: code OK, or an error and what was given, expected and to do.
struct Answer {
  Code code = Code::OK;
  std::string text;
  bool ok() const { return code == Code::OK; }
};

}  // namespace gridcentric
