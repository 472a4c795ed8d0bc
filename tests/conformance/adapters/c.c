/* The adapter for C: strict C99 against gc-guest.h and nothing else. Each call is made in a thread.
 * Reads calls as JSON lines and writes replies as JSON lines, on stdin and stdout or on the channel that README.md
 * describes. It must not know what a call means. The lines have one form (keys in order, no spaces, texts without escapes), so this is no
 * JSON parser. */
#include <gridcentric/gc-guest.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_ARGS 4

struct arg {
  enum { NONE, NUMBER, TEXT } kind;
  long long number;
  char *text;
};

struct step {
  int id;
  char call[32];
  int count;
  struct arg args[MOST_ARGS];
  char *line;
  gc_call_t *taken_back_by; /* what cancels it */
  struct step *next;
};

/* The steps that are being done. */
static pthread_mutex_t steps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct step *steps;

/* Where calls come from and replies go to. Where clones are real each domain has its own connection: that of the master is
 * at its end in a clone. */
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static FILE *in, *out;
static int domain = -1; /* whose connection it is; -1: of one that has not attached yet */

static void die(const char *why, const char *what) {
  fprintf(stderr, "c adapter: %s: %.200s\n", why, what);
  exit(70);
}

static void connect_channel(const char *path) {
  struct sockaddr_un address;
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("no channel", path);
  if (!(in = fdopen(fd, "r")) || !(out = fdopen(dup(fd), "w"))) die("no stream", path);
  fprintf(out, "{\"id\":0,\"ok\":%d}\n", domain);
  fflush(out);
}

/* Takes the channel for writing: in a clone, who comes first opens the clone's own. */
static void lock_channel(void) {
  const char *path = getenv("CONFORMANCE_CHANNEL");
  pthread_mutex_lock(&output);
  if (!path || domain < 0 || gc_vmid() == domain) return;
  fclose(out); /* the reading side is closed by its reader */
  domain = gc_vmid();
  connect_channel(path);
}

/* Takes a line apart in place: the texts point into it. */
static struct step *parse(char *line) {
  struct step *step = calloc(1, sizeof *step);
  int used = 0;
  if (!step ||
      sscanf(line, "{\"id\":%d,\"call\":\"%31[a-z_]\",\"args\":[%n", &step->id, step->call, &used) != 2 ||
      !used)
    die("not a call", line);
  step->line = line;
  for (char *at = line + used; *at != ']'; at += *at == ',') {
    struct arg *arg = &step->args[step->count++];
    if (step->count > MOST_ARGS) die("too many arguments", line);
    if (*at == '"') {
      arg->kind = TEXT;
      arg->text = ++at;
      at = strchr(at, '"');
      if (!at) die("text without an end", line);
      *at++ = 0;
    } else if (strncmp(at, "null", 4) == 0) {
      at += 4;
    } else {
      arg->kind = NUMBER;
      arg->number = strtoll(at, &at, 10);
      if (*at != ',' && *at != ']') die("C has no such argument", at);
    }
  }
  return step;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t decode(char *text) { /* in place */
  size_t size = 0;
  unsigned bits = 0, have = 0;
  for (const char *c = text; *c && *c != '='; c++) {
    bits = bits << 6 | (unsigned)(strchr(digits, *c) - digits);
    if ((have += 6) >= 8) text[size++] = (char)(bits >> (have -= 8) & 0xff);
  }
  return size;
}

static void print_base64(const unsigned char *data, size_t size) {
  putc('"', out);
  for (size_t at = 0; at < size; at += 3) {
    size_t left = size - at;
    unsigned bits = (unsigned)data[at] << 16 | (left > 1 ? (unsigned)data[at + 1] << 8 : 0) |
                    (left > 2 ? data[at + 2] : 0);
    putc(digits[bits >> 18], out);
    putc(digits[bits >> 12 & 63], out);
    putc(left > 1 ? digits[bits >> 6 & 63] : '=', out);
    putc(left > 2 ? digits[bits & 63] : '=', out);
  }
  putc('"', out);
}

static void print_ticket(const gc_ticket_info_t *t) {
  fprintf(out, "[\"%s\",\"%s\",%d,%d,%d]", t->id.value, gc_ticket_status_string(t->status), t->cpus, t->vms,
          t->mincpuspervm);
}

static void print_domain(const gc_domain_t *d) {
  char parent[16] = "null";
  if (d->parent >= 0) snprintf(parent, sizeof parent, "%d", d->parent);
  fprintf(out, "[%d,%s,\"%s\",\"%s\",\"%s\"]", d->vmid, parent, d->ip, d->ticket.value, d->state);
}

static void print_result(const gc_result_t *r) {
  static const char *const how[] = {"joined", "exited", "killed", "lost"};
  fprintf(out, "[%d,\"%s\",%d,", r->vmid, how[r->how], r->status);
  if (r->has_report)
    print_base64(r->report, r->report_size);
  else
    fprintf(out, "null");
  putc(']', out);
}

static void begin_reply(const struct step *step) {
  lock_channel();
  fprintf(out, "{\"id\":%d,", step->id);
}

static void end_reply(void) {
  fprintf(out, "}\n");
  fflush(out);
  pthread_mutex_unlock(&output);
}

static void fail(const struct step *step) {
  const char *name = errno == EINTR ? "cancelled" : gc_error_name(errno), *text = gc_error_text();
  char unknown[32];
  snprintf(unknown, sizeof unknown, "errno_%d", errno);
  begin_reply(step);
  fprintf(out, "\"error\":\"%s\",\"text\":\"", name ? name : unknown);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putc('\\', out);
    if ((unsigned char)*text < 0x20)
      fprintf(out, "\\u%04x", (unsigned)(unsigned char)*text);
    else
      putc(*text, out);
  }
  putc('"', out);
  end_reply();
}

