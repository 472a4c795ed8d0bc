// Parses a command line according to its verb's entry in the table.
#include <limits>

#include "core/cli/verb.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::cli {
namespace {

const Option *find_option(const Verb &verb, std::string_view name) {
  for (const auto &option : verb.options) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

bool takes_ticket(const Verb &verb) {
  return std::string_view(verb.usage).find("UUID") != std::string_view::npos;
}

// "-1" is a number and "-" a word: a word that starts with one dash is an option only if the verb has it.
bool looks_like_option(const Verb &verb, std::string_view word) {
  return word.starts_with("--") || find_option(verb, word) != nullptr;
}

}  // namespace

std::string Arguments::value(std::string_view option, std::string_view otherwise) const {
  const auto found = options.find(option);
  return found != options.end() ? found->second : std::string(otherwise);
}

int parse_integer(std::string_view text, std::string_view name) {
  const auto value = wire::parse_number(text);
  if (!value || *value < std::numeric_limits<int>::min() || *value > std::numeric_limits<int>::max()) {
    throw UsageError{std::string(name) + " is '" + std::string(text) +
                     "', expected a whole number from -2147483648 to 2147483647"};
  }
  return static_cast<int>(*value);
}

int Arguments::number(std::size_t at, const char *name) const { return parse_integer(words.at(at), name); }

int Arguments::number(std::size_t at, const char *name, int otherwise) const {
  return at < words.size() ? number(at, name) : otherwise;
}

std::string Arguments::ticket(std::size_t at) const {
  constexpr std::string_view label = "ticket ";
  const std::string &word = words.at(at);
  return word.starts_with(label) ? word.substr(label.size()) : word;
}

Arguments parse_arguments(const Verb &verb, const std::vector<std::string> &given) {
  Arguments parsed;
  bool options_end = verb.shape == Shape::forwarded;
  for (std::size_t at = 0; at < given.size(); ++at) {
    const std::string &word = given[at];
    if (!options_end && word == "--") {
      options_end = true;
    } else if (!options_end && looks_like_option(verb, word)) {
      const auto equals = word.find('=');
      const std::string name = word.substr(0, equals);
      const Option *option = find_option(verb, name);
      if (option == nullptr) throw UsageError{"unknown option '" + name + "'"};
      std::string value;
      if (option->value == nullptr) {
        if (equals != std::string::npos) throw UsageError{name + " takes no value"};
      } else if (equals != std::string::npos) {
        value = word.substr(equals + 1);
      } else if (!option->needs_value()) {
        // The next word is not its value.
      } else if (at + 1 < given.size()) {
        value = given[++at];
      } else {
        throw UsageError{name + " needs a value: " + name + " " + option->value};
      }
      if (!option->many && parsed.has(name)) throw UsageError{name + " is given twice"};
      parsed.options.emplace(name, value);
    } else {
      if (verb.shape == Shape::command) options_end = true;
      // An unquoted "ticket UUID" comes as two words; the first is only the label.
      const bool label = word == "ticket" && parsed.words.empty() && takes_ticket(verb);
      if (!label) parsed.words.push_back(word);
    }
  }
  if (parsed.words.size() < verb.least) {
    throw UsageError{"too few arguments: " + std::to_string(parsed.words.size()) +
                     " given, expected at least " + std::to_string(verb.least)};
  }
  if (parsed.words.size() > verb.most)
    throw UsageError{"unexpected argument '" + parsed.words[verb.most] + "'"};
  return parsed;
}

}  // namespace gridcentric::cli
