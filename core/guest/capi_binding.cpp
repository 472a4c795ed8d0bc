// The C API for bindings (gridcentric/gc-binding.h): checks pointers and calls client.hpp, as capi.cpp does.
#include <gridcentric/gc-binding.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "core/generators/known.hpp"
#include "core/guest/capi.hpp"

using namespace gridcentric;
using namespace gridcentric::guest::capi;

namespace {

// Never freed: a thread may clone while the program ends.
std::vector<generators::Repeating> &told_last = *new std::vector<generators::Repeating>;
std::mutex mutex;  // of told_last

std::atomic<bool> carries_out_orders{false};

}  // namespace

std::vector<generators::Repeating> guest::capi::found_by_runtime() {
  std::lock_guard lock(mutex);
  return told_last;
}

bool guest::capi::runtime_carries_out_orders() noexcept { return carries_out_orders; }

extern "C" {

int gc_identity(gc_identity_t *identity) {
  return guarded([&] {
    need(identity, "identity", "the address of a gc_identity_t");
    const guest::Identity self = guest::identity(used_call());
    fill(identity->family, sizeof identity->family, self.family);
    fill(identity->ip, sizeof identity->ip, self.ip);
    fill(identity->hypervisor, sizeof identity->hypervisor, self.hypervisor);
    identity->vmid = self.vmid;
    identity->parent = self.parent;
    return 0;
  });
}

unsigned gc_generation(void) { return guest::generation(); }

int gc_host_info(gc_info_t **info, size_t *count) {
  return guarded([&] {
    need(info, "info", "the address of a pointer");
    need(count, "count", "the address of a size_t");
    const auto rows = guest::host_info(used_call());
    std::size_t text_bytes = 0;
    for (const auto &[key, value] : rows) text_bytes += key.size() + value.size() + 2;
    auto *memory = block<gc_info_t>(rows.size(), text_bytes);
    auto *text = reinterpret_cast<char *>(memory + rows.size());
    const auto keep = [&text](const std::string &from) {
      char *kept = text;
      text += from.copy(text, from.size()) + 1;
      return kept;
    };
    for (std::size_t at = 0; at < rows.size(); ++at)
      memory[at] = {keep(rows[at].first), keep(rows[at].second)};
    *info = memory;
    *count = rows.size();
    return 0;
  });
}

int gc_around_copy(int (*before)(void *), void (*after)(void *), void *data) {
  return guarded([&] {
    need(before, "before", "a function");
    need(after, "after", "a function");
    guest::around_copy(
        [before, data] {
          const int refused = before(data);
          if (refused == 0) return;
          throw guest::Error(GC_E_CLONE_FAILED, "a handler of gc_around_copy() returned " +
                                                    std::to_string(refused) + ", not 0: no clone was made");
        },
        [after, data] { after(data); });
    return 0;
  });
}

int gc_no_locks_in_chunks(size_t size) {
  return guarded([&] {
    if (size % 4096 != 0)
      throw guest::Error(GC_E_INVALID_ARGUMENT,
                         "size is " + std::to_string(size) + ", expected a multiple of 4096");
    guest::no_locks_in_chunks(size);
    return 0;
  });
}

int gc_carry_out_orders_with(int (*carry_out)(gc_uuid_t, void *), void *data) {
  return guarded([&] {
    need(carry_out, "carry_out", "a function");
    carries_out_orders = true;
    guest::carry_out_orders_with([carry_out, data](const std::string &ticket, int) {
      gc_uuid_t name;
      fill(name.value, sizeof name.value, ticket);
      if (const int code = carry_out(name, data); code != 0) throw guest::Error(code, gc_error_text());
    });
    return 0;
  });
}

int gc_thread_pointers(uintptr_t **pointers, size_t *count) {
  return guarded([&] {
    need(pointers, "pointers", "the address of a pointer");
    need(count, "count", "the address of a size_t");
    const auto &known = guest::thread_pointers();
    *pointers = block<uintptr_t>(known.size());
    std::copy(known.begin(), known.end(), *pointers);
    *count = known.size();
    return 0;
  });
}

void gc_call_on_interrupt(gc_call_t *call, int (*give_up)(void *), void *data) {
  if (call == nullptr) return;
  guarded([&] {
    if (give_up == nullptr) {
      call->call.on_wait_interrupted = nullptr;
    } else {
      call->call.on_wait_interrupted = [give_up, data] { return give_up(data) != 0; };
    }
    return 0;
  });
}

int gc_tell_repeating(const gc_repeating_t *found, size_t count) {
  return guarded([&] {
    if (count > 0) need(found, "found", "the address of count gc_repeating_t, or count 0");
    std::vector<generators::Repeating> told;
    for (std::size_t at = 0; at < count; ++at) {
      need(found[at].generator, "generator", "a name of generators.def");
      need(found[at].where, "where", "a path");
      if (generators::find_known(found[at].generator) == nullptr)
        throw guest::Error(GC_E_INVALID_ARGUMENT, "generator is '" + std::string(found[at].generator) +
                                                      "', expected a name of generators.def");
      told.push_back({found[at].generator, found[at].where});
    }
    std::lock_guard lock(mutex);
    told_last = std::move(told);
    return 0;
  });
}

}  // extern "C"
