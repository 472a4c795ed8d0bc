/* The calls of the C API that Testee.java needs, as JNI functions. On an error they throw an Error with the library's text. */
#include <gridcentric/gc-guest.h>
#include <jni.h>
#include <stdio.h>
#include <string.h>

static void throw_error(JNIEnv *env) {
  (*env)->ThrowNew(env, (*env)->FindClass(env, "java/lang/Error"), gc_error_text());
}

static gc_uuid_t ticket_of(JNIEnv *env, jstring text) {
  gc_uuid_t ticket = {{0}};
  const char *value = (*env)->GetStringUTFChars(env, text, NULL);
  if (value) {
    snprintf(ticket.value, sizeof ticket.value, "%s", value);
    (*env)->ReleaseStringUTFChars(env, text, value);
  }
  return ticket;
}

JNIEXPORT jstring JNICALL Java_Testee_requestTicket(JNIEnv *env, jclass class, jint clones) {
  (void)class;
  gc_uuid_t ticket;
  if (gc_request_ticket(clones, clones, 1, 0, &ticket) == 0) return (*env)->NewStringUTF(env, ticket.value);
  throw_error(env);
  return NULL;
}

JNIEXPORT jint JNICALL Java_Testee_cloneFamily(JNIEnv *env, jclass class, jstring text) {
  (void)class;
  const gc_uuid_t ticket = ticket_of(env, text);
  const int vmid = gc_clone(ticket);
  if (vmid < 0) throw_error(env);
  return vmid;
}

JNIEXPORT jstring JNICALL Java_Testee_address(JNIEnv *env, jclass class) {
  (void)class;
  char ip[46];
  if (gc_my_ip(ip, sizeof ip) == 0) return (*env)->NewStringUTF(env, ip);
  throw_error(env);
  return NULL;
}

JNIEXPORT void JNICALL Java_Testee_join(JNIEnv *env, jclass class, jstring report) {
  (void)class;
  const char *text = (*env)->GetStringUTFChars(env, report, NULL);
  if (!text) return;
  gc_join(text, strlen(text));
  (*env)->ReleaseStringUTFChars(env, report, text);
  throw_error(env); /* it returns only on an error */
}

/* The reports, a line each; for a clone without one, how it has ended. */
JNIEXPORT jstring JNICALL Java_Testee_waitForAll(JNIEnv *env, jclass class, jstring text) {
  (void)class;
  const gc_uuid_t ticket = ticket_of(env, text);
  gc_result_t *results;
  size_t count;
  char lines[65536] = "";
  if (gc_wait(ticket, -1, &results, &count) != 0) {
    throw_error(env);
    return NULL;
  }
  for (size_t i = 0, used = 0; i < count && used < sizeof lines; ++i) {
    const gc_result_t *end = &results[i];
    if (end->how == GC_END_JOINED && end->has_report) {
      used += (size_t)snprintf(lines + used, sizeof lines - used, "%s\n", (const char *)end->report);
    } else {
      used += (size_t)snprintf(lines + used, sizeof lines - used, "vmid %d has ended: kind %d, status %d\n",
                               end->vmid, (int)end->how, end->status);
    }
  }
  gc_free(results);
  return (*env)->NewStringUTF(env, lines);
}
