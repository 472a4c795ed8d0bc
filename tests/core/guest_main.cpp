#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "tests/core/guest_peer.hpp"
#include "tests/core/guest_programs.hpp"

int main(int count, char **words) {
  if (count == 3 && std::string(words[1]) == "program") return run_test_program(words[2]);
  Peer::instance();  // sets the environment before anybody attaches
  return doctest::Context(count, words).run();
}
