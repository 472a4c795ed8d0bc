// The fields of a line that came from a host, read one after the other, and the words of the tables in client.hpp.
// It must not know: which line that is.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "core/guest/client.hpp"

namespace gridcentric::guest {

// Reads a line field by field; a field that is missing, left over or malformed throws Error PROTOCOL with the line.
// The line must outlive it.
class Fields {
 public:
  explicit Fields(std::string_view line) : line_(line), rest_(line) {}

  std::string text();
  int number();
  int number_or(int none);  // "-" is none
  gc_ticket_status_t ticket_status();
  gc_end_kind_t end_kind();
  std::optional<std::string> report();  // base64; "-" none, "=" empty
  std::string tail();                   // all that is left, may be empty
  bool more() const { return !rest_.empty(); }
  void end();

  [[noreturn]] void malformed() const;

 private:
  std::string_view next();

  std::string_view line_;
  std::string_view rest_;
};

}  // namespace gridcentric::guest
