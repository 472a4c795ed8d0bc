// What a process in a clone of a tree knows of its family, for the wait family that `gc run` preloads: whom a pid that the program
// remembers stands for now. Plain data, shared between that library and the guest library of a language, each of which has an
// engine.
#pragma once

#include <atomic>

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
};

/// This library's own, unless use_family() has been called.
Family &family();
/// The engine of this library writes into that of another.
void use_family(Family *other);

}  // namespace gridcentric::live_clone
