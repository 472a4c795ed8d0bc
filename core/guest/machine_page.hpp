// A page that every process of a VM maps (the file that GRIDCENTRIC_IDENTITY names): the agent counts in it how often the
// machine has become another one, so that each process notices, also one that never called clone() itself.
// Written by core/agent, read by session.cpp. It must not know: who the machine is; the host tells.
#pragma once
#include <atomic>
#include <cstdint>

namespace gridcentric::guest {

struct MachinePage {
  std::atomic<std::uint32_t> generation;  // 0 in a machine that was booted, one more in each clone
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// This process's machine; 0 outside of VMs. Below 10 ns after the first call.
std::uint32_t machine_generation() noexcept;

}  // namespace gridcentric::guest
