#include "core/guest/connection.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>

namespace gridcentric::guest {
namespace {

// A line of a `wait` reply carries a report of 1 MiB in base64 and a few fields (docs/protocol.md, "Lines").
constexpr std::size_t longest_line = 1'400'000;
constexpr std::string_view version_prefix = "gridcentric/1 ";

// A host may stop this process, copy it and end it: that is for its own user and for root, as a host serves only these.
void check_owner(int fd, const std::string &path) {
  ucred host{};
  socklen_t size = sizeof host;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &host, &size) == 0;
  if (known && (host.uid == ::geteuid() || host.uid == 0)) return;  // in a VM root's serves all users
  ::close(fd);
  throw Error(GC_E_HOST_UNREACHABLE, "the host at 'unix:" + path + "' belongs to user " +
                                         (known ? std::to_string(host.uid) : "unknown") +
                                         ", and a host can do anything to its programs: user " +
                                         std::to_string(::geteuid()) +
                                         " uses only its own hosts and root's; unset GRIDCENTRIC_HOST, "
                                         "or run the program as the host's user");
}

Error refuses_this_user(const std::string &path) {
  const std::string user = std::to_string(::geteuid());
  return Error(GC_E_HOST_UNREACHABLE, "the host at 'unix:" + path + "' does not serve user " + user +
                                          ": a host serves its own user alone, and root; start one as user " +
                                          user +
                                          " with 'gc host', or unset GRIDCENTRIC_HOST for a private one");
}

bool is_roots(int fd) {
  ucred host{};
  socklen_t size = sizeof host;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &host, &size) == 0 && host.uid == 0;
}

std::atomic<int> lowest_descriptor{0};

// Connections at a time. Of more, the program can close some. On a page that the kernel wipes in a copy of this process, which has
// other connections or none.
constexpr int most_kept = 64;
struct Kept {
  std::atomic<int> descriptors[most_kept];  // 0: free
};
std::atomic<Kept *> kept{nullptr};

void begin_to_keep() {
  void *page = ::mmap(nullptr, sizeof(Kept), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page != MAP_FAILED && ::madvise(page, sizeof(Kept), MADV_WIPEONFORK) == 0) kept = new (page) Kept{};
}

void exchange_kept(int from, int to) {
  Kept *page = kept;
  if (page == nullptr) return;
  for (auto &place : page->descriptors)
    if (int known = from; place.compare_exchange_strong(known, to)) return;
}

void keep(int fd) {
  if (fd >= lowest_descriptor) exchange_kept(0, fd);
}

void let_go_of(int fd) {
  if (fd > 0) exchange_kept(fd, 0);
}

// The same socket on a descriptor that the program does not choose by number; where there is none so high, as it is.
int moved_out_of_the_way(int fd) {
  const int lowest = lowest_descriptor;
  if (fd < 0 || fd >= lowest) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, lowest);
  if (moved < 0) return fd;
  ::close(fd);
  return moved;
}

int connect_to(const std::string &path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw Error(GC_E_HOST_UNREACHABLE, "the path of the host's socket has " + std::to_string(path.size()) +
                                           " bytes, expected 1 to " +
                                           std::to_string(sizeof address.sun_path - 1) + ": '" + path + "'");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = moved_out_of_the_way(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd < 0) {
    throw Error(GC_E_HOST_UNREACHABLE, "cannot make a socket: " + system_text(errno));
  }
  int result;
  do {
    result = ::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address);
  } while (result < 0 && errno == EINTR);
  if (result < 0) {
    const int error = errno;
    const std::string reason = system_text(error);
    ::close(fd);
    if (error == EACCES || error == EPERM) throw refuses_this_user(path);
    throw Error(GC_E_HOST_UNREACHABLE,
                "no host listens on 'unix:" + path + "' (" + reason +
                    "): start one with 'gc host', or unset GRIDCENTRIC_HOST for a private one");
  }
  check_owner(fd, path);
  return fd;
}

}  // namespace

void keep_descriptors_from(int lowest) {
  lowest_descriptor = lowest;
  begin_to_keep();
}

unsigned next_kept_descriptor(unsigned first) noexcept {
  unsigned next = ~0u;
  const Kept *page = kept;
  if (page == nullptr) return next;
  for (const auto &place : page->descriptors)
    if (const auto fd = static_cast<unsigned>(place); fd > 0 && fd >= first && fd < next) next = fd;
  return next;
}

// Most descriptors are lower than any that is kept: nothing else is looked at then.
bool is_kept_descriptor(int fd) noexcept {
  return fd >= lowest_descriptor && fd >= 0 &&
         next_kept_descriptor(static_cast<unsigned>(fd)) == static_cast<unsigned>(fd);
}

bool answers(const std::string &path, Call *call, int wait_ms) {
  try {
    const Connection connection(path, "observe", call, wait_ms);
    return true;
  } catch (const Error &error) {
    if (error.code == error_cancelled) throw;
    return error.code != GC_E_HOST_UNREACHABLE;  // a refusal is an answer too
  }
}

