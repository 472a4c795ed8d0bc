#include "core/model/uuid.hpp"

namespace gridcentric {
namespace {

constexpr bool is_dash(std::size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

}  // namespace

std::string Uuid::text() const {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out(36, '-');
  int nibble = 0;
  for (std::size_t i = 0; i < 36; ++i) {
    if (is_dash(i)) continue;
    const std::uint64_t half = nibble < 16 ? high : low;
    out[i] = digits[(half >> (60 - 4 * (nibble % 16))) & 15];
    ++nibble;
  }
  return out;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid uuid;
  int nibble = 0;
  for (std::size_t i = 0; i < 36; ++i) {
    const char c = text[i];
    if (is_dash(i)) {
      if (c != '-') return std::nullopt;
      continue;
    }
    unsigned value;
    if (c >= '0' && c <= '9') {
      value = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = static_cast<unsigned>(c - 'a' + 10);
    } else {
      return std::nullopt;
    }
    std::uint64_t &half = nibble < 16 ? uuid.high : uuid.low;
    half = half << 4 | value;
    ++nibble;
  }
  return uuid;
}

// splitmix64: small, and its sequence is the same everywhere.
std::uint64_t UuidSource::word() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

Uuid UuidSource::next() {
  Uuid uuid{word(), word()};
  uuid.high = (uuid.high & ~std::uint64_t{0xf000}) | 0x4000;                     // version 4
  uuid.low = (uuid.low & ~(std::uint64_t{3} << 62)) | (std::uint64_t{2} << 62);  // variant 1
  return uuid;
}

}  // namespace gridcentric
