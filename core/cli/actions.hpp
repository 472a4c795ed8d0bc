// What the verbs do, one function each; each returns gc's exit code. Throws guest::Error and UsageError.
#pragma once
#include "core/cli/verb.hpp"

namespace gridcentric::cli {

// guest_verbs.cpp: the API for shells
int request_ticket(const Arguments &);
int release_ticket(const Arguments &);
int list_tickets(const Arguments &);
int ticket_info(const Arguments &);
int vmid(const Arguments &);
int ismaster(const Arguments &);
int my_ip(const Arguments &);
int list_domains(const Arguments &);
int sync(const Arguments &);
int join(const Arguments &);
int wait(const Arguments &);
int kill(const Arguments &);

int clone(const Arguments &);       // clone_verb.cpp
int run(const Arguments &);         // run.cpp
int hook(const Arguments &);        // run.cpp
int image(const Arguments &);       // python.cpp
int scale(const Arguments &);       // python.cpp
int selftest(const Arguments &);    // python.cpp
int host(const Arguments &);        // host_verb.cpp
int list_all(const Arguments &);    // ps.cpp
int top(const Arguments &);         // top.cpp
int diff(const Arguments &);        // diff.cpp
int end(const Arguments &);         // end.cpp
int check(const Arguments &);       // check.cpp
int completion(const Arguments &);  // completion.cpp
int manual(const Arguments &);      // manual.cpp

}  // namespace gridcentric::cli
