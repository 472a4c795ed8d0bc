// A CPython in this process that has not loaded the guest library: its random numbers in a clone.
// It must not know: how it is cloned.
#pragma once

namespace gridcentric::preload {

// Gives `random`, numpy's global generator and the OpenSSL inside Python new states, where they are loaded. Does nothing where there
// is no Python. In a thread that holds no lock of Python's but its own.
void reseed_python();

}  // namespace gridcentric::preload
