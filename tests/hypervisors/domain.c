/* The program that is cloned in the tests of drivers that make real clones.
 * Each domain, the master and every clone, connects to the test by itself (the socket that DOMAIN_TEST
 * names; where it is not set, by standard input and output), says "hello VMID IP" and does what it is told, a
 * line each; it answers "ok ..." or "error NAME TEXT". It must not know which driver clones it. */
#include <gridcentric/gc-guest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static FILE *in, *test;           /* two streams: one for both would lose what was read ahead */
static char memory[64] = "fresh"; /* what a clone must have inherited */
static unsigned long aio;         /* an io context: something that no process can take along */

static void die(const char *what) {
  perror(what);
  exit(70);
}

/* A connection of this domain's own: what a clone has inherited is its master's. */
static void connect_to_test(const char *path) {
  struct sockaddr_un address;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  if (in) fclose(in);
  if (test) fclose(test);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("domain: connect");
  if (!(in = fdopen(fd, "r")) || !(test = fdopen(dup(fd), "w"))) die("domain: fdopen");
}

static void say_hello(void) {
  char ip[46];
  if (getenv("DOMAIN_TEST")) {
    connect_to_test(getenv("DOMAIN_TEST"));
  } else {
    in = stdin;
    test = stdout;
  }
  if (gc_my_ip(ip, sizeof ip) != 0) snprintf(ip, sizeof ip, "?");
  fprintf(test, "hello %d %s\n", gc_vmid(), ip);
  fflush(test);
}

static void answer(int result) {
  if (result < 0)
    fprintf(test, "error %s %s\n", gc_error_name(errno) ? gc_error_name(errno) : "?", gc_error_text());
  else
    fprintf(test, "ok\n");
}

static void tell_results(gc_uuid_t ticket) {
  static const char *const how[] = {"joined", "exited", "killed", "lost"};
  gc_result_t *results = NULL;
  size_t count = 0;
  if (gc_wait(ticket, -1, &results, &count) < 0) {
    answer(-1);
    return;
  }
  fprintf(test, "ok");
  for (size_t i = 0; i < count; i++)
    fprintf(test, " %d,%s,%d,%s", results[i].vmid, how[results[i].how], results[i].status,
            results[i].has_report ? (const char *)results[i].report : "-");
  fprintf(test, "\n");
  gc_free(results);
}

static void tell_domains(void) {
  gc_domain_t *domains = NULL;
  size_t count = 0;
  if (gc_list_domains(&domains, &count) < 0) {
    answer(-1);
    return;
  }
  fprintf(test, "ok");
  for (size_t i = 0; i < count; i++)
    fprintf(test, " %d,%d,%s", domains[i].vmid, domains[i].parent, domains[i].ip);
  fprintf(test, "\n");
  gc_free(domains);
}

static void clone_it(gc_uuid_t ticket) {
  int vmid = gc_clone(ticket);
  if (vmid > 0)
    say_hello();
  else
    answer(vmid);
}

static void ask_for_ticket(int vms) {
  gc_uuid_t ticket;
  if (gc_request_ticket(vms, vms, 1, -1, &ticket) < 0)
    answer(-1);
  else
    fprintf(test, "ok %s\n", ticket.value);
}

int main(void) {
  char line[256], verb[32], word[64];
  gc_uuid_t ticket;
  if (gc_vmid() < 0) die(gc_error_text());
  say_hello();
  while (fgets(line, sizeof line, in)) {
    word[0] = 0;
    if (sscanf(line, "%31s %63s", verb, word) < 1) continue;
    memset(&ticket, 0, sizeof ticket);
    strncpy(ticket.value, word, sizeof ticket.value - 1);
    if (strcmp(verb, "request") == 0)
      ask_for_ticket(atoi(word));
    else if (strcmp(verb, "release") == 0)
      answer(gc_release_ticket(ticket));
    else if (strcmp(verb, "clone") == 0)
      clone_it(ticket);
    else if (strcmp(verb, "wait") == 0)
      tell_results(ticket);
    else if (strcmp(verb, "domains") == 0)
      tell_domains();
    else if (strcmp(verb, "kill") == 0)
      answer(gc_kill(atoi(word)));
    else if (strcmp(verb, "join") == 0)
      answer(gc_join(word, strlen(word)));
    else if (strcmp(verb, "exit") == 0)
      _exit(atoi(word));
    else if (strcmp(verb, "signal") == 0)
      signal(atoi(word), SIG_DFL), raise(atoi(word));
    else if (strcmp(verb, "remember") == 0)
      snprintf(memory, sizeof memory, "%s", word), answer(0);
    else if (strcmp(verb, "recall") == 0)
      fprintf(test, "ok %s\n", memory);
    else if (strcmp(verb, "obstruct") == 0)
      answer(syscall(SYS_io_setup, 1, &aio) == 0 ? 0 : -1);
    else if (strcmp(verb, "clear") == 0)
      answer(syscall(SYS_io_destroy, aio) == 0 ? 0 : -1);
    else
      fprintf(test, "error unknown_verb %s\n", verb);
    fflush(test);
  }
  return 0;
}
