/*
 * As much JSON as the program needs: find a key of the outermost object, decode a plain string, escape any bytes.
 * A scanner without recursion: nesting cannot exhaust the stack.
 */
#include "cni.h"

#include <string.h>

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static size_t skip_space(const char *text, size_t size, size_t at) {
  while (at < size && is_space(text[at])) at++;
  return at;
}

/* `at` is at a quote; returns the position behind the closing one, or size. */
static size_t skip_string(const char *text, size_t size, size_t at) {
  for (at++; at < size; at++) {
    if (text[at] == '\\') at++;
    else if (text[at] == '"') return at + 1;
  }
  return size;
}

enum { NO_END = -1 };

/* Returns the position behind the value that starts at `at`, or (size_t)NO_END when an array or object never ends. */
static size_t skip_value(const char *text, size_t size, size_t at) {
  size_t depth = 0;
  while (at < size) {
    char c = text[at];
    if (c == '"') {
      at = skip_string(text, size, at);
      if (depth == 0) return at;
      continue;
    }
    if (c == '{' || c == '[') depth++;
    if (c == '}' || c == ']') {
      if (depth == 0) return at; /* the end of the object around a number or word */
      if (--depth == 0) return at + 1;
    }
    if (depth == 0 && (c == ',' || is_space(c))) return at;
    at++;
  }
  return depth == 0 ? size : (size_t)NO_END;
}

bool json_is_object(const char *text, size_t size) {
  size_t at = skip_space(text, size, 0);
  if (at >= size || text[at] != '{') return false;
  size_t end = skip_value(text, size, at);
  return end != (size_t)NO_END && text[end - 1] == '}' && skip_space(text, size, end) == size;
}

bool json_find(const char *text, size_t size, const char *key, const char **value, size_t *length) {
  size_t at = skip_space(text, size, 0);
  if (at >= size || text[at] != '{') return false;
  at++;
  for (;;) {
    at = skip_space(text, size, at);
    if (at < size && text[at] == ',') at = skip_space(text, size, at + 1);
    if (at >= size || text[at] != '"') return false;
    size_t key_start = at + 1;
    at = skip_string(text, size, at);
    size_t key_length = at > key_start ? at - 1 - key_start : 0;
    at = skip_space(text, size, at);
    if (at >= size || text[at] != ':') return false;
    at = skip_space(text, size, at + 1);
    size_t start = at;
    at = skip_value(text, size, at);
    if (at == (size_t)NO_END) return false;
    if (key_length == strlen(key) && memcmp(text + key_start, key, key_length) == 0 && at > start) {
      *value = text + start;
      *length = at - start;
      return true;
    }
  }
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool json_string(const char *raw, size_t length, char *into, size_t room) {
  if (length < 2 || raw[0] != '"' || raw[length - 1] != '"') return false;
  size_t written = 0;
  for (size_t at = 1; at < length - 1; at++) {
    char c = raw[at];
    if (c == '\\') {
      static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
      c = raw[++at];
      if (at >= length - 1) return false;
      const char *found = c != '\0' ? strchr(from, c) : NULL;
      if (found != NULL) {
        c = to[found - from];
      } else if (c == 'u' && at + 4 < length - 1) {
        int value = 0;
        for (int digit = 1; digit <= 4; digit++) {
          if (hex(raw[at + digit]) < 0) return false;
          value = value * 16 + hex(raw[at + digit]);
        }
        if (value == 0 || value > 0x7f) return false;
        at += 4;
        c = (char)value;
      } else {
        return false;
      }
    }
    if (c == '\0' || written + 1 >= room) return false;
    into[written++] = c;
  }
  into[written] = '\0';
  return true;
}

/* Length of the well-formed UTF-8 sequence at `text` (Unicode table 3-7), or 0. */
static size_t utf8_length(const unsigned char *text, size_t size) {
  unsigned char lead = text[0];
  size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead <= 0xdf ? 2 : (lead & 0xf0) == 0xe0 ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length == 0 || length > size) return 0;
  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xc0) != 0x80) return 0;
  if ((lead == 0xe0 && text[1] < 0xa0) || (lead == 0xed && text[1] > 0x9f)) return 0;
  if ((lead == 0xf0 && text[1] < 0x90) || (lead == 0xf4 && text[1] > 0x8f)) return 0;
  return length;
}

size_t json_escape_step(const unsigned char *text, size_t size, char out[6], size_t *consumed) {
  static const char digits[] = "0123456789abcdef";
  size_t length = utf8_length(text, size);
  unsigned char c = text[0];
  *consumed = length > 0 ? length : 1;
  if (length == 0) {
    memcpy(out, "\\ufffd", 6);
    return 6;
  }
  if (c == '"' || c == '\\') {
    out[0] = '\\';
    out[1] = (char)c;
    return 2;
  }
  if (c < 0x20) {
    memcpy(out, "\\u00", 4);
    out[4] = digits[c >> 4];
    out[5] = digits[c & 15];
    return 6;
  }
  memcpy(out, text, length);
  return length;
}
