// One connection of a guest to a host: bytes and lines, a handshake, descriptors that go along, a wait that can be taken
// back. Used by one thread at a time.
// It must not know: what a line means, pools, forks, clones.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/guest/client.hpp"

namespace gridcentric::guest {

// What the system says of an error; of a limit, also what raises it.
std::string system_text(int error);

// Connections are made on descriptors from this one on, where the limit allows: the program uses others by number.
void keep_descriptors_from(int lowest);

// The lowest of the descriptors from `first` on that are connections' and kept out of the program's way; all ones: there is none.
// Lock-free, for signal handlers and vforked children too.
unsigned next_kept_descriptor(unsigned first) noexcept;
bool is_kept_descriptor(int fd) noexcept;

// Does the host at this path greet a newcomer in time? Throws error_cancelled and what the hook of call throws.
bool answers(const std::string &path, Call *call, int wait_ms);

// Is there no host at this path any more? Waits for half a second for one that is ending.
bool nobody_listens(const std::string &path) noexcept;

// The other end closed, or the connection broke. What that means (host dead, process cloned) is the session's business.
struct Disconnected {};
// It did not: it has said nothing in the time that it was given.
struct Silent : Disconnected {};

class Connection {
 public:
  // Connects and says the handshake line (without its newline). Throws Error: HOST_UNREACHABLE when nobody listens there
  // or the host hangs up, PROTOCOL, the host's own refusal, error_cancelled.
  // wait_ms: how long to wait for the answer at most, -1 for ever; HOST_UNREACHABLE when the time is over.
  Connection(const std::string &path, std::string_view handshake, Call *call, int wait_ms = -1);
  ~Connection();
  Connection(const Connection &) = delete;
  Connection &operator=(const Connection &) = delete;

  // What followed "gridcentric/1 ok " in the host's answer.
  const std::string &greeting() const { return greeting_; }
  int fd() const { return fd_; }
  void forget();  // somebody else has closed the descriptor

  // Sends a line (without its newline), with descriptors in the same message. A broken connection is noticed by receive().
  // Throws as receive() does while the host reads nothing; part of the line may be on its way then, so that nothing more can
  // be said.
  void send(std::string_view line, std::span<const int> descriptors = {}, Call *call = nullptr,
            int wait_ms = -1);

  // The next line without its newline. Throws Disconnected, Error PROTOCOL (a line longer than the protocol allows) and
  // error_cancelled. A hook's exception leaves it as it is.
  // wait_ms: how long to wait at most, -1 for ever; Silent when the time is over.
  std::string receive(Call *call, int wait_ms = -1);

  // Nothing came in and nobody hung up since the last call ended: fit for another one.
  bool idle() const;

 private:
  void wait_for(short events, Call *call, int wait_ms) const;

  int fd_;
  std::string buffer_;
  std::size_t scanned_ = 0;  // bytes of buffer_ known to hold no newline
  std::string greeting_;
};

}  // namespace gridcentric::guest
