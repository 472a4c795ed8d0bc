// What the engine has to know about the C library of the process: which one it is, and where it keeps the rseq area, thread
// ids and lock functions; and where the kernel has put its own code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gridcentric::live_clone {

/// Where things are: plain data, for the stages.
struct LibcLayout {
  size_t rseq_offset;  ///< from the thread pointer
  size_t rseq_size;    ///< 0: the library registers no restartable sequences
  /// Offset of a thread's id from its thread pointer; 0: the id is where the kernel clears it (before glibc 2.34).
  size_t thread_id_offset;
  /// The range of addresses of its mutex and read-write lock functions; both 0: unknown.
  uint64_t lock_code_start, lock_code_end;
  uint64_t vdso;  ///< where the kernel says that its code for this process is (AT_SYSINFO_EHDR); 0: nowhere
};

struct LibcProfile : LibcLayout {
  bool glibc;        ///< the layouts of its locks are known: plain mode is possible
  std::string name;  ///< "glibc 2.36", "unknown C library"
};

/// Never fails; thread-safe. Found once: a process keeps its C library.
const LibcProfile &libc_profile();

}  // namespace gridcentric::live_clone
