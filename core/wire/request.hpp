// A line -> a request, a hello or an error; and the one table of commands: name, role, number of arguments.
// Views point into the line. Knows nothing of what a command does.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/error.hpp"

namespace gridcentric::wire {

inline constexpr std::string_view protocol_version = "gridcentric/1";
inline constexpr std::string_view greeting_ok = "gridcentric/1 ok ";
inline constexpr std::size_t longest_name = 64;  // bytes of the key `name`

enum class Role { attach, ask, observe, act_as, control, lifeline };

enum class Command {
  // of a domain
  request_ticket,
  release_ticket,
  list_tickets,
  ticket_info,
  clone,
  whoami,
  list_domains,
  sync,
  join,
  wait,
  kill,
  bye,
  // of a domain, to answer the order `fork`
  pidfds,
  bound,
  forked,
  failed,
  cancel,
  info,  // observers' too
  // of observers
  list_all,
  kill_domain,
  // of the control channel
  now,
  advance,
  await,
  latency,
  fault,
  end,
  control_bye,
  domains,
  dump,
  reset,
};

struct Hello {
  Role role{};
  std::vector<std::string_view> args;  // as FAMILY VMID, lifeline FAMILY
  std::optional<bool> keep;            // on_exit
  std::optional<std::string> name;
  std::string mode, why;
  std::string_view key;  // of a relay: see HostOptions::relay_secret
};

struct Request {
  std::uint32_t id = 0;
  Command command{};
  std::vector<std::string_view> args;
};

std::string_view name(Command command);
// Is it a verb of domains or observers?
bool is_guest_verb(std::string_view verb);

// The first line. PROTOCOL or INVALID_ARGUMENT when it is none.
Answer parse_hello(std::string_view line, Hello *hello);

// *id is set as soon as it can be read, else 0. PROTOCOL: no such line; NOT_IN_DOMAIN: a domain's verb by an
// observer.
Answer parse_request(std::string_view line, Role role, Request *request);

}  // namespace gridcentric::wire
