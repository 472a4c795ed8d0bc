// Writes and reads the lines of an order and its answers (docs/protocol.md, "Cloning"). Used by host and guest alike. It must
// not know who clones, or how.
#pragma once
#include <gridcentric/cloning.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/wire/request.hpp"

namespace gridcentric::wire {

inline constexpr std::string_view order_word = "fork";
inline constexpr std::size_t most_descriptors = 250;  // sent with one line

// "fork MODE VMID@IP ..."
std::string write_order(const CloneOrder &order);
// Reads what follows the word; nullopt if it is malformed.
std::optional<CloneOrder> read_order(std::string_view fields);

bool answers_order(Command command);
// The line of an answer, without descriptors.
std::string write_answer(const CloneAnswer &answer);
std::string write_held(std::size_t clones);  // Held, whose pidfds stay with the caller
// The descriptors are those that came with the line. A malformed answer is returned as Failed.
CloneAnswer read_answer(const Request &request, std::vector<OwnedFd> descriptors);

}  // namespace gridcentric::wire
