#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "tests/core/guest_peer.hpp"

int main(int count, char **words) {
  Peer::instance();  // sets the environment before anybody attaches
  return doctest::Context(count, words).run();
}
