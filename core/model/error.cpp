#include "core/model/error.hpp"

#include <array>

namespace gridcentric {
namespace {

// The table's names in lower case, made once.
const std::array words = [] {
  std::array names{
      std::string("ok"),
#define GC_ERROR(NAME, ERRNO, EXIT, PYTHON, PYTHON_BASE, TEXT) std::string(#NAME),
#include <gridcentric/errors.def>
#undef GC_ERROR
  };
  for (std::string &name : names)
    for (char &c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return names;
}();

}  // namespace

std::string_view code_word(Code code) { return words[static_cast<std::size_t>(code)]; }

std::optional<Code> find_code(std::string_view word) {
  for (std::size_t code = 1; code < words.size(); ++code)
    if (words[code] == word) return static_cast<Code>(code);
  return std::nullopt;
}

}  // namespace gridcentric
