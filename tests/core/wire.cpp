// The wire: values, lines, requests, the handshake, and what is refused.
#include <doctest/doctest.h>

#include "core/wire/lines.hpp"
#include "core/wire/request.hpp"
#include "core/wire/text.hpp"

using namespace gridcentric;
using namespace gridcentric::wire;

TEST_CASE("numbers") {
  CHECK(parse_number("0") == 0);
  CHECK(parse_number("-12") == -12);
  CHECK(parse_number("9223372036854775807") == INT64_MAX);
  CHECK(parse_number("-9223372036854775808") == INT64_MIN);
  for (const auto *bad : {"", "-", "+1", "01", "-0", "-01", "1.5", "0x1", "1e3", "NaN", "9223372036854775808",
                          " 1", "1 ", "99999999999999999999"})
    CHECK_FALSE(parse_number(bad));
}

TEST_CASE("reports: round trips, and invalid texts") {
  std::optional<std::string> back;
  for (std::size_t size : {0u, 1u, 2u, 3u, 4u, 255u, 1000u}) {
    std::string report;
    for (std::size_t i = 0; i < size; ++i) report += static_cast<char>(i * 7);
    CHECK(decode_report(encode_report(report), &back));
    CHECK(back == report);
  }
  CHECK(encode_report("hello") == "aGVsbG8=");
  CHECK(encode_report(std::nullopt) == "-");
  CHECK(encode_report("") == "=");
  CHECK(decode_report("-", &back));
  CHECK_FALSE(back);
  for (const auto *bad :
       {"", "a", "ab", "abc", "ab=c", "====", "a===", "aGVsbG9=", "aGV\nbG8=", "aGVsbG8=aGVsbG8="})
    CHECK_FALSE(decode_report(bad, &back));
}

TEST_CASE("percent encoding") {
  const std::vector<std::string> texts = {"",    "-",        "node server.js",
                                          "a%b", "\xc3\xa4", std::string("\0\n", 2)};
  for (const std::string &text : texts) CHECK(percent_decode(percent_encode(text)) == text);
  CHECK(percent_encode("") == "-");
  CHECK(percent_encode("-") == "%2D");
  CHECK_FALSE(percent_decode("%"));
  CHECK_FALSE(percent_decode("%4"));
  CHECK_FALSE(percent_decode("%zz"));
}

