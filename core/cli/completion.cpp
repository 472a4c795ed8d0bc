// gc completion: prints a shell's completion script, made from the table of verbs.
#include <cstdio>

#include "core/cli/actions.hpp"

namespace gridcentric::cli {
namespace {

std::string verb_names() {
  std::string names;
  for (const auto &verb : verbs()) {
    if (!verb.hidden) names.append(names.empty() ? "" : " ").append(verb.name);
  }
  return names + " --help --version";
}

// The choices for a verb's first word, if its usage spells them out: "bash|zsh|fish", "[noreport]".
std::vector<std::string> first_words(const Verb &verb) {
  std::vector<std::string> words(1);
  for (const char letter : std::string_view(verb.usage)) {
    if (letter == ' ') break;
    if (letter == '|') words.emplace_back();
    if (letter >= 'a' && letter <= 'z') words.back().push_back(letter);
  }
  std::erase(words, "");
  return words;
}

std::string words_after(const Verb &verb) {
  std::string names = "--help";
  for (const auto &option : verb.options) names.append(" ").append(option.name);
  for (const auto &word : first_words(verb)) names.append(" ").append(word);
  return names;
}

// If nothing matches, bash offers file names (-o default).
void print_bash() {
  std::printf(
      "_gc() {\n  local word=${COMP_WORDS[COMP_CWORD]}\n  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '%s' -- \"$word\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n",
      verb_names().c_str());
  for (const auto &verb : verbs()) {
    if (verb.hidden) continue;
    const char *commands = verb.shape == Shape::command ? " $(compgen -c -- \"$word\")" : "";
    std::printf("    %s) COMPREPLY=($(compgen -W '%s' -- \"$word\")%s) ;;\n", verb.name,
                words_after(verb).c_str(), commands);
  }
  std::printf("  esac\n}\ncomplete -o default -F _gc gc gridcentric\n");
}

// zsh and fish show the summaries, which are in single quotes there: a ' would end the text.
std::string without_quotes(std::string text) {
  for (char &letter : text) {
    if (letter == '\'' || letter == ':') letter = letter == ':' ? ',' : '`';
  }
  return text;
}

void print_zsh() {
  std::printf("#compdef gc gridcentric\n_gc() {\n  local -a list\n  if ((CURRENT == 2)); then\n    list=(\n");
  for (const auto &verb : verbs()) {
    if (!verb.hidden) std::printf("      '%s:%s'\n", verb.name, without_quotes(verb.summary).c_str());
  }
  std::printf("    )\n    _describe verb list\n    return\n  fi\n  case $words[2] in\n");
  for (const auto &verb : verbs()) {
    if (verb.hidden) continue;
    std::printf("    %s) list=(", verb.name);
    for (const auto &word : first_words(verb)) std::printf("%s ", word.c_str());
    for (const auto &option : verb.options)
      std::printf("'%s:%s' ", option.name, without_quotes(option.help).c_str());
    std::printf("'--help:show help')%s ;;\n", verb.shape == Shape::command ? "; _command_names" : "");
  }
  std::printf("  esac\n  _describe option list || _files\n}\ncompdef _gc gc gridcentric\n");
}

void print_fish() {
  std::printf("complete -c gc -f\n");
  for (const auto &verb : verbs()) {
    if (verb.hidden) continue;
    std::printf("complete -c gc -n __fish_use_subcommand -a %s -d '%s'\n", verb.name,
                without_quotes(verb.summary).c_str());
    const std::string here = std::string("complete -c gc -n '__fish_seen_subcommand_from ") + verb.name + "'";
    for (const auto &word : first_words(verb)) std::printf("%s -a %s\n", here.c_str(), word.c_str());
    for (const auto &option : verb.options) {
      const std::string_view value = option.needs_value() ? option.value : "";
      const bool is_long = option.name[1] == '-';
      std::printf("%s %s %s%s -d '%s'\n", here.c_str(), is_long ? "-l" : "-s",
                  option.name + (is_long ? 2 : 1),
                  value == "PATH"  ? " -r -F"
                  : !value.empty() ? " -x"
                                   : "",
                  without_quotes(option.help).c_str());
    }
    std::printf("%s -l help -d 'show help'\n", here.c_str());
    if (verb.shape == Shape::command) std::printf("%s -a '(__fish_complete_command)'\n", here.c_str());
  }
  std::printf(
      "complete -c gc -n __fish_use_subcommand -l help\ncomplete -c gc -n __fish_use_subcommand -l "
      "version\n");
}

}  // namespace

int completion(const Arguments &arguments) {
  const std::string &shell = arguments.words[0];
  if (shell == "bash") {
    print_bash();
  } else if (shell == "zsh") {
    print_zsh();
  } else if (shell == "fish") {
    print_fish();
  } else {
    throw UsageError{"the shell is '" + shell + "', expected bash, zsh or fish"};
  }
  return 0;
}

}  // namespace gridcentric::cli
