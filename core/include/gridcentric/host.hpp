// SPDX-License-Identifier: Apache-2.0
// Runs a host, like `gc host`, inside another program.
#pragma once
#include <cstdint>
#include <functional>
#include <gridcentric/hypervisor.hpp>
#include <memory>
#include <string>
#include <vector>

namespace gridcentric {

struct HostOptions {
  std::string socket;      // path; "": the default one (default_socket_path())
  std::string hypervisor;  // the name of a driver (gridcentric/drivers.hpp); "": the default one
  // Makes another driver to use instead; it is made, used and destroyed on the host's thread.
  std::function<std::unique_ptr<Hypervisor>(Loop &loop)> make_hypervisor;
  std::int64_t cpus = 0;   // offered to tickets; 0: 64 for each core of this computer
  bool control = false;    // tests may control it; a scripted hypervisor then has a virtual clock
  std::uint64_t seed = 0;  // of the UUIDs, if `control`; else they are random
  std::string address_base = "10.77.0.0";  // of domains that exist only in memory
  // Not "": a connection opened with `as FAMILY VMID key=SECRET` speaks for that domain. For a driver that carries its VMs'
  // connections to the host; nobody else may know the secret.
  std::string relay_secret;
  // >= 0: a private host. Its socket is in a new folder; the host takes this descriptor over and writes the path and a
  // newline to it. It ends with its first family, or if no hello arrives within 10 s.
  int private_fd = -1;
  bool handle_signals = true;  // end on SIGTERM and SIGINT (they are blocked in the calling thread meanwhile)
  bool print_listening = true;  // "listening on unix:PATH" on stdout when ready (not by a private host)
  // Called on the host's thread when it is ready; `stop` ends the host and may be called from any thread
  // until run_host() has returned.
  std::function<void(const std::string &path, std::function<void()> stop)> on_ready;
};

// $XDG_RUNTIME_DIR/gridcentric/host.sock, or /tmp/gridcentric-UID/host.sock without that variable.
std::string default_socket_path();

// Removes the folders that killed private hosts of this user have left behind, and returns their paths. Every private host
// does so when it starts.
std::vector<std::string> remove_dead_hosts();

// Blocks until the host ends. 0: it ended as requested, with everything cleaned up. 1: it could not start; *error says why,
// what was expected and what to do. 2: the options are wrong; *error names the option.
int run_host(const HostOptions &options, std::string *error);

}  // namespace gridcentric