#define LIST(print, list, count)           \
  do {                                     \
    begin_reply(step);                     \
    fprintf(out, "\"ok\":[");              \
    for (size_t i = 0; i < (count); i++) { \
      if (i) putc(',', out);               \
      print(&(list)[i]);                   \
    }                                      \
    putc(']', out);                        \
    end_reply();                           \
    gc_free(list);                         \
  } while (0)

/* The ticket that an argument names; for null the clone's own. A text that is not a UUID is handed on. */
static gc_uuid_t ticket_of(const struct arg *arg) {
  gc_uuid_t ticket = GC_MY_TICKET;
  if (arg->kind != TEXT) return ticket;
  if (strlen(arg->text) >= sizeof ticket.value) die("no room for this ticket", arg->text);
  strcpy(ticket.value, arg->text);
  return ticket;
}

static int number_of(const struct arg *arg) {
  if (arg->kind != NUMBER || arg->number != (int)arg->number)
    die("not an int", arg->kind == TEXT ? arg->text : "");
  return (int)arg->number;
}

enum form { NOTHING, COUNT, YES_OR_NO };

/* Answers with the int that a call gave, or with its error. */
static void reply(const struct step *step, int result, enum form form) {
  if (result < 0) {
    fail(step);
    return;
  }
  begin_reply(step);
  if (form == COUNT)
    fprintf(out, "\"ok\":%d", result);
  else
    fprintf(out, "\"ok\":%s", form == NOTHING ? "null" : result ? "true" : "false");
  end_reply();
}

static void reply_text(struct step *step, int result, const char *text) {
  if (result < 0) {
    fail(step);
    return;
  }
  begin_reply(step);
  fprintf(out, "\"ok\":\"%s\"", text);
  end_reply();
}

static void cancel(int id) {
  pthread_mutex_lock(&steps_lock);
  for (struct step *step = steps; step; step = step->next)
    if (step->id == id) gc_cancel(step->taken_back_by);
  pthread_mutex_unlock(&steps_lock);
}

static atomic_int prepared; /* how often a handler of before_clone() has run */

static int refuse(void *data) {
  int *left = data;
  atomic_fetch_add(&prepared, 1);
  return *left > 0 ? (*left)-- : 0;
}

/* Who am I, and how I end. False: it is another call. */
static bool run_own(struct step *step) {
  const struct arg *args = step->args;
  const char *call = step->call;
  if (strcmp(call, "attach") == 0) {
    if (args[0].text[0]) setenv("GRIDCENTRIC_ATTACH", args[0].text, 1);
    domain = gc_vmid();
    reply(step, domain, COUNT);
  } else if (strcmp(call, "exit") == 0) {
    exit(number_of(&args[0]));
  } else if (strcmp(call, "crash") == 0) {
    abort();
  } else if (strcmp(call, "vmid") == 0) {
    reply(step, gc_vmid(), COUNT);
  } else if (strcmp(call, "ismaster") == 0) {
    reply(step, gc_ismaster(), YES_OR_NO);
  } else if (strcmp(call, "my_ip") == 0) {
    char ip[46];
    reply_text(step, gc_my_ip(ip, sizeof ip), ip);
  } else {
    return false;
  }
  return true;
}

