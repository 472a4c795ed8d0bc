#include "core/cli/output.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

#include "core/wire/text.hpp"

namespace gridcentric::cli {
namespace {

constexpr const char *long_name = "gridcentric";
const char *called = "gc";

}  // namespace

void show(std::FILE *out, std::string_view text) {
  const std::string safe = wire::printable(text);
  std::fwrite(safe.data(), 1, safe.size(), out);
}

std::string format(const char *pattern, ...) {
  va_list values, again;
  va_start(values, pattern);
  va_copy(again, values);
  const int size = std::vsnprintf(nullptr, 0, pattern, values);
  va_end(values);
  std::string text(size > 0 ? static_cast<std::size_t>(size) : 0, '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string_view cut_to_columns(std::string_view text, std::size_t columns) {
  std::size_t signs = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;  // not inside a character
    if (begins && signs++ == columns) return text.substr(0, at);
  }
  return text;
}

bool all_written(const char *verb) {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  std::fprintf(stderr, "%s%s%s: cannot write the answer to standard output%s%s\n", called,
               *verb != '\0' ? " " : "", verb, errno != 0 ? ": " : "",
               errno != 0 ? std::strerror(errno) : "");
  return false;
}

const char *program() { return called; }

void set_program(std::string_view path) {
  // A package's launcher, a script that starts this program, passes on the name it was called by.
  const char *launcher = std::getenv("GRIDCENTRIC_CALLED");
  if (launcher != nullptr && long_name == std::string_view(launcher)) called = long_name;
  ::unsetenv("GRIDCENTRIC_CALLED");  // not for the programs that gc starts
  if (path.substr(path.rfind('/') + 1) == long_name) called = long_name;
}

}  // namespace gridcentric::cli
