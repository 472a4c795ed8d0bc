// Parses a line into a request, a hello or an error, by the table of commands in verbs.def. Views point into the line. Does
// not know what a command does.
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
#define GC_VERB(command, name, who, arguments, text) command,
#include "core/wire/verbs.def"
#undef GC_VERB
};

struct Hello {
  Role role{};
  std::vector<std::string_view> args;  // of `as FAMILY VMID` and `lifeline FAMILY`
  std::optional<bool> keep;            // on_exit
  std::optional<std::string> name;
  std::string mode, why;
  std::string_view key;  // from a relay: see HostOptions::relay_secret
  int pid = 0;           // of `ask`: the process whose domain is meant; 0: the peer
};

struct Request {
  std::uint32_t id = 0;
  Command command{};
  std::vector<std::string_view> args;
};

std::string_view name(Command command);
// Is it a verb for domains or observers?
bool is_guest_verb(std::string_view verb);

// Parses the first line. PROTOCOL or INVALID_ARGUMENT if it is not a valid hello.
Answer parse_hello(std::string_view line, Hello *hello);

// Parses any other line. request->id is set once it has been parsed, else 0. PROTOCOL: malformed; NOT_IN_DOMAIN: an
// observer uses a domain's verb.
Answer parse_request(std::string_view line, Role role, Request *request);

}  // namespace gridcentric::wire
