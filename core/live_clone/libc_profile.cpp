// See libc_profile.hpp. Symbols are weak: they exist in some libraries and versions only.
#include "libc_profile.hpp"

extern "C" {
__attribute__((weak)) const char* gnu_get_libc_version(void);
extern const std::ptrdiff_t __rseq_offset __attribute__((weak));  // glibc 2.35 and later
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace gridcentric::live_clone {

LibcProfile libc_profile() {
  LibcProfile p{};
  p.glibc = &gnu_get_libc_version != nullptr;
  p.name = p.glibc ? std::string("glibc ") + gnu_get_libc_version() : "an unknown C library";
  if (&__rseq_size && &__rseq_offset) {
    p.rseq_size = __rseq_size;
    p.rseq_offset = (size_t)__rseq_offset;
  }
  return p;
}

}  // namespace gridcentric::live_clone
