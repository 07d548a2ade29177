#!/bin/sh
# Run the kernel tests with the extension built under AddressSanitizer and UBSan, and the team of
# threads under ThreadSanitizer, for which clang must be there; any finding fails.
# usage: sh tests/sanitize.sh PYTHON, a Python that has pip, numpy and pytest
set -eu
python=$(command -v "$1")
case $python in /*) ;; *) python=$PWD/$python ;; esac
root=$(cd "$(dirname "$0")/.." && pwd)
compiler=${CC:-gcc}
runtime=$($compiler -print-file-name=libasan.so)
case $runtime in
/*) ;;
*) echo "sanitize: $compiler has no AddressSanitizer runtime (libasan); install it" >&2; exit 1 ;;
esac

# Built apart from the tree: neither its build folder nor an installed rbmcli gets in between.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
mkdir "$folder/source"
cd "$root"
tar cf - --exclude='*.so' --exclude=__pycache__ pyproject.toml setup.py README.md LICENSE \
    rbmcli csrc data tools | tar xf - -C "$folder/source"

echo "Building rbmcli with the sanitizers"
flags="-fsanitize=address,undefined -fno-sanitize-recover=all"
CC=$compiler CFLAGS="-g -fno-omit-frame-pointer $flags" LDFLAGS=$flags \
    "$python" -m pip install --quiet --no-deps --target "$folder/site" "$folder/source"

# The interpreter is not built with the sanitizer, so its runtime must come first; Python's own
# leaks at exit are of no interest. Its findings must not be captured with the tests' output. No
# cache and no bytecode: nothing is left in the tree.
LD_PRELOAD=$runtime ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH=$folder/site PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 \
    "$python" -m pytest -p no:cacheprovider --capture=sys \
    tests/test_kernels.py tests/test_convolution_kernels.py tests/test_unit_kernels.py \
    tests/test_units.py tests/test_learn_kernel.py tests/test_ais.py

echo "Running the team under ThreadSanitizer"
PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 \
    "$python" -m pytest -p no:cacheprovider tests/test_races.py
