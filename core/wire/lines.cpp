#include "core/wire/lines.hpp"

#include <algorithm>

namespace gridcentric::wire {
namespace {

// "ID join ": its second word decides, and an ID has at most 9 digits.
std::size_t limit(std::string_view line) {
  const std::size_t space = line.substr(0, 10).find(' ');
  const bool join = space != std::string_view::npos && line.substr(space).starts_with(" join ");
  return join ? LineSplitter::longest_join : LineSplitter::longest_other;
}

}  // namespace

LineSplitter::Next LineSplitter::next(std::string_view *line) {
  const std::size_t newline = buffer_.find('\n', std::max(start_, scanned_));
  const std::string_view rest = std::string_view(buffer_).substr(start_);
  const std::size_t size = newline == std::string::npos ? rest.size() + 1 : newline - start_ + 1;
  if (size > longest_other && size > limit(rest)) {
    *line = rest.substr(0, 64);
    return Next::too_long;
  }
  if (newline == std::string::npos) {
    // Drops lines that have been read here rather than one by one, so that a flood of short lines costs no copying.
    buffer_.erase(0, start_);
    start_ = 0;
    scanned_ = buffer_.size();
    if (buffer_.empty() && buffer_.capacity() > 2 * longest_other) buffer_.shrink_to_fit();
    return Next::more;
  }
  *line = rest.substr(0, newline - start_);
  start_ = scanned_ = newline + 1;
  return Next::line;
}

}  // namespace gridcentric::wire
