// Connections of a testee to itself, and what to say over them.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "testee.hpp"

namespace testee {

struct Address {
  sockaddr_storage bytes{};
  socklen_t size;
  Address(int family, const std::string &text, uint16_t port) {
    auto *four = (sockaddr_in *)&bytes;
    auto *six = (sockaddr_in6 *)&bytes;
    bytes.ss_family = (sa_family_t)family;
    (family == AF_INET ? four->sin_port : six->sin6_port) = htons(port);
    void *place = family == AF_INET ? (void *)&four->sin_addr : (void *)&six->sin6_addr;
    CHECK(inet_pton(family, text.c_str(), place) == 1);
    size = family == AF_INET ? sizeof *four : sizeof *six;
  }
  const sockaddr *operator&() const { return (const sockaddr *)&bytes; }
};

/// "127.0.0.1 8080"; an IPv4 address is written as such in both families.
struct Name {
  std::string local, peer;
};

inline Name name_of(int fd) {
  const auto told = [fd](int (*call)(int, sockaddr *, socklen_t *)) -> std::string {
    sockaddr_storage a{};
    socklen_t size = sizeof a;
    if (call(fd, (sockaddr *)&a, &size) != 0) return "";
    char text[64];
    if (a.ss_family == AF_INET) {
      inet_ntop(AF_INET, &((sockaddr_in *)&a)->sin_addr, text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &((sockaddr_in6 *)&a)->sin6_addr, text, sizeof text);
    }
    const std::string plain = text;
    const std::string mapped = "::ffff:";
    return (plain.rfind(mapped, 0) == 0 ? plain.substr(mapped.size()) : plain) + " " +
           std::to_string(ntohs(((sockaddr_in *)&a)->sin_port));
  };
  return {told(getsockname), told(getpeername)};
}

inline std::string text_of(uint32_t address) {
  const in_addr a{htonl(address)};
  char text[32];
  return inet_ntop(AF_INET, &a, text, sizeof text);
}

/// -1: nobody listens.
inline int connect_to(const std::string &address, uint16_t port) {
  const int family = address.find(':') == std::string::npos ? AF_INET : AF_INET6;
  const int fd = socket(family, SOCK_STREAM, 0);
  const Address at(family, address, port);
  if (connect(fd, &at, at.size) == 0) return fd;
  close(fd);
  return -1;
}

struct Listening {
  int fd;
  std::string address;
  uint16_t port;
  explicit Listening(int family, const std::string &where = "127.0.0.1") : address(where) {
    fd = socket(family, SOCK_STREAM, 0);
    const Address at(family, where, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(bind(fd, &at, at.size) == 0 && listen(fd, 16) == 0);
    const std::string name = name_of(fd).local;
    port = (uint16_t)std::stoi(name.substr(name.find(' ')));
  }
};

/// `room`: size of the buffers, if not 0.
struct Connection {
  int client, server;
  explicit Connection(const Listening &at, int room = 0) {
    if (room) setsockopt(at.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    const std::string mapped = "::ffff:";
    client =
        connect_to(at.address.rfind(mapped, 0) == 0 ? at.address.substr(mapped.size()) : at.address, at.port);
    server = accept(at.fd, nullptr, nullptr);
    CHECK(client >= 0 && server >= 0);
    if (room) CHECK(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
  }
};

inline std::string pattern(size_t size, unsigned seed) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; i++) text[i] = char((i * 131 + i / 251 + seed) & 0xff);
  return text;
}

inline void send_all(int fd, const std::string &text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    CHECK(n > 0);
    at += (size_t)n;
  }
}

inline std::string receive(int fd, size_t size) {
  std::string text(size, 0);
  for (size_t at = 0; at < size;) {
    const ssize_t n = recv(fd, &text[at], size - at, 0);
    CHECK(n > 0);
    at += (size_t)n;
  }
  return text;
}

inline bool is_empty(int fd) {
  char c;
  return recv(fd, &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

inline bool has_ended(int fd) {
  char c;
  return recv(fd, &c, 1, 0) == 0;
}

inline void goes_on(const Connection &c) {
  send_all(c.client, "ask");
  CHECK(receive(c.server, 3) == "ask");
  send_all(c.server, "answer");
  CHECK(receive(c.client, 6) == "answer");
  CHECK(is_empty(c.client) && is_empty(c.server));
}

inline bool is_dead_end(int fd) {
  return has_ended(fd) && send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE;
}

}  // namespace testee
