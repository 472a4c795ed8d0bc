// Finds another thread's copy of a thread-local object: for what a library keeps per thread without a function to reach it.
// Knows the layout of glibc, on which debuggers rely; elsewhere nothing is found.
// It must not know: what the objects are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gridcentric::generators {

// Reads memory of this process that may be gone by now: returns false instead of faulting.
class OwnMemory {
 public:
  OwnMemory();
  ~OwnMemory();
  OwnMemory(const OwnMemory &) = delete;
  OwnMemory &operator=(const OwnMemory &) = delete;
  bool read(std::uintptr_t from, void *to, std::size_t size) const;

 private:
  int fd_;
};

// The calling thread's thread pointer.
std::uintptr_t own_thread_pointer() noexcept;

// A thread-local object: its library, and its offset in the library's block of each thread.
struct ThreadLocal {
  std::size_t module = 0;  // 0: unknown
  std::size_t offset = 0;
};

// The object at this address in the calling thread.
ThreadLocal thread_local_at(const void *mine);

// All words with this value in the calling thread's thread-local memory.
std::vector<ThreadLocal> thread_locals_with(std::uintptr_t value);

// Its address in the thread with this thread pointer; 0: the thread has not used it yet.
std::uintptr_t address_in(const OwnMemory &memory, std::uintptr_t thread_pointer, ThreadLocal object);

}  // namespace gridcentric::generators
