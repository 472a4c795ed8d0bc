// Reseeds the JDK's generators in a clone: their state is overwritten where it lies with bytes from the kernel, so that a thread
// which was stopped in the middle of a generator goes on with valid state. No lock is taken, and no Java code runs.
// Own objects of java.util.Random and the like keep the state that the program gave them.
#include <sys/random.h>

#include <string>
#include <vector>

#include "binding.hpp"

namespace gridcentric::java {
namespace {

// Counters from which new generators are seeded: a class and its static AtomicLong.
constexpr const char *seeders[][2] = {
    {"java/util/Random", "seedUniquifier"},
    {"java/util/SplittableRandom", "defaultGen"},
    {"java/util/concurrent/ThreadLocalRandom", "seeder"},
};
// The same of the kinds of RandomGenerator, whose package depends on the JDK's version. Their field is defaultGen.
constexpr const char *packages[] = {"jdk/random/", "jdk/internal/random/"};
constexpr const char *generators[] = {"L32X64MixRandom",   "L64X128MixRandom",   "L64X128StarStarRandom",
                                      "L64X256MixRandom",  "L64X1024MixRandom",  "L128X128MixRandom",
                                      "L128X256MixRandom", "L128X1024MixRandom", "Xoroshiro128PlusPlus",
                                      "Xoshiro256PlusPlus"};
// java.util.Random objects of the JDK's own: a class and its static field.
constexpr const char *shared[][2] = {
    {"java/lang/Math$RandomNumberGeneratorHolder", "randomNumberGenerator"},
    {"java/util/Collections", "r"},
};
// What all SecureRandom objects of a kind share.
constexpr const char *native_kinds[] = {"sun/security/provider/NativePRNG",
                                        "sun/security/provider/NativePRNG$Blocking",
                                        "sun/security/provider/NativePRNG$NonBlocking"};
// Names under which a program asks for a SecureRandom with its own state, and the classes of these with their arrays.
constexpr const char *own_names[] = {"SHA1PRNG", "DRBG"};
constexpr const char *own_kinds[][3] = {
    {"sun/security/provider/SecureRandom", "state", "remainder"},
    {"sun/security/provider/HashDrbg", "v", "c"},
    {"sun/security/provider/HmacDrbg", "v", "k"},
    {"sun/security/provider/CtrDrbg", "v", "k"},
};

struct Static {
  jclass where;
  jfieldID field;
};
struct Own {
  jclass type;
  jfieldID arrays[2];
};

std::vector<Static> counters, randoms, pools;
std::vector<Own> kinds;         // the first is that of mixRandom
std::vector<jobject> services;  // what the provider SUN makes them with
jfieldID counter_value, random_seed, mix_random, next_buffer, thread_seed;
jfieldID made_before;  // of a service: not null once it has made an object

void add(JNIEnv *env, std::vector<Static> &list, const char *where, const char *name, const char *type) {
  const jclass found = find_class(env, where);
  if (const jfieldID field = find_static_field(env, found, name, type)) list.push_back({found, field});
}

jlong random_long() {
  jlong value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

void set_counter(JNIEnv *env, jobject counter) {
  if (counter != nullptr) env->SetLongField(counter, counter_value, random_long());
}

void fill(JNIEnv *env, jobject holder, jfieldID field) {
  const auto array = static_cast<jbyteArray>(env->GetObjectField(holder, field));
  if (array == nullptr) return;
  std::string bytes(static_cast<std::size_t>(env->GetArrayLength(array)), '\0');
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = ::getrandom(bytes.data() + at, bytes.size() - at, 0);
    if (got > 0) at += static_cast<std::size_t>(got);
  }
  env->SetByteArrayRegion(array, 0, static_cast<jsize>(bytes.size()),
                          reinterpret_cast<const jbyte *>(bytes.data()));
  env->DeleteLocalRef(array);
}

void fill(JNIEnv *env, jobject generator, const Own &kind) {
  for (const jfieldID array : kind.arrays)
    if (array != nullptr) fill(env, generator, array);
}

void fill_pool(JNIEnv *env, jobject pool) {
  if (pool == nullptr) return;
  fill(env, pool, next_buffer);
  const jobject mix = env->GetObjectField(pool, mix_random);
  if (mix != nullptr && !kinds.empty()) fill(env, mix, kinds.front());
}

void reseed_threads(JNIEnv *env, jvmtiEnv *tools) {
  jint count = 0;
  jthread *all = nullptr;
  if (thread_seed == nullptr || tools->GetAllThreads(&count, &all) != JVMTI_ERROR_NONE) return;
  for (jint at = 0; at < count; ++at) {
    env->SetLongField(all[at], thread_seed, random_long());
    env->DeleteLocalRef(all[at]);
  }
  tools->Deallocate(reinterpret_cast<unsigned char *>(all));
}

jint JNICALL mark(jlong kind, jlong, jlong *tag, jint, void *) {
  *tag = kind;
  return JVMTI_VISIT_OBJECTS;
}

bool own_kinds_used(JNIEnv *env) {
  if (made_before == nullptr || services.empty()) return true;
  for (const jobject service : services)
    if (env->GetObjectField(service, made_before) != nullptr) return true;
  return false;
}

// Only a walk over the heap finds them, which takes a while: it is made if the program has ever asked for one.
void reseed_own_kinds(JNIEnv *env, jvmtiEnv *tools) {
  std::vector<jlong> tags;
  for (std::size_t at = 0; at < kinds.size(); ++at) {
    tags.push_back(static_cast<jlong>(at) + 1);
    tools->SetTag(kinds[at].type, tags.back());
  }
  jvmtiHeapCallbacks callbacks{};
  callbacks.heap_iteration_callback = mark;
  tools->IterateThroughHeap(JVMTI_HEAP_FILTER_CLASS_UNTAGGED, nullptr, &callbacks, nullptr);
  for (const Own &kind : kinds) tools->SetTag(kind.type, 0);
  jint count = 0;
  jobject *objects = nullptr;
  jlong *found = nullptr;
  if (tools->GetObjectsWithTags(static_cast<jint>(tags.size()), tags.data(), &count, &objects, &found) !=
      JVMTI_ERROR_NONE)
    return;
  for (jint at = 0; at < count; ++at) {
    fill(env, objects[at], kinds[static_cast<std::size_t>(found[at]) - 1]);
    tools->SetTag(objects[at], 0);
    env->DeleteLocalRef(objects[at]);
  }
  tools->Deallocate(reinterpret_cast<unsigned char *>(objects));
  tools->Deallocate(reinterpret_cast<unsigned char *>(found));
}

void remember_services(JNIEnv *env) {
  const jclass security = find_class(env, "java/security/Security"),
               provider = find_class(env, "java/security/Provider");
  made_before = find_field(env, find_class(env, "java/security/Provider$Service"), "constructorCache",
                           "Ljava/lang/Object;");
  if (security == nullptr || provider == nullptr) return;
  const jmethodID get_provider =
      env->GetStaticMethodID(security, "getProvider", "(Ljava/lang/String;)Ljava/security/Provider;");
  const jmethodID get_service = env->GetMethodID(
      provider, "getService", "(Ljava/lang/String;Ljava/lang/String;)Ljava/security/Provider$Service;");
  const jobject sun = env->CallStaticObjectMethod(security, get_provider, env->NewStringUTF("SUN"));
  for (const char *name : own_names) {
    if (sun == nullptr) break;
    const jobject service =
        env->CallObjectMethod(sun, get_service, env->NewStringUTF("SecureRandom"), env->NewStringUTF(name));
    if (service != nullptr) services.push_back(env->NewGlobalRef(service));
  }
  env->ExceptionClear();
}

}  // namespace

void remember_generators(JNIEnv *env) {
  remember_services(env);
  const char *counter = "Ljava/util/concurrent/atomic/AtomicLong;";
  for (const auto &[where, name] : seeders) add(env, counters, where, name, counter);
  for (const char *package : packages)
    for (const char *name : generators)
      add(env, counters, (std::string(package) + name).c_str(), "defaultGen", counter);
  for (const auto &[where, name] : shared) add(env, randoms, where, name, "Ljava/util/Random;");
  for (const char *kind : native_kinds)
    add(env, pools, kind, "INSTANCE", "Lsun/security/provider/NativePRNG$RandomIO;");
  for (const auto &[type, first, second] : own_kinds) {
    const jclass found = find_class(env, type);
    if (found != nullptr)
      kinds.push_back({found, {find_field(env, found, first, "[B"), find_field(env, found, second, "[B")}});
  }
  counter_value = find_field(env, find_class(env, "java/util/concurrent/atomic/AtomicLong"), "value", "J");
  random_seed = find_field(env, find_class(env, "java/util/Random"), "seed",
                           "Ljava/util/concurrent/atomic/AtomicLong;");
  thread_seed = find_field(env, find_class(env, "java/lang/Thread"), "threadLocalRandomSeed", "J");
  const jclass pool = find_class(env, "sun/security/provider/NativePRNG$RandomIO");
  mix_random = find_field(env, pool, "mixRandom", "Lsun/security/provider/SecureRandom;");
  next_buffer = find_field(env, pool, "nextBuffer", "[B");
}

void reseed_generators(JNIEnv *env, jvmtiEnv *tools) {
  if (counter_value == nullptr) return;
  for (const auto &[where, field] : counters) set_counter(env, env->GetStaticObjectField(where, field));
  for (const auto &[where, field] : randoms) {
    const jobject random = env->GetStaticObjectField(where, field);
    if (random != nullptr && random_seed != nullptr)
      set_counter(env, env->GetObjectField(random, random_seed));
  }
  for (const auto &[where, field] : pools)
    if (next_buffer != nullptr && mix_random != nullptr)
      fill_pool(env, env->GetStaticObjectField(where, field));
  if (tools == nullptr) return;
  reseed_threads(env, tools);
  if (own_kinds_used(env)) reseed_own_kinds(env, tools);
}

}  // namespace gridcentric::java
