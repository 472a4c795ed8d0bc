// One guest's connection: bytes in as lines (and the descriptors that came along), lines out through a
// bounded buffer. While a guest does not read its answers, it is not read from; when far too much has piled
// up it is closed. Knows nothing of what lines mean. Belongs to the loop's thread.
#pragma once
#include <cstdint>
#include <functional>
#include <gridcentric/hypervisor.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/host/epoll_loop.hpp"
#include "core/wire/lines.hpp"

namespace gridcentric::host {

class Connection {
 public:
  static constexpr std::size_t pause_above = 256 << 10;  // bytes of output: not read from
  static constexpr std::size_t close_above = 256 << 20;  // bytes of output before the last line: closed

  // What its user hears. Neither is called again once it has closed.
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void line(Connection &connection, std::string_view line) = 0;
    virtual void line_too_long(Connection &connection, std::string_view beginning) = 0;
    virtual void closed(Connection &connection) = 0;  // once, also after close()
  };

  Connection(EpollLoop &loop, int fd, Peer peer, Handler &handler);
  ~Connection();
  Connection(const Connection &) = delete;
  Connection &operator=(const Connection &) = delete;

  Peer peer() const { return peer_; }
  bool open() const { return fd_ >= 0 && !closing_; }
  bool hung_up() const { return hung_up_; }  // the guest has closed: nobody will read an answer

  // Buffered until flush(), which also takes up lines that had to wait. Ignored once it is closing.
  void send(std::string_view line);
  void flush();
  // No more lines are read; closes when all output is written.
  void close_after_output();
  void close();

  // The descriptors that came with the line at hand; they become the caller's.
  std::vector<int> take_descriptors();

 private:
  void ready(std::uint32_t events);
  void read_some();
  void take_lines();
  void update_events();
  void drop_descriptors();

  EpollLoop &loop_;
  int fd_;
  Peer peer_;
  Handler &handler_;
  wire::LineSplitter lines_;
  std::string output_;
  std::size_t written_ = 0;  // of output_
  bool closing_ = false;     // when the output is written
  bool hung_up_ = false;
  bool stalled_ = false;  // lines wait for the output to shrink
  bool taking_lines_ = false;
  std::uint32_t events_ = 0;
  std::vector<int> descriptors_;
};

}  // namespace gridcentric::host
