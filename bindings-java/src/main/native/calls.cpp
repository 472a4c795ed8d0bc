// The native methods of ca.gridcentric.guest.Native: hand arguments to the C API, and results and errors back. They decide nothing.
#include <cerrno>
#include <cstring>
#include <string>

#include "binding.hpp"

namespace gridcentric::java {
namespace {

jclass native_class, ticket_class, domain_class, result_class, explanation_class;
jmethodID error_of, ticket_of, domain_of, result_of, explanation_of;

jbyteArray bytes(JNIEnv *env, const void *data, std::size_t size) {
  const jbyteArray array = env->NewByteArray(static_cast<jsize>(size));
  if (array != nullptr)
    env->SetByteArrayRegion(array, 0, static_cast<jsize>(size), static_cast<const jbyte *>(data));
  return array;
}

// Throws the exception of the C API's last error.
void raise(JNIEnv *env) {
  const int error = errno;
  if (env->ExceptionCheck()) return;  // a handler's
  const char *name = gc_error_name(error);
  if (name == nullptr && error != EINTR) {
    if (const jclass memory = env->FindClass("java/lang/OutOfMemoryError"))
      env->ThrowNew(memory, std::strerror(error));
    return;
  }
  const char *text = error == EINTR ? "the call was interrupted" : gc_error_text();
  const jbyteArray message = bytes(env, text, std::strlen(text));
  const jstring code = env->NewStringUTF(name != nullptr ? name : "cancelled");
  if (message == nullptr || code == nullptr) return;
  const jobject thrown = env->CallStaticObjectMethod(native_class, error_of, code, message);
  if (thrown != nullptr) env->Throw(static_cast<jthrowable>(thrown));
}

// The thread's calls go through `call` during the life of this object.
class Through {
 public:
  explicit Through(jlong call) { gc_use_call(reinterpret_cast<gc_call_t *>(call)); }
  ~Through() {
    const int error = errno;
    gc_use_call(nullptr);
    errno = error;
  }
  Through(const Through &) = delete;
  Through &operator=(const Through &) = delete;
};

// Java has checked its form; nullptr stands for the clone's own.
gc_uuid_t ticket_from(JNIEnv *env, jstring text) {
  gc_uuid_t ticket = GC_MY_TICKET;
  if (text == nullptr) return ticket;
  const jsize length = env->GetStringUTFLength(text);
  if (length < static_cast<jsize>(sizeof ticket.value))
    env->GetStringUTFRegion(text, 0, env->GetStringLength(text), ticket.value);
  return ticket;
}

jobject object_of(JNIEnv *env, const gc_ticket_info_t &ticket) {
  const jstring id = env->NewStringUTF(ticket.id.value);
  if (id == nullptr) return nullptr;
  return env->CallStaticObjectMethod(ticket_class, ticket_of, id, static_cast<jint>(ticket.status),
                                     ticket.cpus, ticket.vms, ticket.mincpuspervm);
}

jobject object_of(JNIEnv *env, const gc_domain_t &domain) {
  const jstring ip = env->NewStringUTF(domain.ip), ticket = env->NewStringUTF(domain.ticket.value);
  const jstring state = env->NewStringUTF(domain.state);
  if (ip == nullptr || ticket == nullptr || state == nullptr) return nullptr;
  return env->CallStaticObjectMethod(domain_class, domain_of, domain.vmid, domain.parent, ip, ticket, state);
}

jobject object_of(JNIEnv *env, const gc_result_t &result) {
  jbyteArray report = nullptr;
  if (result.has_report) {
    report = bytes(env, result.report, result.report_size);
    if (report == nullptr) return nullptr;
  }
  return env->CallStaticObjectMethod(result_class, result_of, result.vmid, static_cast<jint>(result.how),
                                     result.status, report);
}

// Frees the list. nullptr: an exception is pending.
template <class Item>
jobjectArray array_of(JNIEnv *env, jclass type, Item *list, std::size_t count) {
  jobjectArray array = env->NewObjectArray(static_cast<jsize>(count), type, nullptr);
  for (std::size_t at = 0; array != nullptr && at < count; ++at) {
    if (env->PushLocalFrame(8) != 0) break;
    const jobject item = object_of(env, list[at]);
    if (item != nullptr) env->SetObjectArrayElement(array, static_cast<jsize>(at), item);
    env->PopLocalFrame(nullptr);
    if (env->ExceptionCheck()) array = nullptr;
  }
  gc_free(list);
  return array;
}

// What a call gives as a list: ask(&list, &count) is 0, or the error is raised.
template <class Item, class Ask>
jobjectArray answer_of(JNIEnv *env, jclass type, Ask ask) {
  Item *list = nullptr;
  std::size_t count = 0;
  if (ask(&list, &count) == 0) return array_of(env, type, list, count);
  raise(env);
  return nullptr;
}

bool remember(JNIEnv *env, jclass &type, jmethodID &method, const char *name, const char *maker,
              const char *signature) {
  const jclass found = env->FindClass(name);
  if (found == nullptr) return false;
  type = static_cast<jclass>(env->NewGlobalRef(found));
  method = env->GetStaticMethodID(type, maker, signature);
  return method != nullptr;
}

#define GC_PACKAGE "ca/gridcentric/guest/"

bool remember_classes(JNIEnv *env) {
  return remember(env, native_class, error_of, GC_PACKAGE "Native", "error",
                  "(Ljava/lang/String;[B)L" GC_PACKAGE "GridcentricException;") &&
         remember(env, ticket_class, ticket_of, GC_PACKAGE "TicketInfo", "of",
                  "(Ljava/lang/String;IIII)L" GC_PACKAGE "TicketInfo;") &&
         remember(env, domain_class, domain_of, GC_PACKAGE "Domain", "of",
                  "(IILjava/lang/String;Ljava/lang/String;Ljava/lang/String;)L" GC_PACKAGE "Domain;") &&
         remember(env, result_class, result_of, GC_PACKAGE "Result", "of", "(III[B)L" GC_PACKAGE "Result;") &&
         remember(env, explanation_class, explanation_of, GC_PACKAGE "Explanation", "of",
                  "(Z[B)L" GC_PACKAGE "Explanation;");
}

}  // namespace
}  // namespace gridcentric::java

