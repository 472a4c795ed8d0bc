#include "core/wire/cloning.hpp"

#include <arpa/inet.h>

#include <cerrno>
#include <limits>

#include "core/wire/text.hpp"

namespace gridcentric::wire {
namespace {

constexpr struct {
  std::string_view name;
  bool tcp, v6;
} port_kinds[] = {{"tcp4", true, false}, {"tcp6", true, true}, {"udp4", false, false}, {"udp6", false, true}};

CloneAnswer failed(std::string reason) { return clone_answer::Failed{EPROTO, std::move(reason)}; }

std::string_view take_word(std::string_view *rest) {
  const std::string_view word = rest->substr(0, rest->find(' '));
  rest->remove_prefix(std::min(rest->size(), word.size() + 1));
  return word;
}

std::optional<CloneOrder::Clone> read_clone(std::string_view word) {
  const std::size_t at = word.find('@');
  if (at == std::string_view::npos) return std::nullopt;
  const auto vmid = parse_number(word.substr(0, at));
  if (!vmid || *vmid < 1 || *vmid > std::numeric_limits<int>::max()) return std::nullopt;
  CloneOrder::Clone clone{static_cast<int>(*vmid), std::string(word.substr(at + 1))};
  in_addr address{};
  if (inet_pton(AF_INET, clone.address.c_str(), &address) != 1) return std::nullopt;
  return clone;
}

CloneAnswer read_port(std::string_view kind, std::string_view port) {
  const auto number = parse_number(port);
  for (const auto &[name, tcp, v6] : port_kinds)
    if (name == kind && number && *number >= 1 && *number <= 65535)
      return clone_answer::Bound{{tcp, v6, static_cast<std::uint16_t>(*number)}};
  return failed("bound " + one_line(kind.substr(0, 20)) + " " + one_line(port.substr(0, 20)) +
                ", expected tcp4, tcp6, udp4 or udp6 and a port of 1 to 65535");
}

struct Writer {
  std::string operator()(const clone_answer::Held &held) const { return write_held(held.pidfds.size()); }
  std::string operator()(const clone_answer::Bound &bound) const {
    const BoundPort &port = bound.port;
    return std::string("bound ") + (port.tcp ? "tcp" : "udp") + (port.v6 ? "6 " : "4 ") +
           std::to_string(port.port);
  }
  std::string operator()(const clone_answer::Forked &forked) const {
    return "forked " + std::to_string(forked.clones);
  }
  std::string operator()(const clone_answer::Failed &failed) const {
    return "failed " + std::to_string(failed.error) + " " + one_line(failed.reason);
  }
};

}  // namespace

std::string write_order(const CloneOrder &order) {
  std::string line(order_word);
  line += " " + order.mode;
  for (const CloneOrder::Clone &clone : order.clones)
    line += " " + std::to_string(clone.vmid) + "@" + clone.address;
  return line;
}

std::optional<CloneOrder> read_order(std::string_view fields) {
  CloneOrder order;
  order.mode = take_word(&fields);
  while (!fields.empty()) {
    auto clone = read_clone(take_word(&fields));
    if (!clone) return std::nullopt;
    order.clones.push_back(std::move(*clone));
  }
  if (order.clones.empty()) return std::nullopt;
  return order;
}

bool answers_order(Command command) {
  return command == Command::pidfds || command == Command::bound || command == Command::forked ||
         command == Command::failed;
}

std::string write_held(std::size_t clones) { return "pidfds " + std::to_string(clones); }

std::string write_answer(const CloneAnswer &answer) { return std::visit(Writer{}, answer); }

CloneAnswer read_answer(const Request &request, std::vector<OwnedFd> descriptors) {
  const auto &args = request.args;
  const auto number = parse_number(args[0]);
  switch (request.command) {
    case Command::bound:
      return read_port(args[0], args[1]);
    case Command::forked:
      if (number) return clone_answer::Forked{*number};
      return failed("forked " + one_line(args[0].substr(0, 20)) + ", expected a number of clones");
    case Command::failed: {
      const bool is_errno = number && *number > 0 && *number <= std::numeric_limits<int>::max();
      return clone_answer::Failed{is_errno ? static_cast<int>(*number) : EPROTO, std::string(args[1])};
    }
    default:
      if (number == static_cast<std::int64_t>(descriptors.size()) && !descriptors.empty())
        return clone_answer::Held{std::move(descriptors)};
      return failed(
          "pidfds " + one_line(args[0].substr(0, 20)) + " came with " + std::to_string(descriptors.size()) +
          " descriptors, expected the same number, at least 1 (has the host run out of descriptors?)");
  }
}

}  // namespace gridcentric::wire
