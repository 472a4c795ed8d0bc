#include "core/preload/python.hpp"

#include <dlfcn.h>

namespace gridcentric::preload {
namespace {

template <typename Function>
Function function_of_python(const char *name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
}

// Modules that are half imported lack names; nothing is said about that.
constexpr const char *program = R"(
def reseed():
    import os, sys
    for module, how in (
        ("random", lambda m: m._inst.seed(os.urandom(64))),
        ("numpy.random", lambda m: m.seed(int.from_bytes(os.urandom(4), "little"))),
        ("ssl", lambda m: m.RAND_add(os.urandom(64), 64.0)),
    ):
        if module in sys.modules:
            try:
                how(sys.modules[module])
            except Exception:
                pass
reseed()
del reseed
)";

}  // namespace

void reseed_python() {
  const auto is_there = function_of_python<int (*)()>("Py_IsInitialized");
  const auto ensure = function_of_python<int (*)()>("PyGILState_Ensure");
  const auto release = function_of_python<void (*)(int)>("PyGILState_Release");
  const auto new_dict = function_of_python<void *(*)()>("PyDict_New");
  const auto builtins = function_of_python<void *(*)()>("PyEval_GetBuiltins");
  const auto set_item = function_of_python<int (*)(void *, const char *, void *)>("PyDict_SetItemString");
  const auto run = function_of_python<void *(*)(const char *, int, void *, void *)>("PyRun_String");
  const auto fetch = function_of_python<void (*)(void **, void **, void **)>("PyErr_Fetch");
  const auto restore = function_of_python<void (*)(void *, void *, void *)>("PyErr_Restore");
  const auto forget = function_of_python<void (*)(void *)>("Py_DecRef");
  const auto clear = function_of_python<void (*)()>("PyErr_Clear");
  if (!is_there || !ensure || !release || !new_dict || !builtins || !set_item || !run || !fetch || !restore ||
      !forget || !clear || !is_there())
    return;
  constexpr int as_a_file = 257;  // Py_file_input
  const int held = ensure();
  void *error[3] = {};
  fetch(&error[0], &error[1], &error[2]);
  void *names = new_dict();
  if (void *known = names ? builtins() : nullptr) {
    set_item(names, "__builtins__", known);
    forget(run(program, as_a_file, names, names));
    clear();
  }
  forget(names);
  restore(error[0], error[1], error[2]);
  release(held);
}

}  // namespace gridcentric::preload
