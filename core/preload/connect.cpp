// connect(), sendto(), sendmsg() and sendmmsg(), as the program's calls come here first: in a clone of a tree the program's own
// servers are on the clone's address, so what goes to one of them by 127.0.0.1 or ::1 goes there, and not to the master's.
// Elsewhere they are what they are without us.
// It must not know: what the servers are.
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "core/live_clone/tree/family.hpp"

namespace gridcentric::preload {
namespace {

using Connect = int (*)(int, const sockaddr *, socklen_t);
using SendTo = ssize_t (*)(int, const void *, size_t, int, const sockaddr *, socklen_t);
using SendMessage = ssize_t (*)(int, const msghdr *, int);
using SendMessages = int (*)(int, mmsghdr *, unsigned, int);
using live_clone::Family;

// Found before main(): a signal handler may be the first to connect.
const auto connect_of_libc = reinterpret_cast<Connect>(::dlsym(RTLD_NEXT, "connect"));
const auto send_to_of_libc = reinterpret_cast<SendTo>(::dlsym(RTLD_NEXT, "sendto"));
const auto send_message_of_libc = reinterpret_cast<SendMessage>(::dlsym(RTLD_NEXT, "sendmsg"));
const auto send_messages_of_libc = reinterpret_cast<SendMessages>(::dlsym(RTLD_NEXT, "sendmmsg"));

// Of libc, as it can be cancelled; the system's for a caller that connects even before that, in a library's constructor.
int real_connect(int fd, const sockaddr *address, socklen_t size) {
  if (connect_of_libc != nullptr) return connect_of_libc(fd, address, size);
  return static_cast<int>(::syscall(SYS_connect, fd, address, size));
}

ssize_t real_send_to(int fd, const void *data, size_t size, int flags, const sockaddr *to,
                     socklen_t to_size) {
  if (send_to_of_libc != nullptr) return send_to_of_libc(fd, data, size, flags, to, to_size);
  return ::syscall(SYS_sendto, fd, data, size, flags, to, to_size);
}

ssize_t real_send_message(int fd, const msghdr *message, int flags) {
  if (send_message_of_libc != nullptr) return send_message_of_libc(fd, message, flags);
  return ::syscall(SYS_sendmsg, fd, message, flags);
}

int real_send_messages(int fd, mmsghdr *messages, unsigned count, int flags) {
  if (send_messages_of_libc != nullptr) return send_messages_of_libc(fd, messages, count, flags);
  return static_cast<int>(::syscall(SYS_sendmmsg, fd, messages, count, flags));
}

bool is_own_port(int fd, in_port_t port) {
  const Family &own = live_clone::family();
  for (int i = 0; i < own.port_count; ++i) {
    int type = 0;
    socklen_t size = sizeof type;
    if (own.ports[i].number == ntohs(port) && ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
        own.ports[i].tcp == (type == SOCK_STREAM))
      return true;
  }
  return false;
}

// Where it is to go instead; false: where it says.
bool own_address(int fd, const sockaddr *address, socklen_t size, sockaddr_storage *own) {
  if (live_clone::family().port_count == 0 || address == nullptr || size > sizeof *own) return false;
  const in_addr clone{htonl(live_clone::family().address)};
  std::memcpy(own, address, size);
  if (address->sa_family == AF_INET && size >= sizeof(sockaddr_in)) {
    auto &v4 = reinterpret_cast<sockaddr_in &>(*own);
    if (v4.sin_addr.s_addr != htonl(INADDR_LOOPBACK) || !is_own_port(fd, v4.sin_port)) return false;
    v4.sin_addr = clone;
    return true;
  }
  if (address->sa_family != AF_INET6 || size < sizeof(sockaddr_in6)) return false;
  auto &v6 = reinterpret_cast<sockaddr_in6 &>(*own);
  const in6_addr mapped{{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}}};
  const bool loops =
      IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || std::memcmp(&v6.sin6_addr, &mapped, sizeof mapped) == 0;
  if (!loops || !is_own_port(fd, v6.sin6_port)) return false;
  v6.sin6_addr = mapped;
  std::memcpy(&v6.sin6_addr.s6_addr[12], &clone, sizeof clone);
  return true;
}

// A message as it is to be sent: it may go to one of the clone's servers.
class Redirected {
 public:
  Redirected(int fd, const msghdr &message) : message_(message) {
    if (own_address(fd, static_cast<const sockaddr *>(message.msg_name), message.msg_namelen, &to_))
      message_.msg_name = &to_;
  }
  const msghdr &message() const { return message_; }

 private:
  msghdr message_;
  sockaddr_storage to_{};
};

}  // namespace
}  // namespace gridcentric::preload

#define GC_INTERPOSED extern "C" __attribute__((visibility("default")))

GC_INTERPOSED ssize_t sendto(int fd, const void *data, size_t size, int flags, const sockaddr *to,
                             socklen_t to_size) {
  using namespace gridcentric::preload;
  sockaddr_storage own{};
  if (own_address(fd, to, to_size, &own)) to = reinterpret_cast<const sockaddr *>(&own);
  return real_send_to(fd, data, size, flags, to, to_size);
}

GC_INTERPOSED ssize_t sendmsg(int fd, const msghdr *message, int flags) {
  using namespace gridcentric::preload;
  if (message == nullptr) return real_send_message(fd, message, flags);
  const Redirected redirected(fd, *message);
  return real_send_message(fd, &redirected.message(), flags);
}

// One by one where one of them is redirected: what the caller gave is not changed.
GC_INTERPOSED int sendmmsg(int fd, mmsghdr *messages, unsigned count, int flags) {
  using namespace gridcentric::preload;
  if (gridcentric::live_clone::family().port_count == 0)
    return real_send_messages(fd, messages, count, flags);
  unsigned done = 0;
  for (; done < count; ++done) {
    const ssize_t sent = ::sendmsg(fd, &messages[done].msg_hdr, flags);
    if (sent < 0 && done == 0) return -1;
    if (sent < 0) break;
    messages[done].msg_len = static_cast<unsigned>(sent);
  }
  return static_cast<int>(done);
}

GC_INTERPOSED int connect(int fd, const sockaddr *address, socklen_t size) {
  using namespace gridcentric::preload;
  sockaddr_storage own{};
  if (!own_address(fd, address, size, &own)) return real_connect(fd, address, size);
  const int no = 0;
  if (own.ss_family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  return real_connect(fd, reinterpret_cast<const sockaddr *>(&own), size);
}