TEST_CASE("UTF-8; an error text is one line of it") {
  CHECK(is_utf8("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"));
  for (const auto *bad :
       {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xf0\x9f"})
    CHECK_FALSE(is_utf8(bad));
  CHECK(one_line("a\nb\xff") == "a b?");
  CHECK(one_line(std::string(5000, 'x')).size() <= 1000);
}

TEST_CASE("text of unknown origin is made valid UTF-8 and safe for a terminal") {
  CHECK(to_utf8("na\xc3\xafve") == "na\xc3\xafve");
  CHECK(to_utf8("a\xff\xc3") == "a\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(to_utf8("\xc3\xa9\xc3\xa9", 3) == "\xc3\xa9");
  CHECK(to_utf8("\xff\xff", 5) == "\xef\xbf\xbd");
  CHECK(to_utf8("abc", 0) == "");
  for (std::size_t most = 0; most < 12; ++most) {
    const std::string cut = to_utf8("\xff\xe2\x82\xac\xf0\x9f\x98\x80z", most);
    CHECK(cut.size() <= most);
    CHECK(is_utf8(cut));
  }
  CHECK(printable("a\tb\n\xc3\xa9") == "a\tb\n\xc3\xa9");
  CHECK(printable("\x1b[31m\x07\x7f\r") == "?[31m???");
  CHECK(printable("\xc2\x9b"
                  "31m") == "?31m");  // C1: CSI in one character
  CHECK(printable("\xe2\x80\xae"
                  "abc\xe2\x81\xa6") == "?abc?");  // changes the writing direction
  CHECK(printable("\x9b\xff") == "??");
  CHECK(is_printable("two\nlines"));
  CHECK_FALSE(is_printable("\x1b"));
  CHECK_FALSE(is_printable("\xff"));
  CHECK(one_line("a\xc2\x9b"
                 "b\x1b") == "a b ");
}

TEST_CASE("lines: cut anywhere, and their limits") {
  const std::string input = "one\n\ntwo words\nlast\n";
  for (std::size_t cut = 1; cut <= input.size(); ++cut) {
    LineSplitter lines;
    std::vector<std::string> found;
    std::string_view line;
    for (std::size_t at = 0; at < input.size(); at += cut) {
      lines.feed(std::string_view(input).substr(at, cut));
      while (lines.next(&line) == LineSplitter::Next::line) found.emplace_back(line);
    }
    CHECK(found == std::vector<std::string>{"one", "", "two words", "last"});
    CHECK(lines.empty());
  }
  const auto verdict = [](const std::string &bytes) {
    LineSplitter lines;
    std::string_view line;
    lines.feed(bytes);
    return lines.next(&line);
  };
  using Next = LineSplitter::Next;
  CHECK(verdict(std::string(4095, 'x') + "\n") == Next::line);
  CHECK(verdict(std::string(4096, 'x') + "\n") == Next::too_long);
  CHECK(verdict(std::string(4095, 'x')) == Next::more);
  CHECK(verdict(std::string(4096, 'x')) == Next::too_long);
  CHECK(verdict("7 join " + std::string(1'399'992, 'A') + "\n") == Next::line);
  CHECK(verdict("7 join " + std::string(1'399'993, 'A') + "\n") == Next::too_long);
  CHECK(verdict("7 joint " + std::string(5000, 'A') + "\n") == Next::too_long);
  CHECK(verdict("1234567890 join " + std::string(5000, 'A') + "\n") == Next::too_long);
}

TEST_CASE("requests") {
  Request request;
  CHECK(parse_request("12 request_ticket 4 2 1 -1", Role::attach, &request).ok());
  CHECK(request.id == 12);
  CHECK(request.command == Command::request_ticket);
  CHECK(request.args.size() == 4);
  CHECK(parse_request("0 whoami", Role::ask, &request).ok());
  CHECK(parse_request("1 fault clone_fails 2 no more room", Role::control, &request).ok());
  CHECK(request.args[0] == "clone_fails 2 no more room");
  CHECK(parse_request("1 bye a b", Role::control, &request).ok());
  CHECK(request.command == Command::control_bye);

  struct {
    const char *line;
    std::uint32_t id;
  } const bad[] = {{"", 0},
                   {" ", 0},
                   {"x", 0},
                   {"007 info", 0},
                   {"1234567890 info", 0},
                   {"-1 info", 0},
                   {"5", 5},
                   {"5 ", 5},
                   {"5  info", 5},
                   {"5 info ", 5},
                   {"5 info x", 5},
                   {"5 INFO", 5},
                   {"5 wait x", 5},
                   {"5 info\r", 5},
                   {"5 sync \x01 0", 5},
                   {"5 list_all", 5},
                   {"5 reset", 5},
                   {"5 wait \xff 1", 5},
                   {"5 clone a  b", 5},
                   {"5 clone\ta", 5}};
  for (const auto &[line, id] : bad) {
    CAPTURE(line);
    CHECK(parse_request(line, Role::attach, &request).code == Code::PROTOCOL);
    CHECK(request.id == id);
  }
  CHECK(parse_request("5 whoami", Role::observe, &request).code == Code::NOT_IN_DOMAIN);
  CHECK(parse_request("5 info", Role::lifeline, &request).code == Code::PROTOCOL);
}

TEST_CASE("handshakes") {
  Hello hello;
  CHECK(parse_hello("gridcentric/1 attach on_exit=keep name=a%20b mode=plain why=x", &hello).ok());
  CHECK(hello.role == Role::attach);
  CHECK(hello.keep == true);
  CHECK(*hello.name == "a b");
  CHECK(hello.mode == "plain");
  for (const auto *bad :
       {"", "gridcentric/1", "gridcentric/1 ", "gridcentric/1 nobody", "gridcentric/2 attach", "HTTP/1.1 GET",
        "gridcentric/1 attach x", "gridcentric/1 attach colour=red", "gridcentric/1 as x",
        "gridcentric/1 control name=x", "gridcentric/1  attach", "gridcentric/1 attach\r"}) {
    CAPTURE(bad);
    Hello other;
    CHECK(parse_hello(bad, &other).code == Code::PROTOCOL);
  }
  const std::string long_name = "gridcentric/1 attach name=" + std::string(65, 'x');
  for (const auto *bad :
       {"gridcentric/1 attach on_exit=maybe", "gridcentric/1 attach name=%zz",
        "gridcentric/1 attach name=%ff", "gridcentric/1 attach mode=magic", long_name.c_str()}) {
    CAPTURE(bad);
    Hello other;
    CHECK(parse_hello(bad, &other).code == Code::INVALID_ARGUMENT);
  }
  CHECK(parse_hello("gridcentric/2 attach", &hello).text.find("gridcentric/1") != std::string::npos);
}
