/* Keep-alive clients that ask for one page again and again: `load ADDRESS PORT CONNECTIONS SECONDS [COOKIE]`.
 * Prints "REQUESTS_A_SECOND MEDIAN_US", and ends with 1 when an answer is not 200. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, MOST = 1 << 24 };

struct client {
  int fd;
  size_t size;
  double asked;
  char buffer[BUFFER + 1];
};

static char request[1024];
static size_t request_size;
static float *times;
static long count;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "");
  exit(1);
}

static void ask(struct client *client) {
  client->size = 0;
  client->asked = now();
  if (send(client->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) fail("send");
}

/* Is the whole answer there? */
static int is_whole(struct client *client) {
  client->buffer[client->size] = 0;
  const char *end = strstr(client->buffer, "\r\n\r\n");
  if (end == NULL) return 0;
  if (strncmp(client->buffer, "HTTP/1.1 200", 12) != 0) {
    errno = 0;
    fail(client->buffer);
  }
  const char *length = strcasestr(client->buffer, "\r\ncontent-length:");
  if (length != NULL && length < end)
    return client->size >= (size_t)(end + 4 - client->buffer) + strtoul(length + 17, NULL, 10);
  return client->size >= 5 && memcmp(client->buffer + client->size - 5, "0\r\n\r\n", 5) == 0;
}

static void hear(struct client *client) {
  const ssize_t size = recv(client->fd, client->buffer + client->size, BUFFER - client->size, MSG_DONTWAIT);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) fail("the connection was closed");
  client->size += (size_t)size;
  if (!is_whole(client)) return;
  if (count < MOST) times[count++] = (float)((now() - client->asked) * 1e6);
  ask(client);
}

static int by_size(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: load ADDRESS PORT CONNECTIONS SECONDS [COOKIE]\n");
    return 2;
  }
  const int connections = atoi(argv[3]);
  request_size =
      (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s:%s\r\n%s%s%s\r\n", argv[1],
                       argv[2], argc > 5 ? "Cookie: " : "", argc > 5 ? argv[5] : "", argc > 5 ? "\r\n" : "");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) fail("address");
  struct client *clients = calloc((size_t)connections, sizeof *clients);
  times = calloc(MOST, sizeof *times);
  const int all = epoll_create1(0);
  if (clients == NULL || times == NULL || all < 0) fail("start");
  for (int i = 0; i < connections; ++i) {
    const int one = 1;
    clients[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(clients[i].fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    setsockopt(clients[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
    epoll_ctl(all, EPOLL_CTL_ADD, clients[i].fd, &event);
  }
  const double begin = now(), end = begin + atof(argv[4]);
  for (int i = 0; i < connections; ++i) ask(&clients[i]);
  while (now() < end) {
    struct epoll_event ready[64];
    const int number = epoll_wait(all, ready, 64, 1000);
    for (int i = 0; i < number; ++i) hear(ready[i].data.ptr);
  }
  const double took = now() - begin;
  qsort(times, (size_t)count, sizeof *times, by_size);
  printf("%.0f %.1f\n", (double)count / took, count > 0 ? (double)times[count / 2] : 0);
  return 0;
}
