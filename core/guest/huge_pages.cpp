#include "core/guest/huge_pages.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

#include "core/live_clone/program_memory.hpp"

namespace gridcentric::guest {
namespace {

using live_clone::page_size;
using live_clone::PageEntry;
using live_clone::PageMap;

#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25;  // Linux 6.1; the C library may be older
#endif

constexpr std::size_t pages = huge_page_size / page_size;
// A huge page has all its pages: what is not in use yet would be memory lost. So at most an eighth.
constexpr std::size_t fewest_in_use = pages - pages / 8;

bool linux_can() { return ::madvise(nullptr, 0, MADV_COLLAPSE) == 0; }

bool administrator_allows() {
  std::string setting;
  std::getline(std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled"), setting);
  return !setting.empty() && setting.find("[never]") == std::string::npos;
}

// "7f12a000-7f12c000 rw-p 00000000 00:00 0   NAME": writable, private, of no file?
bool is_of_program(const std::string &line, std::uintptr_t *start, std::uintptr_t *end) {
  unsigned long inode;
  char permissions[5];
  int name = 0;
  if (std::sscanf(line.c_str(), "%lx-%lx %4s %*x %*x:%*x %lu %n", start, end, permissions, &inode, &name) !=
      4)
    return false;
  const std::string_view named = std::string_view(line).substr(static_cast<std::size_t>(name));
  return std::string_view(permissions) == "rw-p" && inode == 0 &&
         (named.empty() || named == "[heap]" || named.starts_with("[anon:"));
}

// What smaps says in VmFlags: no huge pages wanted, not copied by fork or wiped there, locked, pages merged (KSM), faults handled
// by the program (userfaultfd), of a device, a stack, droppable.
bool is_special(const std::string &flags) {
  constexpr std::array<std::string_view, 13> special{"nh", "dc", "wf", "lo", "mg", "um", "uw",
                                                     "ui", "io", "pf", "mm", "gd", "dp"};
  return std::any_of(special.begin(), special.end(), [&](std::string_view flag) {
    return flags.find(" " + std::string(flag) + " ") != std::string::npos;
  });
}

// Nothing is swapped out, a guard, of a file, or shared with another process: the copy would only take memory.
bool is_worth_moving(const PageMap &table, std::uintptr_t start) {
  std::array<PageEntry, pages> entries;
  if (!table.read(start, entries.data(), entries.size())) return false;
  const auto in_the_way = [](const PageEntry &entry) {
    return entry.swapped() || entry.guard() || entry.of_file() || (entry.present() && !entry.exclusive());
  };
  return std::none_of(entries.begin(), entries.end(), in_the_way) &&
         static_cast<std::size_t>(std::count_if(entries.begin(), entries.end(), [](const PageEntry &entry) {
           return entry.present();
         })) >= fewest_in_use;
}

}  // namespace

MoveIntoHugePages::MoveIntoHugePages() {
  if (table_.error() == 0 && linux_can() && administrator_allows()) mappings_.open("/proc/self/smaps");
}

// False: that was the last one.
bool MoveIntoHugePages::look_at_next_mapping() {
  bool of_program = false;
  std::uintptr_t start = 0, end = 0;
  for (std::string line; std::getline(mappings_, line);) {
    if (line.find('-') < line.find(' ')) {  // the first line of a mapping; the others are "Name: value"
      of_program = is_of_program(line, &start, &end);
    } else if (line.starts_with("VmFlags:")) {
      if (!of_program || is_special(line + " ")) return true;
      at_ = (start + huge_page_size - 1) & ~(huge_page_size - 1);
      end_ = end & ~(huge_page_size - 1);
      return true;
    }
  }
  return false;
}

bool MoveIntoHugePages::move(std::uintptr_t start) {
  // Looked at as late as possible: the program goes on meanwhile, and the kernel refuses what has changed since.
  if (!is_worth_moving(table_, start)) return true;
  const bool moved = ::madvise(reinterpret_cast<void *>(start), huge_page_size, MADV_COLLAPSE) == 0;
  if (moved) ++count_;
  return moved ||
         (errno != ENOMEM && errno != EBUSY);  // no huge page is available, here or in the control group
}

bool MoveIntoHugePages::step() {
  if (at_ >= end_) return mappings_.is_open() && look_at_next_mapping();
  at_ += huge_page_size;
  return move(at_ - huge_page_size);
}

}  // namespace gridcentric::guest
