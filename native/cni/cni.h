/*
 * The CNI program: one static binary with two faces, chosen by the name it is run under. `loopback` brings lo up in the
 * pod's namespace; every other name hands the call to the Keelson daemon. It must stay small and fast (it is executed
 * for each pod), allocates nothing, and writes nothing but the CNI answer to stdout.
 */
#ifndef KEELSON_CNI_H
#define KEELSON_CNI_H

#include <stdbool.h>
#include <stddef.h>

/* Error codes of the CNI specification 1.1.0, section 5. */
enum cni_code {
  CNI_INCOMPATIBLE_VERSION = 1,
  CNI_UNKNOWN_CONTAINER = 3,
  CNI_INVALID_ENVIRONMENT = 4,
  CNI_IO_FAILURE = 5,
  CNI_DECODE_FAILURE = 6,
  CNI_INVALID_CONFIG = 7,
  CNI_TRY_AGAIN_LATER = 11,
  CNI_NOT_AVAILABLE = 50,
};

enum { STDIN_LIMIT = 1024 * 1024, TIMEOUT_SECONDS = 60 };

/* The network configuration as it came on stdin. */
struct conf {
  char text[STDIN_LIMIT + 1];
  size_t length;
};
extern struct conf conf;

/* Prints a CNI error object and returns 1, the exit status. `message` is plain ASCII without quotes or backslashes. */
int cni_error(enum cni_code code, const char *message, const char *details);
/* cniVersion of the configuration, or the newest version that we know when it has none that is safe to print. */
const char *cni_version(void);
/* Whether we speak the configuration's version; one without a version means 0.1.0 (specification, section 1). */
bool cni_version_known(void);
/* Reads stdin to its end into conf. Returns 0, or the exit status after printing the error. */
int read_conf(void);
/* Milliseconds left until TIMEOUT_SECONDS after the program's start; 0 when over. */
int milliseconds_left(void);
/* Writes all of it to stdout; false when nobody takes it. */
bool print_bytes(const char *bytes, size_t length);

/*
 * Finds the value of a key of the outermost JSON object, without decoding anything else. Sets *value and *length to the
 * raw text of the value (a string with its quotes) and returns true. Text that is not JSON gives false or any part of
 * itself, never an access outside of it.
 */
bool json_find(const char *text, size_t size, const char *key, const char **value, size_t *length);
/* Decodes a raw JSON string of ASCII into `into`; false when it is no string, does not fit or has escapes beyond ASCII. */
bool json_string(const char *raw, size_t length, char *into, size_t room);
/* True when the text is an object by its outermost braces. */
bool json_is_object(const char *text, size_t size);
/*
 * Escapes one step of `text` as the inside of a JSON string: reads *consumed bytes, writes at most 6, returns how many.
 * Bytes that are not UTF-8 become U+FFFD, so that the answerer can always parse the request.
 */
size_t json_escape_step(const unsigned char *text, size_t size, char out[6], size_t *consumed);

int loopback_main(const char *command);
int relay_main(const char *command);

#endif
