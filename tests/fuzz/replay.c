/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over its corpus, for builds without libFuzzer: all files
 * of $srcdir/tests/fuzz/corpus/NAME, where the program is called fuzz_NAME; each
 * one whole and cut at a few places.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmsnode/base/mem.h"
#include "cmsnode/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Not every target has one. */
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static size_t replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = xmalloc(1 << 20);

	if (!file) {
		perror(path);
		exit(1);
	}
	const size_t size = fread(data, 1, 1 << 20, file);

	(void)fclose(file);
	for (size_t parts = 1; parts <= 8; parts++) {
		/* An allocation of the exact size lets the sanitizer see reads beyond the end. */
		uint8_t *exact = xmemdup(data, size / parts);

		(void)LLVMFuzzerTestOneInput(exact, size / parts);
		free(exact);
	}
	free(data);
	return 1;
}

int main(int argc, char *argv[])
{
	if (LLVMFuzzerInitialize)
		(void)LLVMFuzzerInitialize(&argc, &argv);
	const char *srcdir = getenv("srcdir");
	const char *name = strrchr(argv[0], '/');

	name = name ? name + 1 : argv[0];
	name = strstr(name, "fuzz_") ? strstr(name, "fuzz_") + strlen("fuzz_") : name;
	CLEAN(str) char *dir = xasprintf("%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
	DIR *corpus = opendir(dir);
	size_t n = 0;

	if (!corpus) {
		perror(dir);
		return 1;
	}
	for (const struct dirent *entry = readdir(corpus); entry; entry = readdir(corpus)) {
		if (entry->d_name[0] == '.')
			continue;
		CLEAN(str) char *path = xasprintf("%s/%s", dir, entry->d_name);

		n += replay(path);
	}
	(void)closedir(corpus);
	(void)printf("%s: %zu inputs\n", name, n);
	return n ? 0 : 1;
}
