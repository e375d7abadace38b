/* SPDX-License-Identifier: MIT */
/*
 * One line per event on standard error. A line that cannot be written is lost, never waited for by
 * the program's state.
 */
#include "cmsnode/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmsnode/base/json.h"
#include "cmsnode/base/mem.h"

static enum log_level threshold = LOG_LEVEL_INFO;
static bool as_json;
static void (*sink_function)(enum log_level, const char *, const char *);

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_configure(enum log_level level, bool json)
{
	threshold = level;
	as_json = json;
}

int log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_sink(void (*sink)(enum log_level level, const char *module, const char *text))
{
	sink_function = sink;
}

bool log_enabled(enum log_level level)
{
	return level <= threshold;
}

static void format_time(char *ret, size_t size)
{
	struct timespec now;
	struct tm tm;
	char seconds[32];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret, size, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
}

static char *format_line(enum log_level level, const char *module, const char *text)
{
	char when[48];

	format_time(when, sizeof(when));
	if (!as_json)
		return xasprintf("%s %s %s: %s\n", when, level_names[level], module, text);
	cJSON *object = cJSON_CreateObject();

	json_add_str(object, "time", when);
	json_add_str(object, "level", level_names[level]);
	json_add_str(object, "module", module);
	json_add_str(object, "message", text);
	CLEAN(str) char *json = json_text(object);

	json_free(object);
	return xasprintf("%s\n", json);
}

/* A control character in a value (a file name, a peer's text) must not forge a line. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = ' ';
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
	va_list args;
	CLEAN(str) char *text = NULL;

	va_start(args, fmt);
	const int n = vasprintf(&text, fmt, args);

	va_end(args);
	if (n < 0)
		return;
	make_printable(text);
	if (sink_function) {
		sink_function(level, module, text);
		return;
	}
	CLEAN(str) char *line = format_line(level, module, text);

	(void)!write(STDERR_FILENO, line, strlen(line));
}
