// Reads the program's own memory where reading it in place may kill the process: guard pages lie inside mappings that /proc
// shows as readable (glibc 2.42 puts them in thread stacks), and the pages of a file vanish when it is truncated. Runs while
// threads are parked, or in a clone that has one thread: see sys.hpp.
#pragma once

#include "sys.hpp"

namespace gridcentric::live_clone {

inline constexpr uint64_t page_size = 4096;

/// What /proc/self/pagemap says about a page.
struct PageEntry {
  uint64_t bits;
  bool present() const { return bits >> 63; }
  /// Not in memory, but not empty either. Before Linux 6.15 a guard page looks like this too.
  bool swapped() const { return !present() && (bits >> 62 & 1) && !guard(); }
  /// The page belongs to a file or to shared memory: it is not a private copy that the program has written.
  bool of_file() const { return bits >> 61 & 1; }
  bool guard() const { return bits >> 58 & 1; }
  /// No other process has it.
  bool exclusive() const { return bits >> 56 & 1; }
};
static_assert(sizeof(PageEntry) == 8);

/// The page table, through /proc/self/pagemap.
class PageMap {
 public:
  PageMap() : fd_(sys(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0)) {}
  ~PageMap() {
    if (fd_ >= 0) sys(SYS_close, fd_);
  }
  PageMap(const PageMap &) = delete;
  PageMap &operator=(const PageMap &) = delete;
  /// The error if it cannot be used, or 0.
  int error() const { return fd_ < 0 ? (int)-fd_ : 0; }
  bool read(uint64_t address, PageEntry *entries, size_t count) const {
    return sys(SYS_pread64, fd_, entries, count * sizeof *entries, address / page_size * sizeof *entries) ==
           (long)(count * sizeof *entries);
  }

 private:
  const long fd_;
};

/// The bytes, through /proc/self/mem: an access that would raise a signal becomes an error. Seccomp filters cannot forbid it,
/// as some do process_vm_readv().
class ProgramMemory {
 public:
  ProgramMemory() : fd_(sys(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0)) {}
  ~ProgramMemory() {
    if (fd_ >= 0) sys(SYS_close, fd_);
  }
  ProgramMemory(const ProgramMemory &) = delete;
  ProgramMemory &operator=(const ProgramMemory &) = delete;
  /// The error if it cannot be used, or 0.
  int error() const { return fd_ < 0 ? (int)-fd_ : 0; }
  /// Returns how many of the bytes could be read, counted from the first.
  size_t read(uint64_t from, void *to, size_t bytes) const {
    const long n = sys(SYS_pread64, fd_, to, bytes, from);
    return n > 0 ? (size_t)n : 0;
  }
  bool write(uint64_t to, const void *from, size_t bytes) const {
    return sys(SYS_pwrite64, fd_, from, bytes, to) == (long)bytes;
  }

 private:
  const long fd_;
};

}  // namespace gridcentric::live_clone
