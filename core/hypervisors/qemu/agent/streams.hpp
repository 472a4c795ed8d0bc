// The streams of a machine, agent's side: connections of its processes to the host, and the input and output of programs, as
// frames (frames.hpp). Knows neither what they say nor who the machine is. For one thread.
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
  // out: where frames for the driver are appended.
  explicit Streams(std::string &out) : out_(out) {}

  // The descriptors become its own, and do not block.
  void add_connection(int fd);
  void add_program(std::uint32_t id, int input, int output,
                   int errors);  // errors: -1 when they are in the output

  // Appends what is to be polled for; reading: there is room for what processes say. serve() is given the same entries.
  void want(std::vector<pollfd> &fds, bool reading);
  void serve(const pollfd *fds);

  // A frame of the driver's; quiet: processes are not told of it before the next serve().
  void take(const Frame &frame, bool quiet);

  std::size_t size() const { return streams_.size(); }

  // Reads all that programs have written by now.
  void drain();

  // The driver has forgotten all connections but this one.
  void keep_connection(std::uint32_t kept);

 private:
  struct Stream {
    int to = -1;              // what its process reads
    int from = -1;            // what its process writes; a connection's is the same descriptor
    int errors = -1;          // a program's standard error
    std::string pending;      // for its process
    std::uint32_t taken = 0;  // bytes that it has read and the driver does not know of yet
    bool ended = false;       // the driver has nothing more for it than what is pending
  };
  using End = int Stream::*;

  ssize_t read_once(std::uint32_t id, const Stream &stream, End end);
  void write_pending(std::uint32_t id);
  void close_end(std::uint32_t id, End end);
  void say_taken(std::uint32_t id, Stream &stream, std::size_t least);

  std::string &out_;
  std::map<std::uint32_t, Stream> streams_;
  std::vector<std::pair<std::uint32_t, End>> polled_;  // what want() has appended
  std::uint32_t connections_ = 0;                      // so many there have been
};

}  // namespace gridcentric::agent
