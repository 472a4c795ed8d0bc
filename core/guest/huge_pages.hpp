// Moves memory of this process into huge pages: copying the process then costs hundreds of times less for that memory, as fork()
// copies one entry in place of 512. The contents and what the program may do with them stay as they are.
// It must not know: tickets, clones, threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <fstream>

#include "core/live_clone/program_memory.hpp"

namespace gridcentric::guest {

inline constexpr std::size_t huge_page_size = 2 * 1024 * 1024;

// One walk through the memory. Only private memory that no other process shares, nearly all of it in use, and not if
// the program or the computer's administrator wants no huge pages there.
class MoveIntoHugePages {
 public:
  MoveIntoHugePages();
  // One step: a huge page, or a look at memory that stays as it is. False: all has been seen, or Linux cannot do it (before 6.1, or
  // out of huge pages). While a step moves memory the kernel keeps the program's other threads from changing mappings.
  bool step();
  // Huge pages there are now where the walk has been, also those that there were before.
  std::size_t count() const { return count_; }

 private:
  bool look_at_next_mapping();
  bool move(std::uintptr_t start);

  const live_clone::PageMap table_;
  std::ifstream
      mappings_;  // smaps, read as the walk goes on: the kernel looks at all pages of a mapping to describe it
  std::uintptr_t at_ = 0, end_ = 0;  // what is left of the mapping, in whole huge pages
  std::size_t count_ = 0;
};

}  // namespace gridcentric::guest
