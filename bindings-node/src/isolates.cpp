// V8 has no list of isolates, and no public list of contexts. But each thread has its isolate in a thread-local variable, and each
// isolate points to its newest context, which points to the one before it. Their locations are learned by watching what changes
// in an isolate whose state is known, so that this file contains no layout of any V8 version.
#include "isolates.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "core/generators/thread_locals.hpp"
#include "random.hpp"

namespace gridcentric::node {
namespace {

using Address = std::uintptr_t;
using generators::OwnMemory;

constexpr std::size_t page = 4096, words_of_page = page / sizeof(Address);
constexpr std::size_t largest_isolate = 256 * 1024, signature_size = 32 * 1024;
constexpr std::size_t enough_words = 64, words_of_context = 512, most_contexts = 100'000;
constexpr std::size_t around_thread_pointer =
    0x900;  // glibc's struct pthread, which contains the first thread-specific values

struct V8 {
  void *(*current_isolate)();
  Address *(*current_context)(void *isolate);
  void (*request_interrupt)(void *isolate, void (*callback)(void *isolate, void *data), void *data);
  void *(*new_string)(void *isolate, const char *text, int type, int length);
  void *(*compile)(void *context, void *text, void *origin);
  void *(*run)(void *script, void *context);
};

template <typename Function>
void find(Function &function, const char *name) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

const V8 &v8() {
  static const V8 found = [] {
    V8 v;
    find(v.current_isolate, "_ZN2v87Isolate10GetCurrentEv");
    find(v.current_context, "_ZN2v87Isolate17GetCurrentContextEv");
    find(v.request_interrupt, "_ZN2v87Isolate16RequestInterruptEPFvPS0_PvES2_");
    find(v.new_string, "_ZN2v86String11NewFromUtf8EPNS_7IsolateEPKcNS_13NewStringTypeEi");
    find(v.compile, "_ZN2v86Script7CompileENS_5LocalINS_7ContextEEENS1_INS_6StringEEEPNS_12ScriptOriginE");
    find(v.run, "_ZN2v86Script3RunENS_5LocalINS_7ContextEEE");
    return v;
  }();
  return found;
}

struct Learned {
  bool done = false;
  std::vector<generators::ThreadLocal> thread_locals;  // each has the thread's isolate
  std::vector<std::ptrdiff_t> near_thread_pointer;  // the same, where it is a thread-specific value (V8 10)
  std::vector<std::pair<std::size_t, Address>> signature;  // words that are equal in every isolate
  std::size_t newest = 0;       // in an isolate: offset of its newest context; 0: not known
  std::size_t next = 0;         // in a context: offset of the one before it
  bool oldest_is_main = false;  // the oldest context is the one in which Node runs
  Address undefined = 0;        // ends the list
  std::string renewal;
};

std::mutex lock;
Learned &learned = *new Learned;  // never destroyed: threads may still run

std::vector<Address> words(const OwnMemory &memory, Address from, std::size_t size) {
  std::vector<Address> read(size / sizeof(Address));
  for (std::size_t at = 0; at < read.size(); at += words_of_page) {
    const std::size_t count = std::min(words_of_page, read.size() - at);
    if (memory.read(from + at * sizeof(Address), &read[at], count * sizeof(Address))) continue;
    read.resize(at);
    break;
  }
  return read;
}

// The mapped parts of Node's code: a pointer into them is the same in every isolate.
std::vector<std::pair<Address, Address>> code_of_node() {
  struct Search {
    Address inside;
    std::vector<std::pair<Address, Address>> code;
  } search{reinterpret_cast<Address>(v8().current_isolate), {}};
  dl_iterate_phdr(
      [](dl_phdr_info *loaded, std::size_t, void *data) {
        Search &s = *static_cast<Search *>(data);
        std::vector<std::pair<Address, Address>> code;
        bool here = false;
        for (int i = 0; i < loaded->dlpi_phnum; ++i) {
          const auto &segment = loaded->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X)) continue;
          const Address start = loaded->dlpi_addr + segment.p_vaddr;
          code.emplace_back(start, start + segment.p_memsz);
          here = here || (s.inside >= start && s.inside - start < segment.p_memsz);
        }
        if (here) s.code = std::move(code);
        return here ? 1 : 0;
      },
      &search);
  return search.code;
}

void learn_signature(const OwnMemory &memory, Address isolate) {
  const auto code = code_of_node();
  const auto here = words(memory, isolate, signature_size);
  for (std::size_t i = 0; i < here.size(); ++i) {
    const bool points_there = std::ranges::any_of(
        code, [&](const auto &part) { return here[i] >= part.first && here[i] < part.second; });
    if (points_there) learned.signature.emplace_back(i, here[i]);
  }
}

bool is_isolate(const OwnMemory &memory, Address address) {
  if (address == 0 || address % sizeof(Address) != 0) return false;
  const auto there = words(memory, address, signature_size);
  const auto same = std::ranges::count_if(learned.signature, [&](const auto &word) {
    return word.first < there.size() && there[word.first] == word.second;
  });
  // Not all need match: callbacks differ, and V8 runs its built-in code, half of the words, from a copy in some isolates and in
  // place in others, depending on addresses. Nothing else has hundreds of them in the same places.
  return static_cast<std::size_t>(same) >= std::max(enough_words, learned.signature.size() / 4);
}

