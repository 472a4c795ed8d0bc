#include "core/hypervisors/address_text.hpp"

namespace gridcentric {

std::string address_text(std::uint32_t address) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8)
    text += std::to_string(address >> shift & 255) + (shift > 0 ? "." : "");
  return text;
}

}  // namespace gridcentric
