// Splits bytes into lines, with the size limits of docs/protocol.md. Buffers at most one line more than it was given at
// once. Knows nothing about the meaning of lines, except that only `join` may be long.
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
  // line: *line is the next one without its newline, valid until the next call. more: feed() first. too_long: permanent;
  // *line is the beginning of the line.
  Next next(std::string_view *line);
  bool empty() const { return start_ == buffer_.size(); }

 private:
  std::string buffer_;
  std::size_t start_ = 0;    // where the next line starts
  std::size_t scanned_ = 0;  // no newline between start_ and here
};

}  // namespace gridcentric::wire
