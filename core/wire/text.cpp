#include "core/wire/text.hpp"

#include <array>
#include <charconv>

namespace gridcentric::wire {
namespace {

constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view hex_digits = "0123456789ABCDEF";
constexpr std::size_t longest_text = 1000;

constexpr std::array<signed char, 256> base64_values = [] {
  std::array<signed char, 256> values{};
  for (auto &value : values) value = -1;
  for (std::size_t i = 0; i < base64_digits.size(); ++i)
    values[static_cast<unsigned char>(base64_digits[i])] = static_cast<signed char>(i);
  return values;
}();

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool is_plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         std::string_view("._~/:-").find(c) != std::string_view::npos;
}

// Size of the UTF-8 character at the beginning of the text; 0 if there is none.
std::size_t character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if (first == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
  if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogates
  if (first == 0xf0 && byte(1) < 0x90) return 0;  // overlong
  if (first == 0xf4 && byte(1) > 0x8f) return 0;  // above U+10FFFF
  return size;
}

// Does the (valid) character affect a terminal other than by being displayed?
bool is_control(std::string_view one) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(one[i]); };
  if (one.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (one.size() == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;  // C1
  if (one.size() != 3 || byte(0) != 0xe2) return false;
  return (byte(1) == 0x80 && byte(2) >= 0xa8 && byte(2) <= 0xae) ||  // U+2028 to U+202E
         (byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9);    // U+2066 to U+2069
}

constexpr std::string_view not_a_character = "\xef\xbf\xbd";  // U+FFFD

}  // namespace

std::optional<std::int64_t> parse_number(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || digits.size() > 19 || (digits[0] == '0' && text.size() > 1)) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string encode_report(const std::optional<std::string> &report) {
  if (!report) return "-";
  if (report->empty()) return "=";
  std::string out;
  out.reserve((report->size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < report->size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t bytes = std::min<std::size_t>(3, report->size() - i);
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < bytes ? static_cast<unsigned char>((*report)[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) out += k <= bytes ? base64_digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

bool decode_report(std::string_view text, std::optional<std::string> *report) {
  report->reset();
  if (text == "-") return true;
  if (text == "=") {
    report->emplace();
    return true;
  }
  if (text.empty() || text.size() % 4 != 0) return false;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const std::size_t pads = i + 4 == text.size() ? padding : 0;
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const int value = k < 4 - pads ? base64_values[static_cast<unsigned char>(text[i + k])] : 0;
      if (value < 0) return false;
      group = group << 6 | static_cast<std::uint32_t>(value);
    }
    for (std::size_t k = 0; k < 3; ++k) {
      const auto byte = static_cast<unsigned char>(group >> (16 - 8 * k));
      if (k < 3 - pads) {
        out += static_cast<char>(byte);
      } else if (byte != 0) {
        return false;
      }
    }
  }
  report->emplace(std::move(out));
  return true;
}

std::string percent_encode(std::string_view text) {
  if (text.empty()) return "-";
  std::string out;
  for (const char c : text) {
    if (is_plain(c) && text != "-") {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', hex_digits[byte >> 4], hex_digits[byte & 15]};
    }
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view token) {
  std::string out;
  if (token == "-") return out;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] != '%') {
      out += token[i];
      continue;
    }
    if (token.size() - i < 3) return std::nullopt;
    const int high = hex_value(token[i + 1]);
    const int low = hex_value(token[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = character(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string to_utf8(std::string_view text, std::size_t most) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = character(text);
    const std::string_view next = size == 0 ? not_a_character : text.substr(0, size);
    if (most - out.size() < next.size()) break;
    out += next;
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = character(text);
    const bool shown = size > 0 && (!is_control(text.substr(0, size)) || text[0] == '\n' || text[0] == '\t');
    if (shown)
      out += text.substr(0, size);
    else
      out += '?';
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out;
}

bool is_printable(std::string_view text) { return is_utf8(text) && printable(text) == text; }

std::string one_line(std::string_view text) {
  std::string out;
  while (!text.empty() && out.size() < longest_text - 3) {
    const std::size_t size = character(text);
    if (size == 0) {
      out += '?';
    } else if (is_control(text.substr(0, size))) {
      out += ' ';
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out.empty() ? std::string("unknown") : out;
}

}  // namespace gridcentric::wire
