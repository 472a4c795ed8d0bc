// Addresses of clones that have ended refuse connections. A clone's listener is bound to the clone's own address; when it is
// gone, the kernel would hand what comes for it to a listener of the master's that takes all addresses. So the host keeps another
// socket, a refuser, behind each port that a clone is bound to: in one SO_REUSEPORT group with the clone's, which a
// filter prefers as long as it is there (socket(7), SO_ATTACH_REUSEPORT_CBPF). There is no moment without one of the two.
// What reaches a refuser is reset (TCP) or dropped (UDP). Knows sockets; nothing of domains but a number for their family.
#pragma once
#include <cstdint>
#include <gridcentric/hypervisor.hpp>
#include <unordered_map>
#include <vector>

namespace gridcentric {

class Refusers {
 public:
  explicit Refusers(Loop &loop) : loop_(loop) {}
  ~Refusers();
  Refusers(const Refusers &) = delete;
  Refusers &operator=(const Refusers &) = delete;

  // One for each of the ports, which sockets of a clone are bound to by now. A port for which it can't be done is left out:
  // a socket of another user, no descriptor left, a kernel without such filters.
  void place(std::uint32_t address, DomainKey family, const std::vector<BoundPort> &ports);
  // The address is to be another clone's.
  void remove(std::uint32_t address);
  // Nobody is left who could answer in place of another.
  void remove_family(DomainKey family);

 private:
  struct Held {
    DomainKey family;
    std::vector<int> sockets;
  };

  void close_all(const Held &held);
  void turn_away(int socket, bool tcp);

  Loop &loop_;
  std::unordered_map<std::uint32_t, Held> held_;  // by address
  std::size_t in_use_ = 0;                        // sockets
};

}  // namespace gridcentric