using namespace gridcentric::java;

#define GC_METHOD(TYPE, NAME) extern "C" JNIEXPORT TYPE JNICALL Java_ca_gridcentric_guest_Native_##NAME

extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *machine, void *) {
  JNIEnv *env = nullptr;
  if (machine->GetEnv(reinterpret_cast<void **>(&env), JNI_VERSION_10) != JNI_OK) return JNI_ERR;
  return remember_classes(env) && add_clone_hooks(machine, env) ? JNI_VERSION_10 : JNI_ERR;
}

GC_METHOD(jlong, newCall)(JNIEnv *env, jclass) {
  gc_call_t *call = gc_call_new();
  if (call == nullptr) raise(env);
  return reinterpret_cast<jlong>(call);
}

GC_METHOD(void, cancel)(JNIEnv *, jclass, jlong call) { gc_cancel(reinterpret_cast<gc_call_t *>(call)); }

GC_METHOD(void, freeCall)(JNIEnv *, jclass, jlong call) { gc_call_free(reinterpret_cast<gc_call_t *>(call)); }

GC_METHOD(jstring, requestTicket)
(JNIEnv *env, jclass, jlong call, jint maxcpus, jint minvms, jint mincpuspervm, jint timeout) {
  const Through through(call);
  gc_uuid_t ticket;
  if (gc_request_ticket(maxcpus, minvms, mincpuspervm, timeout, &ticket) == 0)
    return env->NewStringUTF(ticket.value);
  raise(env);
  return nullptr;
}

GC_METHOD(void, releaseTicket)(JNIEnv *env, jclass, jlong call, jstring ticket) {
  const Through through(call);
  if (gc_release_ticket(ticket_from(env, ticket)) != 0) raise(env);
}

