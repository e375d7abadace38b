/* SPDX-License-Identifier: MIT */
/* The two clocks. I/O code reads them and hands the values to the core. */
#ifndef CMSNODE_BASE_CLOCK_H
#define CMSNODE_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since boot, suspend included; never steps. For every interval. */
int64_t clock_now_ms(void);

/* Seconds since the epoch. Only to show to people and to stamp records. */
double clock_wall_s(void);

#endif
