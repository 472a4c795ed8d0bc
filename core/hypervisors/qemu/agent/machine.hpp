// Bringing a Linux machine up from its initramfs, and making a clone of it another machine. Linux only, static, PID 1.
// Knows nothing of the channel or of processes' connections.
#pragma once
#include <cstdint>
#include <string>

#include "core/hypervisors/qemu/agent/network.hpp"

namespace gridcentric::agent {

// Loads the modules of /modules, mounts the image below a tmpfs overlay and makes that the root. Ends the machine with
// a message on the console when it can't.
void bring_up();

// Opens the virtio-serial port of this name; waits for it to appear.
int open_port(const char *name);

// Who a machine is. What a clone must not share with its master.
struct Identity {
  int vmid = 0;
  int parent = -1;     // -1: the master has none
  std::string family;  // UUID
  Network network;     // ip "-": leave the network alone
  std::string hostname;
  std::string machine_id;     // 32 hexadecimal digits
  std::int64_t clock_ns = 0;  // time of day
  std::string seed;           // hexadecimal, for the kernel's generator
};

// While all programs are frozen: generator (RNDADDENTROPY, RNDRESEEDCRNG: random(4)), boot_id, clock, names, network, and the page
// by which every process of the machine knows who it is (core/guest/machine_page.hpp). Returns what could not be set, ""
// if all was.
std::string become(const Identity &identity);

}  // namespace gridcentric::agent
