// Brings a Linux VM up from its initramfs, and gives a clone of it another identity. Linux only, static, PID 1. Knows nothing
// about the channel or the connections of processes.
#pragma once
#include <cstdint>
#include <string>

#include "core/hypervisors/qemu/agent/network.hpp"

namespace gridcentric::agent {

// Loads the modules of /modules, mounts the image below a tmpfs overlay and makes that the root. On failure ends the VM with
// a message on the console.
void bring_up();

// Opens the virtio-serial port with this name; waits for it to appear.
int open_port(const char *name);

// The identity of a VM: what a clone must not share with its master.
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

// Call it while all programs are frozen. Sets generator (RNDADDENTROPY, RNDRESEEDCRNG: random(4)), boot_id, clock, names,
// network, and the page that tells every process of the VM its identity (core/guest/machine_page.hpp). Returns what could not
// be set, or "".
std::string become(const Identity &identity);

}  // namespace gridcentric::agent
