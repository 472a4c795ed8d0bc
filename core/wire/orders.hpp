// The order that a host gives to a domain which listens for one: the only line of a host that answers no request
// (docs/protocol.md, "Orders"). Does not know who gave it, nor what comes of it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gridcentric::wire {

// Clone yourself with this ticket.
struct Order {
  std::int64_t number = 0;  // of the order, for its answer
  std::string ticket;
  int pid = 0;  // of the process that asked for it
};

// "order NUMBER clone UUID PID"
std::string write_order_to_clone(const Order &order);
// Reads the whole line; nullopt if it is none, or malformed.
std::optional<Order> read_order_to_clone(std::string_view line);

}  // namespace gridcentric::wire
