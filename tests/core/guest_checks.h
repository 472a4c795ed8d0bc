/* For the tests of the C API in C: what fails is printed, and counted. */
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

/* The call fails with this code, says so in errno and has a text. */
#define FAILS(call, code)              \
  do {                                 \
    errno = 0;                         \
    CHECK((call) == -1);               \
    CHECK(errno == (code));            \
    CHECK(gc_error_text()[0] != '\0'); \
  } while (0)
