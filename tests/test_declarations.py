"""What tools/declarations.py tells Cython of a header; that it is right of ours, builds show."""

from __future__ import annotations

import importlib.util

import pytest
from building import ROOT

HEADER = """
#ifndef RBM_SOME_H
#define RBM_SOME_H
#include <stddef.h>
#define RBM_PAD 16 /* floats */
#define RBM_ROOM(rows, units) \\
    ((rows) * (units))
enum rbm_how { RBM_ONE = 0, RBM_OTHER = 1 };
typedef struct rbm_closed rbm_closed;
typedef void rbm_kernel(const void *args, rbm_closed *me);
/* A comment; with { what might be code. */
typedef struct {
    const float *left, *right;
    size_t rows, words; /* of both */
    uint32_t key[2];
    enum rbm_how how;
    rbm_kernel *const *all;
    long long *times;
    size_t (*memory)(const float *of, int threads);
} rbm_args;
typedef struct {
    struct {
        int inside;
    } part;
} rbm_parts;
static inline size_t rbm_most(size_t rows) {
    if (rows) {
        return rows;
    }
    return 1;
}
extern const rbm_args *const rbm_table;
const rbm_args *rbm_select(const char *name);
int rbm_openmp(void);
rbm_kernel rbm_walk, rbm_run;
#endif
"""

DECLARED = """
enum: RBM_PAD
size_t RBM_ROOM(size_t rows, size_t units)
enum rbm_how:
    RBM_ONE
    RBM_OTHER
ctypedef struct rbm_closed:
    pass
ctypedef void rbm_kernel(const void *args, rbm_closed *me) noexcept nogil
ctypedef struct rbm_args:
    const float *left
    const float *right
    size_t rows
    size_t words
    uint32_t key[2]
    rbm_how how
    rbm_kernel *const *all
    long long *times
    size_t (*memory)(const float *of, int threads) noexcept nogil
ctypedef struct rbm_parts:
    pass
size_t rbm_most(size_t rows)
const rbm_args *rbm_select(const char *name)
int rbm_openmp()
rbm_kernel rbm_walk, rbm_run
"""


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "declarations.py"
    spec = importlib.util.spec_from_file_location("declarations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_declarations_are_told(tool):
    assert list(tool.declarations(HEADER)) == DECLARED.strip().splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "union { int a; float b; } rbm_both;",
        "typedef struct { int a : 3; } rbm_bits;",
        "typedef float rbm_vector[4];",
        "int rbm_count;",
        "int rbm_openmp(void)",
    ],
)
def test_what_is_not_understood_ends_the_build(tool, text):
    with pytest.raises(ValueError):
        list(tool.declarations(text))


def test_a_file_that_is_up_to_date_stays(tool, tmp_path):
    for name in tool.HEADERS:
        path = tmp_path / "csrc" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEADER)
    made = tmp_path / "rbmcli" / "_core.pxd"
    made.parent.mkdir()
    tool.write(tmp_path)
    before = made.stat().st_mtime_ns
    tool.write(tmp_path)
    assert made.stat().st_mtime_ns == before
    path.write_text(HEADER.replace("RBM_PAD", "RBM_WIDTH"))
    tool.write(tmp_path)
    assert "enum: RBM_WIDTH" in made.read_text()
