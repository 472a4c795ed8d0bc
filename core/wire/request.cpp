#include "core/wire/request.hpp"

#include <limits>

#include "core/wire/text.hpp"

namespace gridcentric::wire {
namespace {

// The roles that may use a command.
enum Who : unsigned { domain = 1, observer = 2, tester = 4 };

struct Row {
  std::string_view name;
  Command command;
  unsigned who;
  std::size_t args;
  bool text;
};

constexpr Row table[] = {
#define GC_VERB(command, name, who, arguments, text) {name, Command::command, who, arguments, text},
#include "core/wire/verbs.def"
#undef GC_VERB
};

unsigned who(Role role) {
  switch (role) {
    case Role::attach:
    case Role::ask:
    case Role::act_as:
      return domain;
    case Role::observe:
      return observer;
    case Role::control:
      return tester;
    case Role::lifeline:
      return 0;
  }
  return 0;
}

Answer protocol_error(std::string text) { return {Code::PROTOCOL, std::move(text)}; }

std::string quoted(std::string_view text) {
  return "\"" + one_line(text.substr(0, 64)) + (text.size() > 64 ? "...\"" : "\"");
}

// Takes the next token; false if there is none here (empty, or a byte that is not allowed in tokens).
bool take_token(std::string_view *rest, std::string_view *token) {
  *token = rest->substr(0, rest->find(' '));
  rest->remove_prefix(token->size());
  if (token->empty()) return false;
  for (const char c : *token)
    if (static_cast<unsigned char>(c) < 0x21 || c == 0x7f) return false;
  return true;
}

// Takes further arguments, each after one space; `text`: the last of `count` is the rest of the line.
Answer take_arguments(std::string_view rest, std::size_t count, bool text,
                      std::vector<std::string_view> *args) {
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the space
    if (text && args->size() + 1 == count && !rest.empty()) {
      for (const char c : rest)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
          return protocol_error("control characters in the text");
      args->push_back(rest);
      return {};
    }
    std::string_view token;
    if (!take_token(&rest, &token))
      return protocol_error("expected tokens separated by exactly one space, without control characters");
    if (args->size() == 64) return protocol_error("expected at most 64 arguments");
    args->push_back(token);
  }
  return {};
}

Answer parse_key(std::string_view key, Hello *hello) {
  const std::size_t equals = key.find('=');
  const std::string_view name = key.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : key.substr(equals + 1);
  if (equals == std::string_view::npos ||
      (name != "on_exit" && name != "name" && name != "mode" && name != "why" && name != "key" &&
       (name != "pid" || hello->role != Role::ask)))
    return protocol_error("unknown key " + quoted(key) +
                          ", expected on_exit=, name=, mode=, why= or key=, or of ask pid=");
  if (name == "pid") {
    const auto pid = parse_number(value);
    if (!pid || *pid < 1 || *pid > std::numeric_limits<int>::max())
      return {Code::INVALID_ARGUMENT, "pid is " + quoted(value) + ", expected that of a process"};
    hello->pid = static_cast<int>(*pid);
    return {};
  }
  if (name == "key") {
    hello->key = value;
    return {};
  }
  if (name == "on_exit") {
    if (value != "end" && value != "keep")
      return {Code::INVALID_ARGUMENT, "on_exit is " + quoted(value) + ", expected end or keep"};
    hello->keep = value == "keep";
    return {};
  }
  if (name == "mode") {
    if (value != "pidns" && value != "plain")
      return {Code::INVALID_ARGUMENT, "mode is " + quoted(value) + ", expected pidns or plain"};
    hello->mode = value;
    return {};
  }
  std::optional<std::string> text = percent_decode(value);
  if (!text || !is_utf8(*text))
    return {Code::INVALID_ARGUMENT,
            std::string(name) + " is " + quoted(value) + ", expected UTF-8 in percent encoding"};
  if (name == "why") {
    hello->why = std::move(*text);
    return {};
  }
  if (text->size() > longest_name)
    return {Code::INVALID_ARGUMENT,
            "name has " + std::to_string(text->size()) + " bytes, expected at most 64"};
  hello->name = std::move(*text);
  return {};
}

}  // namespace

