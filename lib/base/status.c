/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char last_message[1024];
static _Thread_local pumit_status last_status;

const char *pumit_status_name(pumit_status status)
{
    switch (status) {
    case PUMIT_OK:
        return "PUMIT_OK";
    case PUMIT_ERROR_INVALID_ARGUMENT:
        return "PUMIT_ERROR_INVALID_ARGUMENT";
    case PUMIT_ERROR_OUT_OF_MEMORY:
        return "PUMIT_ERROR_OUT_OF_MEMORY";
    case PUMIT_ERROR_IO:
        return "PUMIT_ERROR_IO";
    case PUMIT_ERROR_FORMAT:
        return "PUMIT_ERROR_FORMAT";
    case PUMIT_ERROR_UNSUPPORTED:
        return "PUMIT_ERROR_UNSUPPORTED";
    case PUMIT_ERROR_SHAPE:
        return "PUMIT_ERROR_SHAPE";
    case PUMIT_ERROR_LIMIT:
        return "PUMIT_ERROR_LIMIT";
    case PUMIT_ERROR_NOT_FOUND:
        return "PUMIT_ERROR_NOT_FOUND";
    case PUMIT_ERROR_STATE:
        return "PUMIT_ERROR_STATE";
    case PUMIT_ERROR_BACKEND:
        return "PUMIT_ERROR_BACKEND";
    case PUMIT_ERROR_CANCELLED:
        return "PUMIT_ERROR_CANCELLED";
    case PUMIT_ERROR_INTERNAL:
        return "PUMIT_ERROR_INTERNAL";
    default:
        return "unknown status";
    }
}

const char *pumit_last_error(void)
{
    return last_message;
}

pumit_status pumit__last_status(void)
{
    return last_status;
}

/* Messages are one line: what came from a file must not break it. */
static void keep_message(const char *message)
{
    size_t i = 0;
    for (; message[i] && i + 1 < sizeof last_message; i++)
        last_message[i] = (unsigned char)message[i] < ' ' ? ' ' : message[i];
    last_message[i] = '\0';
}

pumit_status pumit__fail(pumit_status status, const char *format, ...)
{
    char message[sizeof last_message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    keep_message(message);
    last_status = status;
    return status;
}

pumit_status pumit__fail_in(pumit_status status, const char *format, ...)
{
    if (status == PUMIT_OK) return status;
    char message[2 * sizeof last_message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof last_message, format, args);
    va_end(args);
    const size_t length = strlen(message);
    snprintf(message + length, sizeof message - length, ": %s", last_message);
    keep_message(message);
    last_status = status;
    return status;
}

pumit_status pumit__status_of_errno(int code)
{
    if (code == ENOMEM) return PUMIT_ERROR_OUT_OF_MEMORY;
    return code == ENOENT ? PUMIT_ERROR_NOT_FOUND : PUMIT_ERROR_IO;
}

pumit_status pumit__fail_memory(int64_t bytes, const char *what)
{
    return pumit__fail(PUMIT_ERROR_OUT_OF_MEMORY, "out of memory: %lld bytes for %s",
                       (long long)bytes, what);
}

#define TEXT(x)               #x
#define VERSION_TEXT(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)

const char *pumit_version(void)
{
    return VERSION_TEXT(PUMIT_VERSION_MAJOR, PUMIT_VERSION_MINOR, PUMIT_VERSION_PATCH);
}

int32_t pumit_abi_version(void)
{
    return PUMIT_ABI_VERSION;
}

void pumit_free(void *memory)
{
    free(memory);
}