/* False: it is not about tickets. */
static bool run_ticket_call(struct step *step) {
  const struct arg *args = step->args;
  const char *call = step->call;
  size_t count = 0;
  if (strcmp(call, "request_ticket") == 0) {
    gc_uuid_t ticket;
    const int result = gc_request_ticket(number_of(&args[0]), number_of(&args[1]), number_of(&args[2]),
                                         number_of(&args[3]), &ticket);
    reply_text(step, result, ticket.value);
  } else if (strcmp(call, "release_ticket") == 0) {
    reply(step, gc_release_ticket(ticket_of(&args[0])), NOTHING);
  } else if (strcmp(call, "prepare") == 0) {
    reply(step, gc_prepare(number_of(&args[0])), COUNT);
  } else if (strcmp(call, "list_tickets") == 0) {
    gc_ticket_info_t *list = NULL;
    if (gc_list_tickets(&list, &count) < 0)
      fail(step);
    else
      LIST(print_ticket, list, count);
  } else if (strcmp(call, "ticket_info") == 0) {
    gc_ticket_info_t info;
    if (gc_ticket_info(ticket_of(&args[0]), &info) < 0) return fail(step), true;
    begin_reply(step);
    fprintf(out, "\"ok\":");
    print_ticket(&info);
    end_reply();
  } else {
    return false;
  }
  return true;
}

static void run(struct step *step) {
  const struct arg *args = step->args;
  const char *call = step->call;
  size_t count = 0;
  if (run_own(step) || run_ticket_call(step)) return;
  if (strcmp(call, "refuse") == 0) {
    int *left = malloc(sizeof *left); /* the handler has it from now on */
    *left = number_of(&args[0]);
    reply(step, gc_before_clone(refuse, left), NOTHING);
  } else if (strcmp(call, "prepared") == 0) {
    reply(step, atomic_load(&prepared), COUNT);
  } else if (strcmp(call, "clone") == 0) {
    reply(step, gc_clone(ticket_of(&args[0])), COUNT);
  } else if (strcmp(call, "serve") == 0) {
    reply(step, gc_serve(), NOTHING);
  } else if (strcmp(call, "list_domains") == 0 || strcmp(call, "clone_of") == 0) {
    gc_domain_t *list = NULL;
    if ((*call == 'l' ? gc_list_domains(&list, &count)
                      : gc_clone_of(number_of(&args[0]), ticket_of(&args[1]), &list, &count)) < 0)
      fail(step);
    else
      LIST(print_domain, list, count);
  } else if (strcmp(call, "sync") == 0) {
    reply(step, gc_sync(ticket_of(&args[0]), number_of(&args[1])), NOTHING);
  } else if (strcmp(call, "join") == 0) {
    gc_join(args[0].text, decode(args[0].text));
    fail(step);
  } else if (strcmp(call, "noreport") == 0) {
    gc_join_noreport();
    fail(step);
  } else if (strcmp(call, "wait") == 0 || strcmp(call, "wait_forget") == 0) {
    gc_result_t *list = NULL;
    const gc_uuid_t ticket = ticket_of(&args[0]);
    if ((call[4] ? gc_wait_and_forget : gc_wait)(ticket, number_of(&args[1]), &list, &count) < 0)
      fail(step);
    else
      LIST(print_result, list, count);
  } else if (strcmp(call, "kill") == 0) {
    reply(step, gc_kill(number_of(&args[0])), NOTHING);
  } else if (strcmp(call, "cancel") == 0) {
    cancel(number_of(&args[0]));
    reply(step, 0, NOTHING);
  } else {
    die("unknown call", call);
  }
}

static void *thread(void *given) {
  struct step *step = given, **at = &steps;
  gc_use_call(step->taken_back_by);
  run(step);
  pthread_mutex_lock(&steps_lock);
  while (*at != step) at = &(*at)->next;
  *at = step->next;
  pthread_mutex_unlock(&steps_lock);
  gc_call_free(step->taken_back_by);
  free(step->line);
  free(step);
  return NULL;
}

static void read_steps(FILE *from) {
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, from) > 0) {
    struct step *step = parse(line);
    pthread_t made;
    step->taken_back_by = gc_call_new();
    if (!step->taken_back_by) die("gc_call_new", gc_error_text());
    pthread_mutex_lock(&steps_lock);
    step->next = steps;
    steps = step;
    pthread_mutex_unlock(&steps_lock);
    if (pthread_create(&made, NULL, thread, step) != 0) die("no thread", step->call);
    pthread_detach(made);
    line = NULL; /* the step has it now */
    room = 0;
  }
  free(line);
}

int main(void) {
  const char *path = getenv("CONFORMANCE_CHANNEL");
  FILE *from = NULL;
  signal(SIGPIPE, SIG_IGN); /* what is answered while being cloned goes nowhere in the clone */
  in = stdin;
  out = stdout;
  if (path) connect_channel(path);
  while (from != in) { /* the end of the input in a clone is that of its master's */
    if (from) fclose(from);
    from = in;
    read_steps(from);
    lock_channel();
    pthread_mutex_unlock(&output);
  }
  return 0;
}
