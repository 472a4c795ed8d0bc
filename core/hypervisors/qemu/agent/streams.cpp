#include "core/hypervisors/qemu/agent/streams.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace gridcentric::agent {
namespace {

constexpr std::size_t taken_step = window / 4;  // what a process has read is reported in steps of this size
constexpr std::uint32_t first_connection =
    0x80000000;  // the numbers of programs are lower; the driver gives them

bool is_program(std::uint32_t id) { return id < first_connection; }

int unblocked(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

}  // namespace

void Streams::add_connection(int fd) {
  const std::uint32_t id = first_connection + connections_++;
  Stream &stream = streams_[id];
  stream.to = stream.from = unblocked(fd);
  append_frame(out_, id, Kind::open, "");
}

void Streams::add_program(std::uint32_t id, int input, int output, int errors) {
  Stream &stream = streams_[id];
  stream.to = unblocked(input);
  stream.from = unblocked(output);
  stream.errors = unblocked(errors);
}

void Streams::want(std::vector<pollfd> &fds, bool reading) {
  polled_.clear();
  const auto add = [&](std::uint32_t id, const Stream &stream, End end, int events) {
    if (stream.*end < 0) return;
    fds.push_back({stream.*end, static_cast<short>(events), 0});
    polled_.emplace_back(id, end);
  };
  const int in = reading ? POLLIN : 0;
  for (const auto &[id, stream] : streams_) {
    const int out = stream.pending.empty() ? 0 : POLLOUT;
    // A descriptor that is not to be read is not polled for it, or POLLHUP would be reported again and again. `to` is polled
    // even without events, for the one POLLERR when its reader is gone.
    if (!is_program(id)) {
      if ((in | out) != 0) add(id, stream, &Stream::from, in | out);
      continue;
    }
    add(id, stream, &Stream::to, out);
    if (!reading) continue;
    add(id, stream, &Stream::from, in);
    add(id, stream, &Stream::errors, in);
  }
}

void Streams::serve(const pollfd *fds) {
  for (const auto &[id, end] : polled_) {
    const short events = (fds++)->revents;
    auto stream = streams_.find(id);
    if (stream == streams_.end() || stream->second.*end < 0) continue;  // closed while serving another entry
    if (events & POLLOUT) {
      write_pending(id);
      stream = streams_.find(id);
      if (stream == streams_.end() || stream->second.*end < 0) continue;
    }
    if (end == &Stream::to) {
      if (events & POLLERR) close_end(id, end);
    } else if (events & (POLLIN | POLLHUP | POLLERR)) {
      const ssize_t n = read_once(id, stream->second, end);
      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) close_end(id, end);
    }
  }
}

void Streams::take(const Frame &frame, bool quiet) {
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // was still in flight when the stream ended
  if (frame.kind == Kind::data) found->second.pending += frame.payload;
  if (frame.kind == Kind::close) found->second.ended = true;
  if (!quiet) write_pending(frame.stream);
}

void Streams::drain() {
  for (auto &[id, stream] : streams_)
    for (const End end : {&Stream::from, &Stream::errors}) {
      // Reads only what is there now: another program may write as fast as it is read.
      int there = 0;
      if (is_program(id) && stream.*end >= 0) ioctl(stream.*end, FIONREAD, &there);
      while (there > 0) {
        const ssize_t n = read_once(id, stream, end);
        if (n <= 0) break;
        there -= static_cast<int>(n);
      }
    }
}

void Streams::keep_connection(std::uint32_t kept) {
  for (auto stream = streams_.lower_bound(first_connection); stream != streams_.end();) {
    if (stream->first == kept) {
      ++stream;
      continue;
    }
    close(stream->second.from);
    stream = streams_.erase(stream);
  }
}

ssize_t Streams::read_once(std::uint32_t id, const Stream &stream, End end) {
  char buffer[max_payload];
  const ssize_t n = read(stream.*end, buffer, sizeof buffer);
  const Kind kind = end == &Stream::errors ? Kind::errors : Kind::data;
  if (n > 0) append_frame(out_, id, kind, {buffer, static_cast<std::size_t>(n)});
  return n;
}

void Streams::write_pending(std::uint32_t id) {
  Stream &stream = streams_[id];
  while (!stream.pending.empty() && stream.to >= 0) {
    const ssize_t n = write(stream.to, stream.pending.data(), stream.pending.size());
    if (n < 0 && errno == EAGAIN) return say_taken(id, stream, taken_step);
    if (n <= 0) return close_end(id, &Stream::to);
    stream.pending.erase(0, static_cast<std::size_t>(n));
    stream.taken += static_cast<std::uint32_t>(n);
  }
  if (stream.to < 0) {  // a program that has closed its input goes on; the writer must not wait for it
    stream.taken += static_cast<std::uint32_t>(stream.pending.size());
    stream.pending.clear();
  }
  say_taken(id, stream, 1);
  if (stream.ended && stream.to >= 0) close_end(id, &Stream::to);
}

void Streams::close_end(std::uint32_t id, End end) {
  Stream &stream = streams_[id];
  close(stream.*end);
  if (!is_program(id)) stream.to = stream.from = -1;
  stream.*end = -1;
  if (stream.to < 0 && stream.from < 0 && stream.errors < 0) {
    if (!stream.ended || is_program(id)) append_frame(out_, id, Kind::close, "");
    streams_.erase(id);
  } else if (stream.to < 0) {
    write_pending(id);
  }
}

void Streams::say_taken(std::uint32_t id, Stream &stream, std::size_t least) {
  if (stream.taken < least) return;
  append_frame(out_, id, Kind::taken, {reinterpret_cast<const char *>(&stream.taken), sizeof stream.taken});
  stream.taken = 0;
}

}  // namespace gridcentric::agent
