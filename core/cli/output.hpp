// What gc writes. Names, paths and errors may be anybody's text, so all of them reach a terminal through show().
#pragma once
#include <cstdio>
#include <string>
#include <string_view>

namespace gridcentric::cli {

// Writes the text, with every character that could control a terminal replaced by "?".
void show(std::FILE *out, std::string_view text);

// Like printf(), but returns the text.
std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

// The beginning of the text that fits into that many columns, one character per column.
std::string_view cut_to_columns(std::string_view text, std::size_t columns);

// Has everything written to standard output arrived? If not, says so on stderr, after the verb's name.
bool all_written(const char *verb);

// The name this program was called by: "gc" or "gridcentric".
const char *program();
void set_program(std::string_view path);

}  // namespace gridcentric::cli
