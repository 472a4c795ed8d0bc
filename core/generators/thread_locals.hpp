// Where another thread of this process has its copy of a thread-local object. For what a library keeps a thread and nobody can
// ask it for. Knows the layout of glibc, which debuggers rely on; elsewhere nothing is found.
// It must not know: what the objects are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gridcentric::generators {

// Memory of this process that may be gone by now: no fault, but false.
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

// A thread-local object: of which library, where in its part of each thread.
struct ThreadLocal {
  std::size_t module = 0;  // 0: nothing is known
  std::size_t offset = 0;
};

// That which lies at this address in the calling thread.
ThreadLocal thread_local_at(const void *mine);

// All words with this value in the calling thread's thread-local memory.
std::vector<ThreadLocal> thread_locals_with(std::uintptr_t value);

// Its address in the thread with this thread pointer; 0: the thread has not used it yet.
std::uintptr_t address_in(const OwnMemory &memory, std::uintptr_t thread_pointer, ThreadLocal object);

}  // namespace gridcentric::generators
