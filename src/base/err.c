/* SPDX-License-Identifier: MIT */
/* Errors with a code and a sentence. Never logs, never allocates. */
#include "cmsnode/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	if (!err)
		return code;
	va_list args;

	va_start(args, fmt);
	/* Formatted aside first: an argument may be the old message itself. */
	char msg[ERR_MSG_SIZE];

	(void)vsnprintf(msg, sizeof(msg), fmt, args);
	va_end(args);
	memcpy(err->msg, msg, sizeof(err->msg));
	err->code = code;
	return code;
}

int err_errno(struct err *err, int negative_errno, const char *fmt, ...)
{
	if (!err)
		return negative_errno;
	char what[ERR_MSG_SIZE / 2];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return err_set(err, negative_errno, "%s: %s", what, strerror(-negative_errno));
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	char context[ERR_MSG_SIZE / 2];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(context, sizeof(context), fmt, args);
	va_end(args);
	return err_set(err, err->code, "%s: %s", context, err->msg);
}

int err_exit_status(int code)
{
	switch (code) {
	case 0:
		return 0;
	case ERR_USAGE:
		return 2;
	case ERR_CONFIG:
		return 3;
	case ERR_IDENTITY:
		return 4;
	case ERR_UNAVAILABLE:
		return 5;
	default:
		return 1;
	}
}
