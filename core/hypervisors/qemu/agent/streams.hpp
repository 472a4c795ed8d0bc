// The agent's side of a VM's streams: connections of its processes to the host, and the input and output of programs, as
// frames (frames.hpp). Knows neither their contents nor the VM's identity. Not thread-safe.
#pragma once
#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/hypervisors/qemu/agent/frames.hpp"

namespace gridcentric::agent {

class Streams {
 public:
  // out: frames for the driver are appended to it.
  explicit Streams(std::string &out) : out_(out) {}

  // These take ownership of the descriptors and make them non-blocking.
  void add_connection(int fd);
  void add_program(std::uint32_t id, int input, int output,
                   int errors);  // errors: -1 if they go to the output

  // Appends what to poll for; reading: there is room for data from processes. Pass the same entries to serve().
  void want(std::vector<pollfd> &fds, bool reading);
  void serve(const pollfd *fds);

  // Handles a frame from the driver; quiet: do not pass it on to processes before the next serve().
  void take(const Frame &frame, bool quiet);

  std::size_t size() const { return streams_.size(); }

  // Reads all that programs have written by now.
  void drain();

  // Closes all connections except this one: the driver has forgotten the others.
  void keep_connection(std::uint32_t kept);

 private:
  struct Stream {
    int to = -1;              // its process reads from it
    int from = -1;            // its process writes to it; for a connection the same descriptor
    int errors = -1;          // a program's standard error
    std::string pending;      // for its process
    std::uint32_t taken = 0;  // bytes that it has read and that are not reported to the driver yet
    bool ended = false;       // the driver will send nothing more; only `pending` is left
  };
  using End = int Stream::*;

  ssize_t read_once(std::uint32_t id, const Stream &stream, End end);
  void write_pending(std::uint32_t id);
  void close_end(std::uint32_t id, End end);
  void say_taken(std::uint32_t id, Stream &stream, std::size_t least);

  std::string &out_;
  std::map<std::uint32_t, Stream> streams_;
  std::vector<std::pair<std::uint32_t, End>> polled_;  // the entries that want() has appended
  std::uint32_t connections_ = 0;                      // how many there have been so far
};

}  // namespace gridcentric::agent
