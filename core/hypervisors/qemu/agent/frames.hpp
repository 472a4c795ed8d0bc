// The frames of many streams that share the virtio-serial port between a VM's agent and its driver on the host. A stream is
// one connection of a process in the VM to its host, or the input and output of a program that the driver started. Stream 0
// carries control lines; a line that fills a frame goes on in the next. Knows nothing about the contents of streams.
//
//   header, 8 bytes, little endian: stream u32 | length u24 | kind u8; then `length` bytes, at most max_payload
//
// A process that does not read must not hold up others: the driver sends at most `window` bytes of a stream beyond those that
// the agent has reported as taken.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace gridcentric::agent {

enum class Kind : std::uint8_t {
  control = 0,  // stream 0, both ways: a line of text without its newline
  open = 1,     // agent -> driver: a process has connected
  data = 2,     // both ways; for a program: its input and output
  close = 3,    // both ways: the end of this stream
  taken = 4,    // agent -> driver: the process has read this many more bytes (u32, little endian)
  errors = 5,   // agent -> driver: what a program has written to its standard error
};

inline constexpr std::size_t header_size = 8;
inline constexpr std::size_t max_payload = 32768;
inline constexpr std::size_t window = 1 << 20;

inline void append_frame(std::string &out, std::uint32_t stream, Kind kind, std::string_view payload) {
  const auto length = static_cast<std::uint32_t>(payload.size());
  const std::uint32_t words[2] = {stream, length | static_cast<std::uint32_t>(kind) << 24};
  out.append(reinterpret_cast<const char *>(words), sizeof words);
  out.append(payload);
}

struct Frame {
  std::uint32_t stream = 0;
  Kind kind = Kind::control;
  std::string payload;
};

enum class Parsed { frame, need_more, garbage };

// Takes one frame from the front of `in`.
inline Parsed take_frame(std::string &in, Frame &frame) {
  if (in.size() < header_size) return Parsed::need_more;
  std::uint32_t words[2];
  std::memcpy(words, in.data(), sizeof words);
  const std::size_t length = words[1] & 0xffffff;
  const auto kind = words[1] >> 24;
  if (length > max_payload || kind > static_cast<std::uint32_t>(Kind::errors)) return Parsed::garbage;
  if (in.size() < header_size + length) return Parsed::need_more;
  frame = {words[0], static_cast<Kind>(kind), in.substr(header_size, length)};
  in.erase(0, header_size + length);
  return Parsed::frame;
}

}  // namespace gridcentric::agent
