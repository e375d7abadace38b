dnl SPDX-License-Identifier: MIT
dnl Our own macros: dependencies named with the Debian package that brings them,
dnl and the switches for warnings, sanitizers, fuzzing, coverage.

dnl CMSNODE_PKG(VARIABLE, MODULES, DEBIAN-PACKAGES): remembers what is missing.
AC_DEFUN([CMSNODE_PKG],
	[PKG_CHECK_MODULES([$1], [$2], [],
		[cmsnode_missing="$cmsnode_missing $3"
		 AC_MSG_WARN([$2: not found; Debian package: $3])])])

dnl CMSNODE_PKG_OPTIONAL: only `make check` wants it.
AC_DEFUN([CMSNODE_PKG_OPTIONAL],
	[PKG_CHECK_MODULES([$1], [$2], [cmsnode_have_$1=yes],
		[cmsnode_have_$1=no
		 AC_MSG_WARN([$2: not found, so `make check' cannot run; Debian package: $3])])
	AM_CONDITIONAL([HAVE_$1], [test "x$cmsnode_have_$1" = xyes])])

dnl CMSNODE_LIB(VARIABLE, HEADER, LIBRARY, FUNCTION, DEBIAN-PACKAGE): for libraries without pkg-config file.
AC_DEFUN([CMSNODE_LIB],
	[AC_CHECK_HEADER([$2],
		[AC_CHECK_LIB([$3], [$4], [$1_LIBS="-l$3 -lm"], [cmsnode_missing="$cmsnode_missing $5"], [-lm])],
		[cmsnode_missing="$cmsnode_missing $5"])
	AC_SUBST([$1_LIBS])])

AC_DEFUN([CMSNODE_MISSING],
	[AS_IF([test -n "$cmsnode_missing"],
		[AC_MSG_ERROR([libraries are missing. On Debian: apt-get install$cmsnode_missing])])])

AC_DEFUN([CMSNODE_CFLAGS_WARNINGS],
	[CMSNODE_CFLAGS="-std=gnu11 -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wvla -Wswitch-enum -Wwrite-strings"
	CMSNODE_LDFLAGS=""])

AC_DEFUN([CMSNODE_SANITIZERS],
	[AC_ARG_ENABLE([sanitizers],
		[AS_HELP_STRING([--enable-sanitizers@<:@=LIST@:>@], [build with -fsanitize=LIST (default address,undefined)])],
		[], [enable_sanitizers=no])
	AS_IF([test "x$enable_sanitizers" = xyes], [enable_sanitizers=address,undefined])
	AS_IF([test "x$enable_sanitizers" != xno],
		[CMSNODE_CFLAGS="$CMSNODE_CFLAGS -fsanitize=$enable_sanitizers -fno-omit-frame-pointer -fno-sanitize-recover=undefined"
		 CMSNODE_LDFLAGS="$CMSNODE_LDFLAGS -fsanitize=$enable_sanitizers"])])

AC_DEFUN([CMSNODE_FUZZING],
	[AC_ARG_ENABLE([fuzzing],
		[AS_HELP_STRING([--enable-fuzzing], [build the fuzz targets with clang's libFuzzer (CC=clang)])],
		[], [enable_fuzzing=no])
	AS_IF([test "x$enable_fuzzing" = xyes],
		[CMSNODE_CFLAGS="$CMSNODE_CFLAGS -fsanitize=fuzzer-no-link,address,undefined"
		 CMSNODE_LDFLAGS="$CMSNODE_LDFLAGS -fsanitize=address,undefined"])
	AM_CONDITIONAL([ENABLE_FUZZING], [test "x$enable_fuzzing" = xyes])])

AC_DEFUN([CMSNODE_COVERAGE],
	[AC_ARG_ENABLE([coverage],
		[AS_HELP_STRING([--enable-coverage], [build with gcov's counters])],
		[], [enable_coverage=no])
	AS_IF([test "x$enable_coverage" = xyes],
		[CMSNODE_CFLAGS="$CMSNODE_CFLAGS --coverage -O0"
		 CMSNODE_LDFLAGS="$CMSNODE_LDFLAGS --coverage"])])
