// How values are written on the wire (docs/protocol.md, "Lines"): numbers, bytes as base64, free text in
// percent encoding. Every decoder takes anything and says no with nullopt. Used by host and guest alike.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gridcentric::wire {

// "-12" but not "+12", "012", "-0" or what does not fit.
std::optional<std::int64_t> parse_number(std::string_view text);

// "-" when there is no report, "=" for the empty one, else base64 with padding.
std::string encode_report(const std::optional<std::string> &report);
// False: neither of these. Padding bits must be 0, so that each report has one text only.
bool decode_report(std::string_view text, std::optional<std::string> *report);

// One token of any bytes: all but letters, digits and "._~/:-" become %XX; "" is "-", and so "-" is "%2D".
std::string percent_encode(std::string_view text);
std::optional<std::string> percent_decode(std::string_view token);

bool is_utf8(std::string_view text);

// The text as UTF-8: what is not becomes U+FFFD. Cut between characters when it has more than `most` bytes.
std::string to_utf8(std::string_view text, std::size_t most = std::string_view::npos);

// A text of unknown origin, fit for a terminal: UTF-8 without control characters (C0 but tab and newline, DEL, C1, and what
// turns the direction of writing), which become "?". Everything that a person is shown goes through here.
std::string printable(std::string_view text);
bool is_printable(std::string_view text);  // printable() would not change it

// A text that is fit to end a line: one line, valid UTF-8, at most 1,000 bytes.
std::string one_line(std::string_view text);

}  // namespace gridcentric::wire
