// What the JDK and the JVM remember of the process in which they were started, made right in a clone: its pid, the file of its
// performance counters, its children.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "binding.hpp"

namespace gridcentric::java {
namespace {

constexpr jint killed = 0x80 + 9;  // as the JDK reports a child that SIGKILL has ended

jclass handle_class, future_class, integer_class, map_class, collection_class;
jfieldID current, pid_field, start_field, completions;
bool *counters_not_shared;
jmethodID is_alive, complete, integer_of, values, to_array;

void renew_handle(JNIEnv *env) {
  if (current == nullptr || pid_field == nullptr || start_field == nullptr || is_alive == nullptr) return;
  const jobject self = env->GetStaticObjectField(handle_class, current);
  const jlong pid = ::getpid();
  env->SetLongField(self, pid_field, pid);
  env->SetLongField(self, start_field, env->CallStaticLongMethod(handle_class, is_alive, pid));
  env->ExceptionClear();
}

// The counters are in a shared mapping of the master's file in hsperfdata_USER: from now on they are this clone's own memory. The
// mapping is replaced in one step, as threads of the JVM count all the time.
void keep_own_counters() {
  std::FILE *maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return;
  char line[512];
  unsigned long begin = 0, end = 0;
  bool found = false;
  while (!found && std::fgets(line, sizeof line, maps) != nullptr)
    found =
        std::strstr(line, "/hsperfdata_") != nullptr && std::sscanf(line, "%lx-%lx rw-s", &begin, &end) == 2;
  std::fclose(maps);
  if (!found) return;
  void *copy = ::mmap(nullptr, end - begin, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return;
  void *counters = reinterpret_cast<void *>(begin);
  std::memcpy(copy, counters, end - begin);
  if (::mremap(copy, end - begin, end - begin, MREMAP_MAYMOVE | MREMAP_FIXED, counters) == MAP_FAILED)
    ::munmap(copy, end - begin);
  else if (counters_not_shared != nullptr)
    *counters_not_shared = true;  // else the JVM would remove the master's file when this clone exits
}

}  // namespace

void remember_process(JNIEnv *env) {
  counters_not_shared = find_flag("PerfDisableSharedMem");
  handle_class = find_class(env, "java/lang/ProcessHandleImpl");
  current = find_static_field(env, handle_class, "current", "Ljava/lang/ProcessHandleImpl;");
  pid_field = find_field(env, handle_class, "pid", "J");
  start_field = find_field(env, handle_class, "startTime", "J");
  completions = find_static_field(env, handle_class, "completions", "Ljava/util/concurrent/ConcurrentMap;");
  if (handle_class != nullptr) is_alive = env->GetStaticMethodID(handle_class, "isAlive0", "(J)J");
  env->ExceptionClear();
  future_class = find_class(env, "java/util/concurrent/CompletableFuture");
  integer_class = find_class(env, "java/lang/Integer");
  map_class = find_class(env, "java/util/Map");
  collection_class = find_class(env, "java/util/Collection");
  complete = env->GetMethodID(future_class, "complete", "(Ljava/lang/Object;)Z");
  integer_of = env->GetStaticMethodID(integer_class, "valueOf", "(I)Ljava/lang/Integer;");
  values = env->GetMethodID(map_class, "values", "()Ljava/util/Collection;");
  to_array = env->GetMethodID(collection_class, "toArray", "()[Ljava/lang/Object;");
}

void renew_process(JNIEnv *env) {
  renew_handle(env);
  keep_own_counters();
}

void end_children(JNIEnv *env) {
  if (completions == nullptr) return;
  const jobject map = env->GetStaticObjectField(handle_class, completions);
  const auto all =
      static_cast<jobjectArray>(env->CallObjectMethod(env->CallObjectMethod(map, values), to_array));
  const jobject status = env->CallStaticObjectMethod(integer_class, integer_of, killed);
  for (jsize at = 0; all != nullptr && at < env->GetArrayLength(all); ++at) {
    const jobject future = env->GetObjectArrayElement(all, at);
    env->CallBooleanMethod(future, complete, status);
    env->DeleteLocalRef(future);
  }
  env->ExceptionClear();
}

}  // namespace gridcentric::java
