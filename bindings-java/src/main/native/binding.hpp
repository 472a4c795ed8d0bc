// Shared by the files of the Java binding's native library, which is made of the C API alone.
#pragma once
#include <gridcentric/gc-binding.h>
#include <jni.h>
#include <jvmti.h>

namespace gridcentric::java {

// Registers the hooks around a clone and remembers what they need. Once, when the library is loaded. False: a Java exception is pending.
bool add_clone_hooks(JavaVM *machine, JNIEnv *env);

// Generators of random numbers. `remember` finds those of the JDK, as a class may not be looked for while threads are suspended; `reseed`
// takes no lock of Java's, so that it may run then.
void remember_generators(JNIEnv *env);
void reseed_generators(JNIEnv *env, jvmtiEnv *tools);

// What the JDK and the JVM remember of the process that they were started in. The same holds.
void remember_process(JNIEnv *env);
void renew_process(JNIEnv *env);

// Completes the handles of the master's children: each was ended by SIGKILL. Runs Java code.
void end_children(JNIEnv *env);

// A flag of the JVM's, such as "PerfDisableSharedMem"; nullptr: this JVM does not show it.
bool *find_flag(const char *name);

// For what a JDK may not have: the class (a global reference, initialized) or nullptr, without an exception.
jclass find_class(JNIEnv *env, const char *name);
jfieldID find_field(JNIEnv *env, jclass where, const char *name, const char *type);
jfieldID find_static_field(JNIEnv *env, jclass where, const char *name, const char *type);

}  // namespace gridcentric::java
