// The calls that wait, by the names that all languages share: takes arguments from JavaScript, calls guest::function,
// returns the result as a JavaScript value. lib/index.js has checked the arguments. It must not know: threads, the
// event loop (environment.cpp).
#pragma once
#include <napi.h>

#include <string>

#include "environment.hpp"

namespace gridcentric::node {

// Throws Napi::Error for an unknown verb or an argument of the wrong type.
Work make_work(Napi::Env env, const std::string &verb, const Napi::Array &arguments);

}  // namespace gridcentric::node