std::string_view name(Command command) {
  for (const Row &row : table)
    if (row.command == command) return row.name;
  return "";
}

bool is_guest_verb(std::string_view verb) {
  for (const Row &row : table)
    if (row.name == verb && (row.who & (domain | observer))) return true;
  return false;
}

Answer parse_hello(std::string_view line, Hello *hello) {
  static constexpr std::pair<std::string_view, Role> roles[] = {
      {"attach", Role::attach}, {"ask", Role::ask},         {"observe", Role::observe},
      {"as", Role::act_as},     {"control", Role::control}, {"lifeline", Role::lifeline}};
  std::string_view rest = line;
  std::string_view version;
  if (!is_utf8(line) || !take_token(&rest, &version) || !version.starts_with("gridcentric/"))
    return protocol_error("expected a first line like \"gridcentric/1 attach\"");
  if (version != protocol_version)
    return protocol_error("the guest speaks " + quoted(version) + ", this host " +
                          std::string(protocol_version) + ": use the same release of both");
  std::vector<std::string_view> words;
  if (Answer bad = take_arguments(rest, 0, false, &words); !bad.ok()) return bad;
  const auto *found = std::end(roles);
  if (!words.empty())
    for (found = std::begin(roles); found != std::end(roles) && found->first != words[0];) ++found;
  if (found == std::end(roles))
    return protocol_error("role is " + quoted(words.empty() ? "" : words[0]) +
                          ", expected attach, ask, observe, as, control or lifeline");
  hello->role = found->second;
  const std::size_t args = hello->role == Role::act_as ? 2 : hello->role == Role::lifeline ? 1 : 0;
  if (words.size() < 1 + args)
    return protocol_error(std::string(words[0]) + " expects " + std::to_string(args) + " arguments");
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (i <= args) {
      hello->args.push_back(words[i]);
      continue;
    }
    if (hello->role == Role::control)
      return protocol_error("control expects no keys, got " + quoted(words[i]));
    if (Answer bad = parse_key(words[i], hello); !bad.ok()) return bad;
  }
  return {};
}

Answer parse_request(std::string_view line, Role role, Request *request) {
  request->id = 0;
  request->args.clear();
  std::string_view rest = line;
  std::string_view token;
  const bool readable = take_token(&rest, &token) && token.size() <= 9;
  const std::optional<std::int64_t> id = readable ? parse_number(token) : std::nullopt;
  if (!id || *id < 0)
    return protocol_error("ID is " + quoted(token) +
                          ", expected a number of 1 to 9 digits without leading zeros");
  request->id = static_cast<std::uint32_t>(*id);
  if (!is_utf8(line)) return protocol_error("the line is not UTF-8");
  if (rest.empty()) return protocol_error("expected a verb after the ID");
  rest.remove_prefix(1);
  if (!take_token(&rest, &token)) return protocol_error("expected a verb after the ID and one space");

  const Row *row = nullptr;
  bool of_a_domain = false;
  for (const Row &candidate : table) {
    if (candidate.name != token) continue;
    if (candidate.who & who(role)) row = &candidate;
    of_a_domain |= (candidate.who & domain) != 0;
  }
  if (!row && of_a_domain && role == Role::observe)
    return {Code::NOT_IN_DOMAIN, "an observer is in no domain and can't call " + std::string(token)};
  if (!row) return protocol_error("unknown verb " + quoted(token));
  request->command = row->command;
  if (Answer bad = take_arguments(rest, row->args, row->text, &request->args); !bad.ok()) return bad;
  if (request->args.size() != row->args)
    return protocol_error(std::string(token) + " expects " + std::to_string(row->args) + " arguments, got " +
                          std::to_string(request->args.size()));
  return {};
}

}  // namespace gridcentric::wire