void learn_place(const OwnMemory &memory, Address isolate) {
  learned.thread_locals = generators::thread_locals_with(isolate);
  if (!learned.thread_locals.empty()) return;
  const Address pointer = generators::own_thread_pointer();
  for (std::ptrdiff_t offset = -std::ptrdiff_t{around_thread_pointer};
       offset < std::ptrdiff_t{around_thread_pointer}; offset += sizeof(Address)) {
    Address value = 0;
    if (memory.read(pointer + static_cast<Address>(offset), &value, sizeof value) && value == isolate)
      learned.near_thread_pointer.push_back(offset);
  }
}

constexpr Address tag = 1;  // of a pointer to an object of V8's heap

std::vector<Address> walk(const OwnMemory &memory, Address first, std::size_t next) {
  std::vector<Address> contexts;
  while (first != learned.undefined) {
    if ((first & 3) != tag || contexts.size() == most_contexts) return {};
    contexts.push_back(first);
    if (!memory.read(first - tag + next, &first, sizeof first)) return {};
  }
  return contexts;
}

void learn_contexts(const OwnMemory &memory, Address isolate, const std::function<void()> &make_context) {
  const auto before = words(memory, isolate, largest_isolate);
  make_context();
  const auto after = words(memory, isolate, largest_isolate);
  const Address current = *v8().current_context(reinterpret_cast<void *>(isolate));
  for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    if (before[i] == after[i] || (before[i] & 3) != tag || (after[i] & 3) != tag) continue;
    const auto context = words(memory, after[i] - tag, words_of_context * sizeof(Address));
    for (std::size_t slot = 2; slot < context.size(); ++slot) {
      if (context[slot] != before[i]) continue;
      const auto contexts = walk(memory, after[i], slot * sizeof(Address));
      if (std::ranges::find(contexts, current) == contexts.end()) continue;
      learned.newest = i * sizeof(Address);
      learned.next = slot * sizeof(Address);
      learned.oldest_is_main = contexts.back() == current;
      return;
    }
  }
}

// In an isolate's thread, when it runs JavaScript again. V8 has opened a scope for handles.
void renew(void *isolate, void *with_script) {
  reseed_math_random(isolate);
  const V8 &v = v8();
  if (with_script == nullptr || learned.renewal.empty() || !v.new_string || !v.compile || !v.run) return;
  Address *context = v.current_context(isolate);
  if (context == nullptr) return;
  // The handle is ours alone: it may be changed to refer to another context, that of Node itself.
  if (const auto all = contexts_of(isolate); learned.oldest_is_main && !all.empty()) *context = all.back();
  void *const text =
      v.new_string(isolate, learned.renewal.data(), 0, static_cast<int>(learned.renewal.size()));
  void *const script = text ? v.compile(context, text, nullptr) : nullptr;
  if (script) v.run(script, context);
}

void request_renewal(void *isolate, bool with_script) {
  v8().request_interrupt(isolate, renew, with_script ? &learned : nullptr);
}

}  // namespace

void learn_isolates(const std::function<void()> &make_context, std::uintptr_t undefined) {
  std::lock_guard guard(lock);
  if (std::exchange(learned.done, true) || !v8().current_isolate || !v8().current_context) return;
  const OwnMemory memory;
  const auto isolate = reinterpret_cast<Address>(v8().current_isolate());
  learned.undefined = undefined;
  learn_signature(memory, isolate);
  learn_contexts(memory, isolate, make_context);
  if (v8().request_interrupt && learned.signature.size() >= enough_words) learn_place(memory, isolate);
}

void set_renewal(std::string script) {
  std::lock_guard guard(lock);
  if (learned.renewal.empty()) learned.renewal = std::move(script);  // read without the lock
}

void *current_isolate() { return v8().current_isolate ? v8().current_isolate() : nullptr; }

std::vector<std::uintptr_t> contexts_of(void *isolate) {
  const OwnMemory memory;
  Address first = 0;
  if (learned.newest == 0 ||
      !memory.read(reinterpret_cast<Address>(isolate) + learned.newest, &first, sizeof first))
    return {};
  return walk(memory, first, learned.next);
}

void renew_isolates(const std::vector<std::uintptr_t> &thread_pointers, const std::vector<void *> &known,
                    void *left_out) {
  const OwnMemory memory;
  std::map<Address, bool> seen;
  const auto look_at = [&](Address place) {
    Address isolate = 0;
    if (place == 0 || !memory.read(place, &isolate, sizeof isolate) || seen.contains(isolate)) return;
    seen[isolate] = true;
    void *const there = reinterpret_cast<void *>(isolate);
    if (there == left_out || !is_isolate(memory, isolate)) return;
    request_renewal(there, std::ranges::find(known, there) == known.end());
  };
  for (const Address pointer : thread_pointers) {
    for (const auto &object : learned.thread_locals) look_at(generators::address_in(memory, pointer, object));
    for (const auto offset : learned.near_thread_pointer) look_at(pointer + static_cast<Address>(offset));
  }
}

void renew_isolate(void *isolate) {
  if (v8().request_interrupt && isolate) request_renewal(isolate, true);
}

}  // namespace gridcentric::node
