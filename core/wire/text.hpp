// How values are written on the wire (docs/protocol.md, "Lines"): numbers, bytes as base64, free text in percent encoding.
// Decoders accept any input and return nullopt if it is invalid. Used by host and guest alike.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gridcentric::wire {

// Accepts "-12", but not "+12", "012", "-0" or numbers out of range.
std::optional<std::int64_t> parse_number(std::string_view text);

// "-" if there is no report, "=" for an empty one, else padded base64.
std::string encode_report(const std::optional<std::string> &report);
// False if the text is none of these. Padding bits must be 0, so that each report has only one encoding.
bool decode_report(std::string_view text, std::optional<std::string> *report);

// Encodes any bytes as one token: all but letters, digits and "._~/:-" become %XX; "" becomes "-", and so "-" becomes "%2D".
std::string percent_encode(std::string_view text);
std::optional<std::string> percent_decode(std::string_view token);

bool is_utf8(std::string_view text);

// The text as UTF-8: invalid bytes become U+FFFD. Cut between characters if it is longer than `most` bytes.
std::string to_utf8(std::string_view text, std::size_t most = std::string_view::npos);

// Makes text of unknown origin safe for a terminal: UTF-8 whose control characters (C0 except tab and newline, DEL, C1, and
// those that change the writing direction) become "?". Everything shown to people goes through here.
std::string printable(std::string_view text);
bool is_printable(std::string_view text);  // printable() would not change it

// Makes text fit to end a protocol line: one line, valid UTF-8, at most 1,000 bytes.
std::string one_line(std::string_view text);

}  // namespace gridcentric::wire
