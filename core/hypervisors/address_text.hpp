// Addresses of domains as texts.
#pragma once
#include <cstdint>
#include <string>

namespace gridcentric {

// "127.77.0.1", of an address in host byte order.
std::string address_text(std::uint32_t address);

}  // namespace gridcentric
