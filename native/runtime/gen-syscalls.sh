#!/bin/sh
# Prints { "name", { x86-64, i386, x32 } }, lines, sorted by name, -1 for none: gen-syscalls.sh HEADER_DIR syscalls-newer.txt
# The kernel headers' own numbers win over the supplement's. x32 numbers come without the x32 bit.
set -eu
headers=$1
newer=$2
for abi in 64 32 x32; do
	sed -n "s/^#define __NR_\([a-z0-9_]*\) *(__X32_SYSCALL_BIT *+ *\([0-9]*\))\$/$abi \1 \2/p; s/^#define __NR_\([a-z0-9_]*\) *\([0-9][0-9]*\)\$/$abi \1 \2/p" \
		"$headers/unistd_$abi.h"
	awk -v abi="$abi" '/^#/ { next } $1 == "common" || $1 == abi { print abi, $3, $2 }' "$newer"
done | LC_ALL=C awk '
	!(($1, $2) in number) { number[$1, $2] = $3; names[$2] }
	function of(abi, name) { return (abi, name) in number ? number[abi, name] : -1 }
	END { for (n in names) printf "{ \"%s\", { %d, %d, %d } },\n", n, of("64", n), of("32", n), of("x32", n) }' | LC_ALL=C sort
