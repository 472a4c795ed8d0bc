#include "core/host/connection.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace gridcentric::host {
namespace {

constexpr std::size_t read_size = 64 << 10;
constexpr std::size_t most_descriptors = 253;  // of one message (SCM_MAX_FD)

}  // namespace

Connection::Connection(EpollLoop &loop, int fd, Peer peer, Handler &handler)
    : loop_(loop), fd_(fd), peer_(peer), handler_(handler), events_(EPOLLIN) {
  loop_.watch_events(fd_, events_, [this](std::uint32_t events) { ready(events); });
}

Connection::~Connection() {
  drop_descriptors();
  if (fd_ < 0) return;
  loop_.unwatch(fd_);
  ::close(fd_);
}

void Connection::close() {
  if (fd_ < 0) return;
  loop_.unwatch(fd_);
  ::close(fd_);
  fd_ = -1;
  drop_descriptors();
  output_ = {};
  written_ = 0;
  handler_.closed(*this);
}

void Connection::close_after_output() {
  if (fd_ < 0) return;
  closing_ = true;
  flush();
}

void Connection::send(std::string_view line) {
  if (!open()) return;
  if (output_.size() - written_ > close_above) return close();
  output_.append(line).push_back('\n');
}

void Connection::flush() {
  while (fd_ >= 0 && written_ < output_.size()) {
    const ssize_t size =
        ::send(fd_, output_.data() + written_, output_.size() - written_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno != EAGAIN) return close();
    if (size < 0) break;
    written_ += static_cast<std::size_t>(size);
  }
  if (fd_ < 0) return;
  if (written_ == output_.size()) {
    output_.clear();
    written_ = 0;
    if (output_.capacity() > pause_above) output_.shrink_to_fit();
    if (closing_) return close();
  } else if (written_ > output_.size() / 2) {
    output_.erase(0, written_);
    written_ = 0;
  }
  update_events();
  if (stalled_ && output_.size() - written_ <= pause_above) take_lines();
}

void Connection::update_events() {
  const std::size_t waiting = output_.size() - written_;
  const bool reads = !closing_ && waiting <= pause_above;
  const std::uint32_t events = (reads ? EPOLLIN : 0u) | (waiting > 0 ? EPOLLOUT : 0u);
  if (events == events_) return;
  events_ = events;
  loop_.change_events(fd_, events);
}

void Connection::ready(std::uint32_t events) {
  // A guest that has closed wants no answers: what it had open is cancelled by closed(), unread lines
  // included.
  if ((events & (EPOLLHUP | EPOLLERR)) && !(events & EPOLLIN)) return close();
  hung_up_ |= (events & EPOLLHUP) != 0;
  if (events & EPOLLOUT) flush();
  if (fd_ >= 0 && (events & EPOLLIN)) read_some();
}

void Connection::read_some() {
  char bytes[read_size];
  alignas(cmsghdr) char control[CMSG_SPACE(most_descriptors * sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0) {
    if (errno != EAGAIN && errno != EINTR) close();
    return;
  }
  for (cmsghdr *item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const std::size_t before = descriptors_.size();
    descriptors_.resize(before + count);
    std::memcpy(descriptors_.data() + before, CMSG_DATA(item), count * sizeof(int));
  }
  if (size == 0) return close();
  lines_.feed({bytes, static_cast<std::size_t>(size)});
  take_lines();
  // The kernel ends a read with the message that descriptors came with, so their line was the last one of it.
  if (fd_ >= 0) drop_descriptors();
}

void Connection::take_lines() {
  if (taking_lines_) return;
  taking_lines_ = true;
  std::string_view line;
  stalled_ = false;
  while (open()) {
    if (output_.size() - written_ > pause_above) {
      stalled_ = true;
      break;
    }
    const auto next = lines_.next(&line);
    if (next == wire::LineSplitter::Next::more) break;
    if (next == wire::LineSplitter::Next::too_long) {
      handler_.line_too_long(*this, line);
      break;
    }
    handler_.line(*this, line);
  }
  taking_lines_ = false;
}

std::vector<int> Connection::take_descriptors() { return std::exchange(descriptors_, {}); }

void Connection::drop_descriptors() {
  for (const int fd : take_descriptors()) ::close(fd);
}

}  // namespace gridcentric::host
