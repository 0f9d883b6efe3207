/* What the programs here share: to check, and to give up with the place. */
#ifndef CHECK_H
#define CHECK_H

#include <airgap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stops the program unless it holds. */
#define CHECK(what)                                                        \
  do {                                                                     \
    if (!(what)) {                                                         \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);   \
      abort();                                                             \
    }                                                                      \
  } while (0)

/* Stops the program unless the call succeeds. The error is called `error`. */
#define OK(call)                                                           \
  do {                                                                     \
    if ((call) != AIRGAP_OK) {                                             \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,        \
              airgap_error_message(error));                                \
      abort();                                                             \
    }                                                                      \
    CHECK(error == NULL);                                                  \
  } while (0)

/* Stops the program unless the call fails with this status and an error that
 * says so, which is freed. */
#define FAILS(expected, call)                                              \
  do {                                                                     \
    airgap_status_t status_ = (call);                                      \
    if (status_ != (expected)) {                                           \
      fprintf(stderr, "%s:%d: %s: status %d, not %d: %s\n", __FILE__,      \
              __LINE__, #call, (int)status_, (int)(expected),              \
              error ? airgap_error_message(error) : "no error");           \
      abort();                                                             \
    }                                                                      \
    CHECK(airgap_error_status(error) == status_);                          \
    CHECK(airgap_error_message(error)[0] != '\0');                         \
    AIRGAP_CLEAR(error, error);                                            \
  } while (0)

/* A policy with something of everything that needs no host. */
static const char POLICY[] =
    "version = 1\n"
    "[host]\nresolvers = [\"192.0.2.53\"]\ndhcp = true\n"
    "[[allow]]\nto = [\"203.0.113.9\", \"2001:db8::9\"]\nport = 443\n"
    "[[admit]]\nfrom = \"192.0.2.10\"\nport = 22\n"
    "[[bridge]]\nname = \"docker0\"\n";

/* The same with another port and one opening less. */
static const char OTHER[] =
    "version = 1\n"
    "[[allow]]\nto = [\"203.0.113.9\", \"2001:db8::9\"]\nport = 8443\n"
    "[[admit]]\nfrom = \"192.0.2.10\"\nport = 22\n";

/* Three mistakes. */
static const char BAD[] =
    "version = 1\nunknown = 2\n"
    "[[allow]]\nto = \"203.0.113.999\"\nport = 70000\n";

#endif