bool nobody_listens(const std::string &path) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  // One that is being killed may take a moment to let go of its socket.
  for (int i = 0; i < 50; ++i) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const bool listens = ::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0 ||
                         (errno != ECONNREFUSED && errno != ENOENT);
    ::close(fd);
    if (!listens) return true;
    ::poll(nullptr, 0, 10);
  }
  return false;
}

std::string system_text(int error) {
  char space[128];
  const std::string text = strerror_r(error, space, sizeof space);  // the GNU one: it returns the text
  return error == EMFILE ? text + ": this process has reached its limit (ulimit -n)" : text;
}

Call::Call() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) {
    throw Error(GC_E_HOST_UNREACHABLE, "cannot make a descriptor for a call: " + system_text(errno));
  }
}

Call::~Call() { ::close(fd_); }

void Call::cancel() noexcept {
  const int saved = errno;
  const std::uint64_t one = 1;
  // It fails only when the counter is full, and then the call is cancelled already.
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
  errno = saved;
}

bool Call::cancelled() const noexcept {
  pollfd entry{fd_, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

Connection::Connection(const std::string &path, std::string_view handshake, Call *call, int wait_ms)
    : fd_(connect_to(path)) {
  try {
    send(std::string(version_prefix).append(handshake));
    std::string line = receive(call, wait_ms);
    if (line.starts_with("gridcentric/1 ok ")) {
      greeting_ = line.substr(std::strlen("gridcentric/1 ok "));
      keep(fd_);
      return;
    }
    constexpr std::string_view refusal = "gridcentric/1 error ";
    if (line.starts_with(refusal)) {
      const auto space = line.find(' ', refusal.size());
      const auto *row = find_error(std::string_view(line).substr(refusal.size(), space - refusal.size()));
      if (row != nullptr) {
        throw Error(row->code, space == std::string::npos ? row->text : line.substr(space + 1));
      }
    }
    throw Error(GC_E_PROTOCOL,
                "'unix:" + path + "' does not speak gridcentric/1: it answered '" + line.substr(0, 80) + "'");
  } catch (const Disconnected &) {
    const bool refused = ::geteuid() != 0 && is_roots(fd_);
    ::close(fd_);
    if (refused) throw refuses_this_user(path);
    throw Error(GC_E_HOST_UNREACHABLE, "the host at 'unix:" + path +
                                           "' hung up during the handshake or does not answer: it is ending "
                                           "or stopped");
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

Connection::~Connection() {
  let_go_of(fd_);
  if (fd_ >= 0) ::close(fd_);
}

void Connection::forget() {
  let_go_of(fd_);
  fd_ = -1;
}

// A signal that arrives just before poll() interrupts nothing: a hook is asked this often all the same.
constexpr int hook_interval_ms = 250;

void Connection::wait_for(short events, Call *call, int wait_ms) const {
  // POLLRDHUP is not asked for: what the host said before it hung up must be read first.
  pollfd entries[2] = {{fd_, events, 0}, {call != nullptr ? call->wakeup_fd() : -1, POLLIN, 0}};
  const bool hooked = call != nullptr && call->on_wait_interrupted;
  for (int left = wait_ms;;) {
    const bool sliced = hooked && (left < 0 || left > hook_interval_ms);
    const int ready = ::poll(entries, 2, sliced ? hook_interval_ms : left);
    if (ready < 0 && errno != EINTR && errno != EAGAIN) throw Disconnected{};
    if (ready == 0 && !sliced) throw Silent{};
    if (ready <= 0) {
      if (ready == 0 && left > 0) left -= hook_interval_ms;
      if (hooked && call->on_wait_interrupted()) call->cancel();
      continue;
    }
    if (entries[1].revents != 0) throw Error(error_cancelled, "the call was cancelled");
    return;
  }
}

void Connection::send(std::string_view line, std::span<const int> descriptors, Call *call, int wait_ms) {
  std::string bytes;
  bytes.reserve(line.size() + 1);
  bytes.append(line).push_back('\n');

  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 250)];  // 250: docs/protocol.md, "Cloning"
  msghdr message{};
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  for (std::size_t sent = 0; sent < bytes.size();) {
    iovec part{bytes.data() + sent, bytes.size() - sent};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const auto count = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) {
      sent += static_cast<std::size_t>(count);
      message.msg_control = nullptr;  // the descriptors went with the first byte
      message.msg_controllen = 0;
    } else if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
      wait_for(POLLOUT, call, wait_ms);
    } else {
      return;  // the host hung up; it may have said why before: receive() finds out
    }
  }
}

std::string Connection::receive(Call *call, int wait_ms) {
  for (;;) {
    const auto end = buffer_.find('\n', scanned_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      scanned_ = 0;
      return line;
    }
    scanned_ = buffer_.size();
    if (scanned_ > longest_line) {
      throw Error(GC_E_PROTOCOL,
                  "the host sent a line of more than " + std::to_string(longest_line) + " bytes");
    }
    wait_for(POLLIN, call, wait_ms);
    char chunk[16384];
    const auto count = ::recv(fd_, chunk, sizeof chunk, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count > 0) {
      buffer_.append(chunk, static_cast<std::size_t>(count));
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      throw Disconnected{};
    }
  }
}

bool Connection::idle() const {
  char byte;
  return buffer_.empty() && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

}  // namespace gridcentric::guest
