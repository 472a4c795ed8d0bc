// The way to the qemu hypervisor, which is the Python package's: gc becomes its command line.
#pragma once
#include <string>
#include <vector>

namespace gridcentric::cli {

// Executes Python on gridcentric.hypervisors.qemu with these arguments in place of this process. A Python without the package
// says so and exits with the code of not_supported. Throws guest::Error when there is no Python.
int become_qemu(const std::vector<std::string> &words);

}  // namespace gridcentric::cli
