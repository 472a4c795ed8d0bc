#include "core/guest/reply.hpp"

#include <limits>

#include "core/wire/text.hpp"

namespace gridcentric::guest {
namespace {

constexpr const char *status_names[] = {
#define GC_TICKET_STATUS(NAME, word) #word,
#include <gridcentric/vocabulary.def>
};
constexpr const char *end_names[] = {
#define GC_END_KIND(NAME, word) #word,
#include <gridcentric/vocabulary.def>
};

// gc-guest.h spells the enumerations out for its readers, in the order of the table.
enum class TableStatus {
#define GC_TICKET_STATUS(NAME, word) NAME,
#include <gridcentric/vocabulary.def>
};
enum class TableEnd {
#define GC_END_KIND(NAME, word) NAME,
#include <gridcentric/vocabulary.def>
};
#define GC_TICKET_STATUS(NAME, word) \
  static_assert(static_cast<int>(TableStatus::NAME) == static_cast<int>(GC_TICKET_##NAME));
#define GC_END_KIND(NAME, word) \
  static_assert(static_cast<int>(TableEnd::NAME) == static_cast<int>(GC_END_##NAME));
#include <gridcentric/vocabulary.def>

template <typename Enum, std::size_t count>
std::optional<Enum> find_name(const char *const (&names)[count], std::string_view word) {
  for (std::size_t at = 0; at < count; ++at) {
    if (word == names[at]) return static_cast<Enum>(at);
  }
  return std::nullopt;
}

}  // namespace

const char *ticket_status_name(gc_ticket_status_t status) noexcept {
  const auto at = static_cast<unsigned>(status);
  return at < std::size(status_names) ? status_names[at] : "unknown";
}

const char *end_kind_name(gc_end_kind_t how) noexcept {
  const auto at = static_cast<unsigned>(how);
  return at < std::size(end_names) ? end_names[at] : "unknown";
}

const std::vector<ErrorRow> &error_table() {
  // Never destroyed: the last calls are made while the program ends.
  static const std::vector<ErrorRow> &table = *new const std::vector<ErrorRow>([] {
    static std::vector<std::string> &words =
        *new std::vector<std::string>;  // keeps the lower-case names alive
    std::vector<ErrorRow> rows = {
#define GC_ERROR(NAME, ERRNO, EXIT, PYTHON, PYTHON_BASE, TEXT) \
  {#NAME, nullptr, GC_E_##NAME, EXIT, #PYTHON, #PYTHON_BASE, TEXT},
#include <gridcentric/errors.def>
#undef GC_ERROR
    };
    words.reserve(rows.size());
    for (auto &row : rows) {
      std::string word = row.name;
      for (char &letter : word) {
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
      }
      row.word = words.emplace_back(std::move(word)).c_str();
    }
    return rows;
  }());
  return table;
}

const ErrorRow *find_error(int code) {
  for (const auto &row : error_table()) {
    if (row.code == code) return &row;
  }
  return nullptr;
}

const ErrorRow *find_error(std::string_view word) {
  for (const auto &row : error_table()) {
    if (row.word == word) return &row;
  }
  return nullptr;
}

void Fields::malformed() const {
  throw Error(GC_E_PROTOCOL,
              "the host sent a line that means nothing here: '" + std::string(line_.substr(0, 120)) + "'");
}

std::string_view Fields::next() {
  const auto space = rest_.find(' ');
  const std::string_view field = rest_.substr(0, space);
  if (field.empty()) malformed();
  rest_ = space == std::string_view::npos ? "" : rest_.substr(space + 1);
  return field;
}

std::string Fields::text() { return std::string(next()); }

int Fields::number() {
  const auto value = wire::parse_number(next());
  if (!value || *value < std::numeric_limits<int>::min() || *value > std::numeric_limits<int>::max())
    malformed();
  return static_cast<int>(*value);
}

int Fields::number_or(int none) {
  if (rest_ == "-" || rest_.starts_with("- ")) {
    next();
    return none;
  }
  return number();
}

gc_ticket_status_t Fields::ticket_status() {
  const auto status = find_name<gc_ticket_status_t>(status_names, next());
  if (!status) malformed();
  return *status;
}

gc_end_kind_t Fields::end_kind() {
  const auto how = find_name<gc_end_kind_t>(end_names, next());
  if (!how) malformed();
  return *how;
}

std::optional<std::string> Fields::report() {
  std::optional<std::string> bytes;
  if (!wire::decode_report(next(), &bytes)) malformed();
  return bytes;
}

std::string Fields::tail() {
  std::string all(rest_);
  rest_ = "";
  return all;
}

void Fields::end() {
  if (more()) malformed();
}

}  // namespace gridcentric::guest
