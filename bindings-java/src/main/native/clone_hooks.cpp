// Around the moment of the clone. The other Java threads are suspended (JVMTI) from before the copy until, in the clone, its random
// numbers and what the JDK remembers of the process are its own; then they go on, and the program's handlers run. Threads in native code
// stop when they return to Java. Where a debugger has the right to suspend threads, they go on all the time.
#include <cstdio>
#include <mutex>
#include <vector>

#include "binding.hpp"

namespace gridcentric::java {
namespace {

JavaVM *machine;
jvmtiEnv *tools;  // nullptr: this JVM has none
bool may_suspend = false;
jclass handlers;
jmethodID run_before, run_in_clone, flush;
std::vector<jthread>
    suspended;  // global references; only the thread that clones uses it, of which there is one at a time

// The calling thread's. In a VM handlers run in a thread of the library's, which Java does not know yet.
JNIEnv *environment() {
  JNIEnv *env = nullptr;
  if (machine->GetEnv(reinterpret_cast<void **>(&env), JNI_VERSION_10) == JNI_OK) return env;
  return machine->AttachCurrentThreadAsDaemon(reinterpret_cast<void **>(&env), nullptr) == JNI_OK ? env
                                                                                                  : nullptr;
}

void let_go_on(JNIEnv *env) {
  if (suspended.empty()) return;
  std::vector<jvmtiError> errors(suspended.size());
  tools->ResumeThreadList(static_cast<jint>(suspended.size()), suspended.data(), errors.data());
  for (const jthread thread : suspended) env->DeleteGlobalRef(thread);
  suspended.clear();
}

void suspend_others(JNIEnv *env) {
  jint count = 0;
  jthread *all = nullptr, self = nullptr;
  if (!may_suspend || env->PushLocalFrame(64) != 0) return;
  if (tools->GetCurrentThread(&self) == JVMTI_ERROR_NONE &&
      tools->GetAllThreads(&count, &all) == JVMTI_ERROR_NONE) {
    std::vector<jthread> others;
    for (jint at = 0; at < count; ++at)
      if (!env->IsSameObject(all[at], self)) others.push_back(all[at]);
    std::vector<jvmtiError> errors(others.size());
    if (tools->SuspendThreadList(static_cast<jint>(others.size()), others.data(), errors.data()) ==
        JVMTI_ERROR_NONE) {
      for (std::size_t at = 0; at < others.size(); ++at)
        if (errors[at] == JVMTI_ERROR_NONE) suspended.push_back(env->NewGlobalRef(others[at]));
    }
    tools->Deallocate(reinterpret_cast<unsigned char *>(all));
  }
  env->PopLocalFrame(nullptr);
}

int before_copy(void *) {
  JNIEnv *env = environment();
  if (env == nullptr) return 0;
  env->CallStaticVoidMethod(handlers, flush);
  env->ExceptionClear();
  suspend_others(env);
  return 0;
}

void after_copy(void *) {
  if (JNIEnv *env = environment()) let_go_on(env);
}

void in_clone(int vmid, void *) {
  JNIEnv *env = environment();
  if (env == nullptr || env->PushLocalFrame(64) != 0) return;
  reseed_generators(env, tools);
  renew_process(env);
  let_go_on(env);
  end_children(env);
  env->CallStaticVoidMethod(handlers, run_in_clone, vmid);
  if (env->ExceptionCheck()) env->ExceptionDescribe();  // thrown by the program's uncaught exception handler
  env->PopLocalFrame(nullptr);
}

int before_clone(void *) {
  JNIEnv *env = environment();
  return env != nullptr && env->CallStaticBooleanMethod(handlers, run_before) ? 0 : 1;
}

void find_tools() {
  if (machine->GetEnv(reinterpret_cast<void **>(&tools), JVMTI_VERSION_9) != JNI_OK) {
    tools = nullptr;
    return;
  }
  jvmtiCapabilities wanted{};
  wanted.can_tag_objects = 1;
  if (tools->AddCapabilities(&wanted) != JVMTI_ERROR_NONE) {
    tools->DisposeEnvironment();
    tools = nullptr;
    return;
  }
  wanted = {};
  wanted.can_suspend = 1;
  may_suspend = tools->AddCapabilities(&wanted) == JVMTI_ERROR_NONE;
}

}  // namespace

jclass find_class(JNIEnv *env, const char *name) {
  const jclass found = env->FindClass(name);
  env->ExceptionClear();
  return found != nullptr ? static_cast<jclass>(env->NewGlobalRef(found)) : nullptr;
}

jfieldID find_field(JNIEnv *env, jclass where, const char *name, const char *type) {
  const jfieldID found = where != nullptr ? env->GetFieldID(where, name, type) : nullptr;
  env->ExceptionClear();
  return found;
}

jfieldID find_static_field(JNIEnv *env, jclass where, const char *name, const char *type) {
  const jfieldID found = where != nullptr ? env->GetStaticFieldID(where, name, type) : nullptr;
  env->ExceptionClear();
  return found;
}

bool add_clone_hooks(JavaVM *given, JNIEnv *env) {
  machine = given;
  handlers = find_class(env, "ca/gridcentric/guest/Handlers");
  if (handlers == nullptr) return false;
  run_before = env->GetStaticMethodID(handlers, "runBefore", "()Z");
  run_in_clone = env->GetStaticMethodID(handlers, "runInClone", "(I)V");
  flush = env->GetStaticMethodID(handlers, "flush", "()V");
  if (run_before == nullptr || run_in_clone == nullptr || flush == nullptr) return false;
  find_tools();
  remember_generators(env);
  remember_process(env);
  return gc_around_copy(before_copy, after_copy, nullptr) == 0 && gc_on_clone(in_clone, nullptr) == 0;
}

}  // namespace gridcentric::java

extern "C" JNIEXPORT void JNICALL Java_ca_gridcentric_guest_Native_runHandlersBefore(JNIEnv *, jclass) {
  gc_before_clone(gridcentric::java::before_clone, nullptr);
}
