#include "core/guest/around_copy.hpp"

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "core/guest/client.hpp"

namespace gridcentric::guest {
namespace {

struct Handlers {
  std::function<void()> before;
  std::function<void()> after;
};

// Never freed: a thread may clone while the program ends. Only ever grows, so an index stays valid.
std::mutex mutex;
std::vector<Handlers> &all = *new std::vector<Handlers>;

size_t count() {
  std::lock_guard lock(mutex);
  return all.size();
}

Handlers at(size_t index) {
  std::lock_guard lock(mutex);
  return all[index];
}

thread_local size_t begun = 0;  // handlers whose before() has run in this thread and whose after() has not

void end_all() {
  while (begun > 0) at(--begun).after();
}

void begin_all() {
  try {
    for (const size_t known = count(); begun < known; ++begun) at(begun).before();
  } catch (...) {
    end_all();
    throw;
  }
}

}  // namespace

void around_copy(std::function<void()> before, std::function<void()> after) {
  std::lock_guard lock(mutex);
  all.push_back({std::move(before), std::move(after)});
}

AroundCopy::AroundCopy() { begin_all(); }

void AroundCopy::let_go_during(const std::function<void()> &wait) {
  end_all();
  wait();
  begin_all();
}

void AroundCopy::end() noexcept { end_all(); }

AroundCopy::~AroundCopy() { end(); }

}  // namespace gridcentric::guest
