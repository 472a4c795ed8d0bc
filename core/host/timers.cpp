#include "core/host/timers.hpp"

namespace gridcentric::host {

std::uint64_t Timers::add(std::int64_t when_ms, std::function<void()> work) {
  const std::uint64_t id = ++last_id_;
  work_.emplace(std::pair(when_ms, id), std::move(work));
  when_.emplace(id, when_ms);
  return id;
}

void Timers::cancel(std::uint64_t id) {
  const auto found = when_.find(id);
  if (found == when_.end()) return;
  work_.erase({found->second, id});
  when_.erase(found);
}

std::optional<std::int64_t> Timers::next() const {
  if (work_.empty()) return std::nullopt;
  return work_.begin()->first.first;
}

std::function<void()> Timers::take_due(std::int64_t now_ms) {
  if (work_.empty() || work_.begin()->first.first > now_ms) return nullptr;
  auto first = work_.extract(work_.begin());
  when_.erase(first.key().second);
  return std::move(first.mapped());
}

void Timers::clear() {
  work_.clear();
  when_.clear();
}

}  // namespace gridcentric::host
