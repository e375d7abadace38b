/* SPDX-License-Identifier: MIT */
/*
 * Logging, for I/O code only (the core never logs): one line per event on
 * standard error, as text ("2026-11-22T10:00:00.123Z warning etcd: ...") or as
 * one JSON object. `module` is the folder's or module's name. Never give it a
 * secret.
 */
#ifndef CMSNODE_BASE_LOG_H
#define CMSNODE_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_configure(enum log_level level, bool json);
int log_level_parse(const char *name, enum log_level *ret);	/* 0 or -EINVAL */

/* Replaces the sink (tests, fuzzers); NULL restores standard error. */
void log_set_sink(void (*sink)(enum log_level level, const char *module, const char *text));

bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *module, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at(level, module, ...)                                               \
	do {                                                                     \
		if (log_enabled(level))                                          \
			log_write((level), (module), __VA_ARGS__);               \
	} while (0)
#define log_error(module, ...) log_at(LOG_LEVEL_ERROR, module, __VA_ARGS__)
#define log_warning(module, ...) log_at(LOG_LEVEL_WARNING, module, __VA_ARGS__)
#define log_info(module, ...) log_at(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_at(LOG_LEVEL_DEBUG, module, __VA_ARGS__)

#endif
