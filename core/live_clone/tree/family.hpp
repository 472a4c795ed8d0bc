// What a process in a clone of a tree knows of its family, for the functions that `gc run` preloads: whom a pid that the program
// remembers stands for now, and where the others of its clone listen. Plain data, shared between that library and the guest library of a language, each of which has an
// engine.
#pragma once

#include <atomic>
#include <cstdint>

namespace gridcentric::live_clone {

struct Family {
  /// A child of this process, as the program knows it, and the process that ends as it does.
  struct Child {
    std::atomic<int> known, real;
  };
  static constexpr int most = 256;

  std::atomic<int> parent;  ///< as the program knows it; 0: as the kernel says
  std::atomic<int> count;
  Child children[most];

  /// A port of the clone's on which the program listened when it was cloned.
  struct Port {
    uint16_t number;  ///< host byte order
    bool tcp;
  };
  static constexpr int most_ports = 256;

  uint32_t address;  ///< of the clone, host byte order
  std::atomic<int> port_count;
  Port ports[most_ports];
};

/// This library's own, unless use_family() has been called.
Family &family();
/// The engine of this library writes into that of another.
void use_family(Family *other);

}  // namespace gridcentric::live_clone
