// libFuzzer: passes any bytes through the splitter and the decoders. The first byte says where the input is cut, so that
// lines arrive in parts. What is decoded must encode to the same text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/wire/cloning.hpp"
#include "core/wire/lines.hpp"
#include "core/wire/orders.hpp"
#include "core/wire/request.hpp"
#include "core/wire/text.hpp"

using namespace gridcentric;
using namespace gridcentric::wire;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void take(std::string_view line) {
  if (const auto order = read_order(line)) must(read_order(write_order(*order).substr(5)).has_value());
  if (const auto order = read_order_to_clone(line)) must(write_order_to_clone(*order) == line);
  Hello hello;
  if (parse_hello(line, &hello).ok() && hello.name)
    must(percent_decode(percent_encode(*hello.name)) == *hello.name);
  for (const Role role : {Role::attach, Role::ask, Role::observe, Role::control, Role::lifeline}) {
    Request request;
    const Answer answer = parse_request(line, role, &request);
    must(is_utf8(answer.text) || answer.ok());
    must(one_line(answer.text).size() <= 1000);
    if (!answer.ok()) continue;
    if (answers_order(request.command)) must(is_utf8(write_answer(read_answer(request, {}))));
    for (const std::string_view arg : request.args) {
      must(!arg.empty());
      if (const auto number = parse_number(arg)) must(std::to_string(*number) == arg);
      std::optional<std::string> report;
      if (decode_report(arg, &report)) must(encode_report(report) == arg);
      if (const auto text = percent_decode(arg)) must(percent_decode(percent_encode(*text)) == *text);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1u;
  const std::string_view input(reinterpret_cast<const char *>(data) + 1, size - 1);
  LineSplitter lines;
  std::string_view line;
  for (std::size_t at = 0; at < input.size(); at += piece) {
    lines.feed(input.substr(at, piece));
    auto next = lines.next(&line);
    for (; next == LineSplitter::Next::line; next = lines.next(&line)) take(line);
    if (next == LineSplitter::Next::too_long) break;
  }
  return 0;
}
