#!/bin/sh
# Names, a line each, what this machine lacks to build rbmcli; fails if that is anything.
# Usage: preflight.sh PYTHON
set -u

python=$1
missing=0

lack() {
    echo "make: $*" >&2
    missing=1
}

ask() {
    "$python" -c "$1" 2>/dev/null
}

compiles() {
    printf '%s\n' "$1" >"$work/probe.c"
    # $cc may hold options as well.
    $cc "$work/probe.c" -o "$work/probe" >/dev/null 2>&1
}

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

cc=${CC:-cc}
if ! ask ''; then
    lack "'$python' does not run: install Python 3.11 or later (Debian: apt install python3" \
        "python3-venv python3-dev), or name one (make PYTHON=/path/to/python3)"
elif ! ask 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    lack "'$python' is Python $(ask 'import platform; print(platform.python_version())')," \
        "which is too old: install 3.11 or later and name it (make PYTHON=python3.11)"
else
    ask 'import venv, ensurepip' ||
        lack "'$python' cannot make virtual environments (Debian: apt install python3-venv)"
    [ -f "$(ask 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
        lack "'$python' has no header files, Python.h (Debian: apt install python3-dev)"
    cc=${CC:-$(ask 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
fi

if ! command -v "${cc%% *}" >/dev/null; then
    lack "there is no C compiler '${cc%% *}': install one (Debian: apt install gcc libc6-dev)," \
        "or name one (make CC=clang)"
elif ! compiles '#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }'; then
    lack "'${cc%% *}' cannot build a small program: the C library's header files or the linker" \
        "may be missing (Debian: apt install libc6-dev binutils)"
elif ! compiles 'typedef float v __attribute__((vector_size(16)));
int main(void) { v x = {0}; x = __builtin_shufflevector(x, x, 0, 4, 1, 5); return x[0] != 0; }'; then
    lack "'${cc%% *}' is too old: install GCC 12 or later, or clang (make CC=clang) with libomp," \
        "without which rbm uses one thread"
fi

exit $missing
