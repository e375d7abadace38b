/* SPDX-License-Identifier: MIT */
/* `store accept` and `store publish`. */
#include "ctl.h"

int ctl_store_accept(const struct ctl *ctl, struct err *err)
{
	return ctl_change_and_tell(ctl, ctl_request("store.accept"), "accepted", err);
}

int ctl_store_publish(const struct ctl *ctl, struct err *err)
{
	return ctl_change_and_tell(ctl, ctl_request("store.publish"), "published", err);
}
