// For what is written in Python and comes with the Python package: gc becomes its command line.
#pragma once
#include <gridcentric/drivers.hpp>
#include <string>
#include <vector>

namespace gridcentric::cli {

// The folder that this gc is in, "" if unknown.
std::string own_folder();

// Replaces this process with Python running this module of the package. A Python without the package says so and exits
// with the code of not_supported. Throws guest::Error if there is no Python.
// by_environment: whether PYTHONSAFEPATH keeps the working directory off Python's path, also in what it starts; not for a program
// of the user's.
int become_python(const char *module, const std::vector<std::string> &words, bool by_environment = true);

// The command line of a driver that is written in Python (gridcentric.hypervisors).
int become_driver(const Driver &driver, const std::vector<std::string> &words);

// Has another Python package registered a driver of this name? Asks the Python that this gc belongs to; false if it belongs to none.
bool python_has_driver(const std::string &name);

// Its command line: words are those after "gc", without --hypervisor.
int become_driver(const std::string &name, const std::vector<std::string> &words);

}  // namespace gridcentric::cli
