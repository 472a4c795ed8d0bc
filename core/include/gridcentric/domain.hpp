// SPDX-License-Identifier: Apache-2.0
// The types that the rules and the driver contract share.
#pragma once
#include <cstdint>
#include <string>
#include <utility>

namespace gridcentric {

// Identifies a domain; never reused while the host runs. Assigned by the host, not the driver. 0: none.
using DomainKey = std::uint64_t;

enum class EndKind {
#define GC_END_KIND(NAME, word) word,
#include <gridcentric/vocabulary.def>
};

// What a master's end does to its clones; by_bye: they are kept only after bye.
enum class OnExit { by_bye, end, keep };

struct NewFamily {
  DomainKey master = 0;
  std::string id;  // UUID
};

// A driver's answer to a request for a ticket (Hypervisor::reserve()).
struct Reservation {
  enum class Kind {
    granted,  // the VMs can be made: the driver keeps what they need until the ticket is released
    refused,  // they never can
    later,    // not yet: the request keeps its place at the head of the line
  };
  Kind kind = Kind::granted;
  std::int64_t vms = 0;  // granted: how many
  std::string reason;    // refused, later: said to the guest as it is

  static Reservation granted(std::int64_t vms) { return {Kind::granted, vms, ""}; }
  static Reservation refused(std::string reason) { return {Kind::refused, 0, std::move(reason)}; }
  static Reservation later(std::string reason) { return {Kind::later, 0, std::move(reason)}; }
};

}  // namespace gridcentric
