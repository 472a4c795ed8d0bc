/* "hello, I am N" in C: three clones say it, the master collects it.
 *   gcc hello.c -lgridcentric -o hello && ./hello */
#include <gridcentric/gc-guest.h>
#include <stdio.h>
#include <string.h>

static int fail(void) {
  fprintf(stderr, "%s\n", gc_error_text());
  return 1;
}

int main(void) {
  gc_uuid_t ticket;
  if (gc_request_ticket(3, 3, 1, 1000, &ticket)) return fail();
  int vmid = gc_clone(ticket); /* one program before this line, four after it */
  if (vmid < 0) return fail();
  if (vmid > 0) {
    char text[32];
    snprintf(text, sizeof text, "hello, I am %d", vmid);
    return gc_join(text, strlen(text)); /* does not return on success */
  }
  gc_result_t *results;
  size_t count;
  if (gc_wait(ticket, 10000, &results, &count)) return fail();
  for (size_t i = 0; i < count; i++) printf("%.*s\n", (int)results[i].report_size, results[i].report);
  printf("hello, I am the master of %zu\n", count);
  gc_free(results);
  return 0;
}
