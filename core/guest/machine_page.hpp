// A page that every process of a VM maps: who the machine is, and how often it has become another one. So vmid() and my_ip()
// are right in every process from a clone's first instruction on, also in one that never called clone(), and without asking
// the host.
// Written by the agent in the VM while all its programs are frozen; read by connection_pool.cpp.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>

namespace gridcentric::guest {

struct MachinePage {
  std::atomic<std::uint32_t> generation;  // 0 in a machine that was booted, one more in each clone; a futex
  std::int32_t vmid;
  std::int32_t parent;  // -1: the master has none
  char family[40];      // UUID
  char ip[46];          // numeric
  char hypervisor[32];  // its name
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

struct MachineIdentity {
  std::string family;
  int vmid;
  int parent;
  std::string ip;
  std::string hypervisor;
};

// What the agent of a VM puts at fixed places: whoever starts a process with its own environment, as su(1), cron(8) and
// sshd(8) do, starts one of the same machine.
inline constexpr const char *machine_page_path = "/run/gridcentric/identity";
inline constexpr const char *machine_host_path = "/run/gridcentric/host.sock";

// Is this process one of a VM with an agent, and has GRIDCENTRIC_HOST not led it to another host?
bool in_machine() noexcept;
std::uint32_t machine_generation() noexcept;  // 0 outside of VMs. Below 10 ns after the first call
MachineIdentity machine_identity();           // in_machine() only

// Waits until the generation is not the known one any more. in_machine() only.
void wait_for_other_machine(std::uint32_t known) noexcept;

}  // namespace gridcentric::guest
