// Measures the rules alone: clones of many families through ticket, clone, sync, join; shows that time is linear, and
// memory. Prints a line of JSON for each size. No arguments.
#include <malloc.h>

#include <chrono>
#include <cstdio>

#include "core/model/rules.hpp"

using namespace gridcentric;

namespace {

constexpr std::size_t clones_a_family = 100;

std::size_t heap_bytes() { return mallinfo2().uordblks; }

struct Figures {
  double seconds;
  double bytes_a_domain;
};

Figures play(std::size_t families) {
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t before = heap_bytes();
  Rules rules(static_cast<std::int64_t>(families * clones_a_family));
  CallId call = 0;
  std::vector<DomainKey> masters;
  std::vector<std::string> tickets;
  std::vector<std::vector<DomainKey>> clones;
  for (std::size_t i = 0; i < families; ++i) {
    masters.push_back(rules.adopt(OnExit::by_bye, "bench", 0));
    rules.request_ticket(++call, masters.back(), clones_a_family, clones_a_family, 1, -1, 0);
    tickets.push_back(rules.take_events().at(0).ticket);
    rules.clone(++call, masters.back(), tickets.back(), 0);
    clones.push_back(rules.take_events().at(0).clones);
    rules.clone_done(call, {}, 0);
    rules.take_events();
  }
  for (const auto &family : clones)
    for (const DomainKey clone : family) rules.sync(++call, clone, "-", -1, 0);
  if (rules.open_calls(Verb::sync) != clones_a_family * families) std::abort();
  const std::size_t full = heap_bytes();  // all alive, all waiting at their barriers
  for (std::size_t i = 0; i < families; ++i) rules.sync(++call, masters[i], tickets[i], -1, 0);
  if (rules.take_events().size() != families * (clones_a_family + 1)) std::abort();
  for (std::size_t i = 0; i < families; ++i) {
    for (const DomainKey clone : clones[i]) {
      rules.join(clone, "done");
      rules.ended(clone, EndKind::joined, 0, 0);
    }
    rules.wait(++call, masters[i], tickets[i], 0, 0);
    if (rules.take_events().back().results.size() != clones_a_family) std::abort();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return {took.count(),
          static_cast<double>(full - before) / static_cast<double>(families * (clones_a_family + 1))};
}

}  // namespace

int main() {
  for (const std::size_t families : {250u, 500u, 1000u, 2000u}) {
    const Figures figures = play(families);
    std::printf(
        "{\"bench\": \"model\", \"families\": %zu, \"clones\": %zu, \"seconds\": %.3f, "
        "\"microseconds_a_clone\": %.2f, \"bytes_a_domain\": %.0f}\n",
        families, families * clones_a_family, figures.seconds,
        figures.seconds * 1e6 / static_cast<double>(families * clones_a_family), figures.bytes_a_domain);
  }
}
