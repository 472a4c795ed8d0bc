// All of it is calls into C, as in make_right.cpp: after a single bytecode CPython may give the GIL to another thread, which would
// draw from a generator that is still the master's. Only loaded modules are touched: the others have no state yet. Whatever
// releases the GIL comes last.
#include "generators.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "core/generators/known.hpp"
#include "core/generators/thread_locals.hpp"
#include "gridcentric_python.hpp"

namespace gridcentric::python {
namespace {

using Random = std::array<std::uint32_t, 16>;

Random draw() {
  Random drawn{};
  // For at most 256 bytes getrandom() returns everything or, before the kernel's generator is ready, waits.
  while (getrandom(drawn.data(), sizeof drawn, 0) != sizeof drawn) {
  }
  return drawn;
}

py::bytes draw_bytes() {
  const Random drawn = draw();
  return {reinterpret_cast<const char *>(drawn.data()), sizeof drawn};
}

std::uint64_t draw_number() {
  const Random drawn = draw();
  return std::uint64_t{drawn[0]} << 32 | drawn[1];
}

// A loaded module, or None.
py::object loaded(const char *name) {
  PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), name);
  return module != nullptr ? py::reinterpret_borrow<py::object>(module) : py::none();
}

// The loaded one of the names that a module has in different versions of its library.
py::object loaded(std::initializer_list<const char *> names) {
  for (const char *name : names)
    if (py::object module = loaded(name); !module.is_none()) return module;
  return py::none();
}

// A random.Random, by its C method and with our seed: drawing the seed itself, it would release the GIL.
void seed_instance(const py::object &instance) {
  std::string digits;
  for (const std::uint32_t word : draw()) digits += std::to_string(word);
  const auto seed = py::reinterpret_steal<py::object>(PyLong_FromString(digits.c_str(), nullptr, 10));
  if (!seed) throw py::error_already_set();
  loaded("random").attr("Random").attr("__base__").attr("seed")(instance, seed);
  instance.attr("gauss_next") = py::none();
}

void random(py::handle module) { seed_instance(module.attr("_inst")); }

// The legacy global generator; default_rng() instances are the user's.
void numpy(py::handle module) {
  py::list seed;
  for (const std::uint32_t word : draw()) seed.append(word);
  module.attr("seed")(seed);
}

// An OpenSSL inside the extension module, where core/generators can't see it.
void ssl(py::handle module) { module.attr("RAND_add")(draw_bytes(), double{sizeof(Random)}); }

// uuid1: libuuid keeps a clock sequence per thread that all clones would share. A clone counts as a separate
// machine, so it gets its own node (random, with the multicast bit: RFC 4122, section 4.5) and draws the
// sequence anew each time.
void uuid(py::handle module) {
  module.attr("_node") = (draw_number() & 0xffffffffffff) | std::uint64_t{1} << 40;
  module.attr("_generate_time_safe") = py::none();
  module.attr("_last_timestamp") = py::none();
}

// Its name generator checks for a changed pid.
void tempfile(py::handle module) { module.attr("_name_sequence") = py::none(); }

void torch(py::handle module) { module.attr("default_generator").attr("manual_seed")(draw_number() >> 1); }

// Each thread has a state for `random` and one for `numpy.random`. Those of other threads, Python's or not, are reached as
// thread-local objects.
void numba(py::handle module) {
  for (const char *which : {"rnd_get_np_state_ptr", "rnd_get_py_state_ptr"}) {
    const auto mine = module.attr(which)().cast<std::uintptr_t>();
    module.attr("rnd_seed")(mine, draw_bytes());
    const auto object = generators::thread_local_at(reinterpret_cast<const void *>(mine));
    const generators::OwnMemory memory;
    for (const std::uintptr_t thread : guest::thread_pointers()) {
      const std::uintptr_t theirs = generators::address_in(memory, thread, object);
      if (theirs != 0 && theirs != mine) module.attr("rnd_seed")(theirs, draw_bytes());
    }
  }
}

void polars(py::handle) {
  const py::object library = loaded({"polars._plr", "polars.polars"});
  if (!library.is_none()) library.attr("set_random_seed")(draw_number());
}

// The OpenSSL inside it exports nothing to the dynamic linker, only to its own Python part. Called by its address, because cffi
// would release the GIL.
void cryptography(py::handle module) {
  const py::object binding = module.attr("_openssl");
  const py::object ffi = binding.attr("ffi");
  const py::object address =
      ffi.attr("cast")("uintptr_t", ffi.attr("addressof")(binding.attr("lib"), "RAND_add"));
  const Random drawn = draw();
  reinterpret_cast<void (*)(const void *, int, double)>(py::int_(address).cast<std::uintptr_t>())(
      drawn.data(), sizeof drawn, double{sizeof drawn});
}

// Draws the random part anew if the pid is not the one that it remembers.
void bson(py::handle module) {
  const py::object type = module.attr("ObjectId");
  type.attr("_pid") = 0;
  type.attr("_inc") = draw_number() & 0xffffff;
}

void faker(py::handle module) { seed_instance(module.attr("random")); }
void factory_boy(py::handle module) { seed_instance(module.attr("randgen")); }

void ddtrace(py::handle) {
  const py::object library = loaded({"ddtrace.internal.native._native", "ddtrace.internal._rand"});
  if (!library.is_none()) library.attr("seed")();
}

void uuid_utils(py::handle module) { module.attr("reseed_rng")(); }

struct Generator {
  std::string_view name;
  void (*reseed)(py::handle module);
};
constexpr Generator all[] = {
    {"random", random},
    {"numpy", numpy},
    {"uuid", uuid},
    {"tempfile", tempfile},
    {"torch", torch},
    {"numba", numba},
    {"polars", polars},
    {"cryptography", cryptography},
    {"bson", bson},
    {"faker", faker},
    {"factory_boy", factory_boy},
    {"ssl", ssl},
    {"ddtrace", ddtrace},
    {"uuid_utils", uuid_utils},
};

constexpr bool table_is_complete() {
  std::size_t rows = 0;
#define GC_GENERATOR(NAME, FOUND_AS, EVIDENCE, OUTCOME, TRIED, WHAT)                                \
  if (generators::FoundAs::FOUND_AS == generators::FoundAs::MODULE) {                               \
    ++rows;                                                                                         \
    if (!std::ranges::any_of(all, [](const Generator &g) { return g.name == NAME; })) return false; \
  }
#include <gridcentric/generators.def>
#undef GC_GENERATOR
  return rows == std::size(all);
}
static_assert(table_is_complete());

}  // namespace

void reseed_modules() {
  for (const Generator &generator : all) {
    const std::string module(generators::find_known(generator.name)->evidence);
    const py::object found = loaded(module.c_str());
    if (found.is_none()) continue;
    try {
      generator.reseed(found);
    } catch (py::error_already_set &error) {
      error.discard_as_unraisable(py::str(module));
    }
  }
}

}  // namespace gridcentric::python
