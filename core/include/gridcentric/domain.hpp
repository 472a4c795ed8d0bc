// SPDX-License-Identifier: Apache-2.0
// The two words that the rules and the driver contract share.
#pragma once
#include <cstdint>

namespace gridcentric {

// A domain for as long as the host runs; never reused. The host's numbering, not the driver's. 0: none.
using DomainKey = std::uint64_t;

enum class EndKind { joined, exited, killed, lost };

}  // namespace gridcentric
