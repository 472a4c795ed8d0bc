// A ticket's name on its way into a line: what could not be one never gets there.
#pragma once
#include <string>

#include "core/guest/client.hpp"

namespace gridcentric::guest {

// The same text; throws Error INVALID_ARGUMENT when it can't be a UUID (whether it is one the host says).
inline const std::string &checked_ticket(const std::string &ticket) {
  if (ticket.size() != 36 || ticket.find_first_not_of("0123456789abcdef-") != std::string::npos) {
    std::string shown;
    for (const char byte : ticket.substr(0, 60)) shown.push_back(byte >= ' ' && byte <= '~' ? byte : '?');
    throw Error(GC_E_INVALID_ARGUMENT, "the ticket is '" + shown +
                                           "', expected the 36 characters of a UUID in lower "
                                           "case, as request_ticket returned it");
  }
  return ticket;
}

}  // namespace gridcentric::guest
