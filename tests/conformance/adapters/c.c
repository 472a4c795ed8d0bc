/* The adapter for C: strict C99 against gc-guest.h and nothing else. Each call is made in a thread.
 * Reads calls as JSON lines on stdin, writes replies as JSON lines on stdout (README.md). It must not know
 * what a call means. The lines have one form (keys in order, no spaces, texts without escapes), so this is no
 * JSON parser. */
#include <gridcentric/gc-guest.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
};

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *why, const char *what) {
  fprintf(stderr, "c adapter: %s: %.200s\n", why, what);
  exit(70);
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
  putchar('"');
  for (size_t at = 0; at < size; at += 3) {
    size_t left = size - at;
    unsigned bits = (unsigned)data[at] << 16 | (left > 1 ? (unsigned)data[at + 1] << 8 : 0) |
                    (left > 2 ? data[at + 2] : 0);
    putchar(digits[bits >> 18]);
    putchar(digits[bits >> 12 & 63]);
    putchar(left > 1 ? digits[bits >> 6 & 63] : '=');
    putchar(left > 2 ? digits[bits & 63] : '=');
  }
  putchar('"');
}

static void print_ticket(const gc_ticket_info_t *t) {
  printf("[\"%s\",\"%s\",%d,%d,%d]", t->id.value, gc_ticket_status_string(t->status), t->cpus, t->vms,
         t->mincpuspervm);
}

static void print_domain(const gc_domain_t *d) {
  char parent[16] = "null";
  if (d->parent >= 0) snprintf(parent, sizeof parent, "%d", d->parent);
  printf("[%d,%s,\"%s\",\"%s\",\"%s\"]", d->vmid, parent, d->ip, d->ticket.value, d->state);
}

static void print_result(const gc_result_t *r) {
  static const char *const how[] = {"joined", "exited", "killed", "lost"};
  printf("[%d,\"%s\",%d,", r->vmid, how[r->how], r->status);
  if (r->has_report)
    print_base64(r->report, r->report_size);
  else
    printf("null");
  putchar(']');
}

static void begin_reply(const struct step *step) {
  pthread_mutex_lock(&output);
  printf("{\"id\":%d,", step->id);
}

static void end_reply(void) {
  puts("}");
  fflush(stdout);
  pthread_mutex_unlock(&output);
}

static void fail(const struct step *step) {
  const char *name = gc_error_name(errno), *text = gc_error_text();
  char unknown[32];
  snprintf(unknown, sizeof unknown, "errno_%d", errno);
  begin_reply(step);
  printf("\"error\":\"%s\",\"text\":\"", name ? name : unknown);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    if ((unsigned char)*text < 0x20)
      printf("\\u%04x", (unsigned)(unsigned char)*text);
    else
      putchar(*text);
  }
  putchar('"');
  end_reply();
}

#define LIST(print, list, count)           \
  do {                                     \
    begin_reply(step);                     \
    printf("\"ok\":[");                    \
    for (size_t i = 0; i < (count); i++) { \
      if (i) putchar(',');                 \
      print(&(list)[i]);                   \
    }                                      \
    putchar(']');                          \
    end_reply();                           \
    gc_free(list);                         \
  } while (0)

/* The ticket that an argument names; NULL for null. A text that is no UUID is handed on as far as there is
 * room. */
static const gc_uuid_t *ticket_of(const struct arg *arg, gc_uuid_t *room) {
  if (arg->kind != TEXT) return NULL;
  if (strlen(arg->text) >= sizeof room->value) die("no room for this ticket", arg->text);
  memset(room, 0, sizeof *room);
  strcpy(room->value, arg->text);
  return room;
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
    printf("\"ok\":%d", result);
  else
    printf("\"ok\":%s", form == NOTHING ? "null" : result ? "true" : "false");
  end_reply();
}

static void run(struct step *step) {
  const struct arg *args = step->args;
  const char *call = step->call;
  gc_uuid_t room;
  size_t count = 0;
  if (strcmp(call, "attach") == 0) {
    if (args[0].text[0]) setenv("GRIDCENTRIC_ATTACH", args[0].text, 1);
    reply(step, gc_vmid(), COUNT);
  } else if (strcmp(call, "vmid") == 0) {
    reply(step, gc_vmid(), COUNT);
  } else if (strcmp(call, "ismaster") == 0) {
    reply(step, gc_ismaster(), YES_OR_NO);
  } else if (strcmp(call, "my_ip") == 0) {
    char ip[46];
    if (gc_my_ip(ip, sizeof ip) < 0) {
      fail(step);
      return;
    }
    begin_reply(step);
    printf("\"ok\":\"%s\"", ip);
    end_reply();
  } else if (strcmp(call, "request_ticket") == 0) {
    gc_uuid_t ticket;
    if (gc_request_ticket(number_of(&args[0]), number_of(&args[1]), number_of(&args[2]), number_of(&args[3]),
                          &ticket) < 0) {
      fail(step);
      return;
    }
    begin_reply(step);
    printf("\"ok\":\"%s\"", ticket.value);
    end_reply();
  } else if (strcmp(call, "release_ticket") == 0) {
    reply(step, gc_release_ticket(ticket_of(&args[0], &room)), NOTHING);
  } else if (strcmp(call, "list_tickets") == 0) {
    gc_ticket_info_t *list = NULL;
    if (gc_list_tickets(&list, &count) < 0)
      fail(step);
    else
      LIST(print_ticket, list, count);
  } else if (strcmp(call, "ticket_info") == 0) {
    gc_ticket_info_t info;
    if (gc_ticket_info(ticket_of(&args[0], &room), &info) < 0) {
      fail(step);
      return;
    }
    begin_reply(step);
    printf("\"ok\":");
    print_ticket(&info);
    end_reply();
  } else if (strcmp(call, "clone") == 0) {
    reply(step, gc_clone(ticket_of(&args[0], &room)), COUNT);
  } else if (strcmp(call, "list_domains") == 0) {
    gc_domain_t *list = NULL;
    if (gc_list_domains(&list, &count) < 0)
      fail(step);
    else
      LIST(print_domain, list, count);
  } else if (strcmp(call, "sync") == 0) {
    reply(step, gc_sync(ticket_of(&args[0], &room), number_of(&args[1])), NOTHING);
  } else if (strcmp(call, "join") == 0) {
    gc_join(args[0].text, decode(args[0].text));
    fail(step);
  } else if (strcmp(call, "noreport") == 0) {
    gc_join_noreport();
    fail(step);
  } else if (strcmp(call, "wait") == 0) {
    gc_result_t *list = NULL;
    if (gc_wait(ticket_of(&args[0], &room), number_of(&args[1]), &list, &count) < 0)
      fail(step);
    else
      LIST(print_result, list, count);
  } else if (strcmp(call, "kill") == 0) {
    reply(step, gc_kill(number_of(&args[0])), NOTHING);
  } else {
    die("unknown call", call);
  }
}

static void *thread(void *given) {
  struct step *step = given;
  run(step);
  free(step->line);
  free(step);
  return NULL;
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    struct step *step = parse(line);
    pthread_t made;
    if (pthread_create(&made, NULL, thread, step) != 0) die("no thread", step->call);
    pthread_detach(made);
    line = NULL; /* the step has it now */
    room = 0;
  }
  free(line);
  return 0;
}
