// What the files of the C API share: exceptions become errno, structs become blocks for gc_free().
// It must not know: any call.
#pragma once
#include <gridcentric/gc-guest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "core/guest/client.hpp"

struct gc_call {
  gridcentric::guest::Call call;
};

namespace gridcentric::guest::capi {

// The text is that of gc_error_text() in this thread from now on. Returns -1.
int fail(int code, const std::string &text) noexcept;

// What gc_use_call() has named in this thread, or nullptr.
Call *used_call() noexcept;

// What gc_tell_repeating() was told last.
std::vector<generators::Repeating> found_by_runtime();

// Does the runtime carry out orders (gc_carry_out_orders_with())?
bool runtime_carries_out_orders() noexcept;

// Runs work; no exception gets past here into C.
template <typename Work>
int guarded(Work work) noexcept {
  try {
    return work();
  } catch (const Error &error) {
    return fail(error.code, error.text);
  } catch (const std::bad_alloc &) {
    errno = ENOMEM;
    return -1;
  } catch (const std::exception &error) {
    return fail(GC_E_PROTOCOL, error.what());
  } catch (...) {
    return fail(GC_E_PROTOCOL, "a handler of the program threw something that is not a std::exception");
  }
}

inline void need(bool given, const char *name, const char *expected) {
  if (!given) throw Error(GC_E_INVALID_ARGUMENT, std::string(name) + " is NULL, expected " + expected);
}

inline void fill(char *place, std::size_t size, const std::string &text) {
  const std::size_t length = text.copy(place, size - 1);
  std::memset(place + length, 0, size - length);
}

// Never NULL, so that an empty list is a block like any other.
template <typename Type>
Type *block(std::size_t count, std::size_t more_bytes = 0) {
  auto *memory = static_cast<Type *>(std::calloc(1, count * sizeof(Type) + more_bytes + 1));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace gridcentric::guest::capi
