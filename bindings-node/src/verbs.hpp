// The calls that wait, by the names that all languages share: arguments from JavaScript in, guest::function,
// result as a JavaScript value out. lib/index.js has checked the arguments. It must not know: threads, the
// event loop (environment.cpp).
#pragma once
#include <napi.h>

#include <string>

#include "environment.hpp"

namespace gridcentric::node {

// Throws Napi::Error: no such verb, or an argument that is not of the type it must have.
Work make_work(Napi::Env env, const std::string &verb, const Napi::Array &arguments);

}  // namespace gridcentric::node