GC_METHOD(jobjectArray, listTickets)(JNIEnv *env, jclass, jlong call) {
  const Through through(call);
  return answer_of<gc_ticket_info_t>(env, ticket_class, gc_list_tickets);
}

GC_METHOD(jobject, ticketInfo)(JNIEnv *env, jclass, jlong call, jstring ticket) {
  const Through through(call);
  gc_ticket_info_t info;
  if (gc_ticket_info(ticket_from(env, ticket), &info) == 0) return object_of(env, info);
  raise(env);
  return nullptr;
}

GC_METHOD(jint, clone)(JNIEnv *env, jclass, jlong call, jstring ticket) {
  const Through through(call);
  const int vmid = gc_clone(ticket_from(env, ticket));
  if (vmid < 0) raise(env);
  return vmid;
}

GC_METHOD(jobjectArray, cloneOf)(JNIEnv *env, jclass, jlong call, jint vmid, jstring ticket) {
  const Through through(call);
  return answer_of<gc_domain_t>(env, domain_class, [&](auto **list, auto *count) {
    return gc_clone_of(vmid, ticket_from(env, ticket), list, count);
  });
}

GC_METHOD(jint, prepare)(JNIEnv *env, jclass, jlong call, jint timeout) {
  const Through through(call);
  const int mib = gc_prepare(timeout);
  if (mib < 0) raise(env);
  return mib;
}

GC_METHOD(void, serve)(JNIEnv *env, jclass, jlong call) {
  const Through through(call);
  if (gc_serve() != 0) raise(env);
}

GC_METHOD(jint, vmid)(JNIEnv *env, jclass, jlong call) {
  const Through through(call);
  const int vmid = gc_vmid();
  if (vmid < 0) raise(env);
  return vmid;
}

GC_METHOD(jstring, myIp)(JNIEnv *env, jclass, jlong call) {
  const Through through(call);
  char ip[46];
  if (gc_my_ip(ip, sizeof ip) == 0) return env->NewStringUTF(ip);
  raise(env);
  return nullptr;
}

GC_METHOD(jobjectArray, listDomains)(JNIEnv *env, jclass, jlong call) {
  const Through through(call);
  return answer_of<gc_domain_t>(env, domain_class, gc_list_domains);
}

GC_METHOD(void, sync)(JNIEnv *env, jclass, jlong call, jstring ticket, jint timeout) {
  const Through through(call);
  if (gc_sync(ticket_from(env, ticket), timeout) != 0) raise(env);
}

GC_METHOD(void, join)(JNIEnv *env, jclass, jlong call, jbyteArray report) {
  const Through through(call);
  if (report == nullptr) {
    gc_join_noreport();
  } else {
    std::string text(static_cast<std::size_t>(env->GetArrayLength(report)), '\0');
    env->GetByteArrayRegion(report, 0, static_cast<jsize>(text.size()),
                            reinterpret_cast<jbyte *>(text.data()));
    gc_join(text.data(), text.size());
  }
  raise(env);
}

GC_METHOD(jobjectArray, waitFor)
(JNIEnv *env, jclass, jlong call, jstring ticket, jint timeout, jboolean forget) {
  const Through through(call);
  return answer_of<gc_result_t>(env, result_class, [&](auto **list, auto *count) {
    return (forget ? gc_wait_and_forget : gc_wait)(ticket_from(env, ticket), timeout, list, count);
  });
}

GC_METHOD(void, kill)(JNIEnv *env, jclass, jlong call, jint vmid) {
  const Through through(call);
  if (gc_kill(vmid) != 0) raise(env);
}

GC_METHOD(jobject, explain)(JNIEnv *env, jclass) {
  char *report = nullptr;
  const int can_clone = gc_explain(&report);
  if (can_clone < 0) {
    raise(env);
    return nullptr;
  }
  const jbyteArray text = bytes(env, report, std::strlen(report));
  gc_free(report);
  if (text == nullptr) return nullptr;
  return env->CallStaticObjectMethod(explanation_class, explanation_of, static_cast<jboolean>(can_clone),
                                     text);
}
