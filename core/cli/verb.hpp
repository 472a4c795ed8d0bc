// What a verb of gc is. The one table of them (verbs.cpp) drives dispatch, help and completion.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gridcentric::cli {

struct Option {
  const char *name;   // "--cpus", or "-n"
  const char *value;  // "N"; "[=N]" if it may be left out; nullptr: a switch
  const char *help;
  bool many = false;  // may be given more than once

  bool needs_value() const { return value != nullptr && value[0] != '['; }
  // As it is typed: "--cpus N".
  std::string shown() const {
    return std::string(name) + (needs_value() ? " " : "") + (value != nullptr ? value : "");
  }
};

// A command line, parsed according to its verb's entry.
struct Arguments {
  std::vector<std::string> words;
  std::multimap<std::string, std::string, std::less<>> options;  // one given twice: in order

  bool has(std::string_view option) const { return options.find(option) != options.end(); }
  std::string value(std::string_view option, std::string_view otherwise = "") const;
  // Parses the word (or "" if it is missing) as an integer; `name` is for the error. Throws UsageError.
  int number(std::size_t at, const char *name) const;
  int number(std::size_t at, const char *name, int otherwise) const;
  // The UUID. "gc rt" prints "ticket UUID", so that is accepted too, as one word or two.
  std::string ticket(std::size_t at) const;
};

struct UsageError {
  std::string text;
};

enum class Shape {
  plain,      // options anywhere
  command,    // the first word ends gc's own options: the rest belong to another program
  forwarded,  // all words belong to another program; the table lists its options for help and completion
};

struct Verb {
  const char *name;
  const char *usage;    // "MAXCPUS MINVMS MINCPUSPERVM TIMEOUT"
  const char *summary;  // one line for `gc --help`
  const char *details;  // for `gc VERB --help`
  std::size_t least;    // number of words
  std::size_t most;
  std::vector<Option> options;
  int (*run)(const Arguments &);
  Shape shape = Shape::plain;
  bool hidden = false;  // for the library, not for people
};

const std::vector<Verb> &verbs();
const Verb *find_verb(std::string_view name);

// Throws UsageError.
Arguments parse_arguments(const Verb &verb, const std::vector<std::string> &words);
int parse_integer(std::string_view text, std::string_view name);

}  // namespace gridcentric::cli
