#include "core/wire/orders.hpp"

#include <limits>

#include "core/model/uuid.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::wire {
namespace {

constexpr std::string_view word = "order ", act = " clone ";

}  // namespace

std::string write_order_to_clone(const Order &order) {
  return std::string(word) + std::to_string(order.number) + std::string(act) + order.ticket + " " +
         std::to_string(order.pid);
}

std::optional<Order> read_order_to_clone(std::string_view line) {
  if (!line.starts_with(word)) return std::nullopt;
  line.remove_prefix(word.size());
  const std::size_t middle = line.find(act), last = line.rfind(' ');
  if (middle == std::string_view::npos || last < middle + act.size()) return std::nullopt;
  const auto number = parse_number(line.substr(0, middle));
  const auto pid = parse_number(line.substr(last + 1));
  const std::string_view ticket = line.substr(middle + act.size(), last - middle - act.size());
  if (!number || *number < 1 || !pid || *pid < 0 || *pid > std::numeric_limits<int>::max() ||
      !Uuid::parse(ticket))
    return std::nullopt;
  return Order{*number, std::string(ticket), static_cast<int>(*pid)};
}

}  // namespace gridcentric::wire
