// gc completion: the table of verbs as a completion script of a shell.
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

std::string option_names(const Verb &verb) {
  std::string names = "--help";
  for (const auto &option : verb.options) names.append(" ").append(option.name);
  return names;
}

void print_bash() {
  std::printf(
      "_gc() {\n  local word=${COMP_WORDS[COMP_CWORD]}\n  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '%s' -- \"$word\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n",
      verb_names().c_str());
  for (const auto &verb : verbs()) {
    if (verb.hidden) continue;
    if (verb.shape == Shape::command) {
      std::printf("    %s) COMPREPLY=($(compgen -W '%s' -- \"$word\") $(compgen -c -- \"$word\")) ;;\n",
                  verb.name, option_names(verb).c_str());
    } else {
      std::printf("    %s) COMPREPLY=($(compgen -W '%s' -- \"$word\")) ;;\n", verb.name,
                  option_names(verb).c_str());
    }
  }
  std::printf("  esac\n}\ncomplete -F _gc gc\n");
}

// zsh and fish show the summaries; theirs is a quoting in which ' ends a text.
std::string without_quotes(std::string text) {
  for (char &letter : text) {
    if (letter == '\'' || letter == ':') letter = letter == ':' ? ',' : '`';
  }
  return text;
}

void print_zsh() {
  std::printf("#compdef gc\n_gc() {\n  local -a list\n  if ((CURRENT == 2)); then\n    list=(\n");
  for (const auto &verb : verbs()) {
    if (!verb.hidden) std::printf("      '%s:%s'\n", verb.name, without_quotes(verb.summary).c_str());
  }
  std::printf("    )\n    _describe verb list\n    return\n  fi\n  case $words[2] in\n");
  for (const auto &verb : verbs()) {
    if (verb.hidden) continue;
    std::printf("    %s) list=(", verb.name);
    for (const auto &option : verb.options)
      std::printf("'%s:%s' ", option.name, without_quotes(option.help).c_str());
    std::printf("'--help:say more')%s ;;\n", verb.shape == Shape::command ? "; _command_names" : "");
  }
  std::printf("  esac\n  _describe option list\n}\ncompdef _gc gc\n");
}

void print_fish() {
  std::printf("complete -c gc -f\n");
  for (const auto &verb : verbs()) {
    if (verb.hidden) continue;
    std::printf("complete -c gc -n __fish_use_subcommand -a %s -d '%s'\n", verb.name,
                without_quotes(verb.summary).c_str());
    for (const auto &option : verb.options) {
      std::printf("complete -c gc -n '__fish_seen_subcommand_from %s' -l %s%s -d '%s'\n", verb.name,
                  option.name + 2, option.value != nullptr ? " -x" : "", without_quotes(option.help).c_str());
    }
  }
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
