// UUIDs as two words: families and tickets are named by them, and there may be 100,000s.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gridcentric {

struct Uuid {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool operator==(const Uuid &) const = default;

  std::string text() const;                                 // 36 characters, lower case
  static std::optional<Uuid> parse(std::string_view text);  // lower case only; nullopt: malformed
};

struct UuidHash {
  std::size_t operator()(const Uuid &uuid) const { return static_cast<std::size_t>(uuid.high ^ uuid.low); }
};

// Version 4 UUIDs from a seed: the same seed gives the same sequence.
class UuidSource {
 public:
  explicit UuidSource(std::uint64_t seed) : state_(seed) {}
  Uuid next();

 private:
  std::uint64_t word();
  std::uint64_t state_;
};

}  // namespace gridcentric
