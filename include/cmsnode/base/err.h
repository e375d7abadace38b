/* SPDX-License-Identifier: MIT */
/*
 * Errors: a negative code as return value and a sentence for a person in a
 * struct that the caller owns. The innermost failing function calls err_set();
 * callers add where it happened with err_wrap(). Whoever handles the error
 * logs it, once.
 */
#ifndef CMSNODE_BASE_ERR_H
#define CMSNODE_BASE_ERR_H

#include <stdbool.h>

#define ERR_MSG_SIZE 1024

/* Codes of our own, beside negated errno values. */
enum err_code {
	ERR_CONFIG = -20001,	/* a configuration is refused: exit status 3 */
	ERR_USAGE = -20002,	/* options or settings are wrong: exit status 2 */
	ERR_IDENTITY = -20003,	/* identity or address refused: exit status 4 */
	ERR_CONFLICT = -20004,	/* somebody else changed it first */
	ERR_UNAVAILABLE = -20005, /* the store or a peer cannot be reached: try again */
	ERR_UNKNOWN = -20006,	/* a write whose outcome is not known */
	ERR_DENIED = -20007,	/* permission denied by the other side */
};

struct err {
	int code;
	char msg[ERR_MSG_SIZE];
};

/*
 * Fills `err` (NULL: nothing is filled) and returns `code`, so that a failing
 * call is one line. The message has no final period and no newline; one that
 * is too long is cut.
 */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set(), with ": " and strerror(-code) behind the message. */
int err_errno(struct err *err, int negative_errno, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message; returns err->code (or -EIO for NULL). */
int err_wrap(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Exit status of a program that ends because of `code` (interface contract). */
int err_exit_status(int code);

#endif
