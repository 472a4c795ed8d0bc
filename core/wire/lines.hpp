// Bytes -> lines, with the size limits of docs/protocol.md. Keeps at most one line's worth of bytes more than
// it was given at once. Knows nothing of what lines mean but that only `join` may be long.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace gridcentric::wire {

class LineSplitter {
 public:
  static constexpr std::size_t longest_join = 1'400'000;  // bytes with the newline
  static constexpr std::size_t longest_other = 4'096;

  enum class Next { line, more, too_long };

  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // line: *line is one without its newline, valid until the next call. more: feed(). too_long: for good;
  // *line is the beginning of the line.
  Next next(std::string_view *line);
  bool empty() const { return start_ == buffer_.size(); }

 private:
  std::string buffer_;
  std::size_t start_ = 0;    // of the next line
  std::size_t scanned_ = 0;  // no newline between start_ and here
};

}  // namespace gridcentric::wire
