// What gc writes. Names, paths and errors may be anybody's text: show() is the way of all of them to a terminal.
#pragma once
#include <cstdio>
#include <string>
#include <string_view>

namespace gridcentric::cli {

// Writes the text with what could steer a terminal replaced by "?".
void show(std::FILE *out, std::string_view text);

// As printf() makes it, in one piece.
std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

// What fits into that many columns, a sign each.
std::string_view cut_to_columns(std::string_view text, std::size_t columns);

// Has all that was written to standard output arrived? Says so on stderr, after the verb's name, when not.
bool all_written(const char *verb);

// The name this program was called by: "gc" or "gridcentric".
const char *program();
void set_program(std::string_view path);

}  // namespace gridcentric::cli
