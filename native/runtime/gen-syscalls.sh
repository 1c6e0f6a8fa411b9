#!/bin/sh
# Prints { "name", number }, lines for one ABI: gen-syscalls.sh 64|32|x32 unistd_ABI.h syscalls-newer.txt
# The headers' own entries win; numbers are what a seccomp filter sees, so x32's carry its bit.
set -eu
abi=$1
header=$2
newer=$3
{
	sed -n 's/^#define __NR_\([a-z0-9_]*\) *(__X32_SYSCALL_BIT *+ *\([0-9]*\))$/\1 \2/p; s/^#define __NR_\([a-z0-9_]*\) *\([0-9][0-9]*\)$/\1 \2/p' "$header"
	awk -v abi="$abi" '/^#/ { next } $1 == "common" || $1 == abi { print $3, $2 }' "$newer"
} | awk -v bit="$([ "$abi" = x32 ] && echo 1073741824 || echo 0)" '!seen[$1]++ { printf "{ \"%s\", %du },\n", $1, $2 + bit }'
