// Bringing a Linux machine up from its initramfs, and making a clone of it another machine. Linux only, static, PID 1.
// Knows nothing of the channel or of processes' connections.
#pragma once
#include <cstdint>
#include <string>

namespace gridcentric::agent {

// Loads the modules of /modules, mounts the image below a tmpfs overlay and makes that the root. Ends the machine with
// a message on the console when it can't.
void bring_up();

// Opens the virtio-serial port of this name; waits for it to appear.
int open_port(const char *name);

// Who a machine is. What a clone must not share with its master.
struct Identity {
  int vmid = 0;
  std::string family;   // UUID, "-": not known yet
  std::string ip;       // IPv4, numeric; "-": leave the network alone
  int prefix = 0;       // bits of the network
  std::string mac;      // "52:54:00:..."
  std::string gateway;  // "-": none
  std::string hostname;
  std::string machine_id;     // 32 hexadecimal digits
  std::int64_t clock_ns = 0;  // time of day
  std::string seed;           // hexadecimal, for the kernel's generator
};

// Generator first, then clock, names, network: the kernel must not hand out the master's random bytes to a program that
// is woken by a change of address (RNDADDENTROPY, RNDRESEEDCRNG: random(4)). Returns what could not be set, "" if all was.
std::string become(const Identity &identity);

// Counts in core/guest/machine_page.hpp's page when vmid is not the one it was: every process of the machine notices.
void count_machine(int vmid);

}  // namespace gridcentric::agent
