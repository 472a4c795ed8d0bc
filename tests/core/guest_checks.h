/* For the tests of the C API in C: prints and counts failures. */
#include <gridcentric/gc-guest.h>
#include <stdio.h>

static int failures = 0;

#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      printf("%s:%d: vmid %d: %s (errno %d, %s)\n", __FILE__, __LINE__, gc_vmid(), #condition, errno, \
             gc_error_text());                                                                        \
      ++failures;                                                                                     \
    }                                                                                                 \
  } while (0)

/* Checks that the call fails with this code, also in errno, and sets a text. */
#define FAILS(call, code)              \
  do {                                 \
    errno = 0;                         \
    CHECK((call) == -1);               \
    CHECK(errno == (code));            \
    CHECK(gc_error_text()[0] != '\0'); \
  } while (0)
