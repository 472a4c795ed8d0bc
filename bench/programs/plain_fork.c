/* A Node addon with one function, fork(): the ms that a plain fork() of this process takes, as the baseline for the
 * live clone; the child exits at once. */
#define NAPI_VERSION 8
#include <node_api.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static napi_value plain_fork(napi_env env, napi_callback_info info) {
  (void)info;
  double start = now_ms();
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  double ms = pid < 0 ? -1 : now_ms() - start;
  if (pid > 0) waitpid(pid, NULL, 0);
  napi_value result;
  napi_create_double(env, ms, &result);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "fork", NAPI_AUTO_LENGTH, plain_fork, NULL, &function);
  napi_set_named_property(env, exports, "fork", function);
  return exports;
}
