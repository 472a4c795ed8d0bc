// The way to the qemu hypervisor, which is the Python package's: gc becomes its command line.
#pragma once
#include <string>
#include <vector>

namespace gridcentric::cli {

// Executes `python3 -m gridcentric.hypervisors.qemu WORDS` in place of this process. Returns only when there is no Python, with
// gc's exit code; a Python without the package says so itself and has the same code.
int become_qemu(const std::vector<std::string> &words);

}  // namespace gridcentric::cli
