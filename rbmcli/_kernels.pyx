# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=True, freethreading_compatible=True
"""The C kernels: checks what it is given, releases the GIL, calls C. No loops.

Matrices are C-contiguous float32 of shape (rows, ld) with ld a multiple of PAD; the columns beyond
the `units` or `width` that count are zero. Binary states are uint64 of shape (rows, words). Wrong
shapes raise ValueError, and so do on-lists, rows of images and bits that would lead a kernel out of
its memory. csrc/rbm_kernels.h says what each kernel computes.
"""

import os
from threading import get_ident

import numpy as np

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rbmcli._core cimport *  # what csrc/rbm_kernels.h declares (tools/declarations.py)


PAD = RBM_PAD
MOST_POOL = RBM_MOST_POOL

cdef const rbm_kernels *_table = NULL
cdef int _threads = 1
# Vector operations for which a team is woken: that costs some microseconds.
WORTH_SHARING = 20000
cdef size_t _worth_sharing = WORTH_SHARING
# Whether this process, or one that it was forked from, may have a team of threads.
cdef bint _shared = False
# Whether the team, if any, is that of a parent: it is not there, and OpenMP would wait for it.
cdef bint _orphaned = False


def use_isa(str name=""):
    """Run the kernels of one instruction set ("baseline", "avx2", "avx512"), or the CPU's best.

    Raises ValueError where the CPU or this build lacks it.
    """
    global _table
    encoded = name.encode()
    cdef const rbm_kernels *table = rbm_select(encoded)
    if table == NULL:
        raise ValueError(f"instruction set {name!r} is not available on this machine")
    _table = table


def isa():
    """Name of the instruction set in use."""
    return _table.name.decode()


def openmp_version():
    """Date of the OpenMP specification compiled in, such as 201511; 0 without OpenMP."""
    return rbm_openmp()


def set_threads(int count):
    """Use `count` threads from now on; no result depends on it.

    In a process forked from one that was to use several, it stays one thread, whatever is asked
    for: threads are not forked, and OpenMP would wait for them for ever.
    """
    global _threads, _shared
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    _threads = 1 if _orphaned else count
    _shared = _shared or _threads > 1


def share_from(size_t work):
    """Run kernels of so many vector operations, and more, on several threads.

    For tests, which share out the smallest ones.
    """
    global _worth_sharing
    _worth_sharing = work


def make_threads(int count, size_t stack=0):
    """Make so many threads (this one among them) as kernels will use; return how many there were.

    stack: bytes of each one's stack; 0 for the system's default. OpenMP, which ends the process
    where it cannot make its threads, is asked for them only after they could be made without it,
    and keeps them.
    """
    global _shared
    if _orphaned or count <= 1:
        return count
    _shared = True
    with nogil:
        count = rbm_make_threads(count, stack)
    return count


def _after_fork():
    """In a child: the threads of its parent are not there."""
    global _threads, _orphaned
    _orphaned = _shared
    if _orphaned:
        _threads = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads():
    """Threads in use."""
    return _threads


# Offsets of lists are of 32 bits.
cdef size_t _MOST_ON = <size_t>1 << 32


cdef _require(bint condition, str what):
    if not condition:
        raise ValueError(what)


cdef _run(rbm_kernel *kernel, const void *args, size_t work):
    """Run a kernel; work: about how many vector operations it takes."""
    if _is_recording():
        _recorded.replayable = False
    _run_now(kernel, args, work)


cdef _run_now(rbm_kernel *kernel, const void *args, size_t work):
    _run_plan(kernel, args, work, _threads)


cdef _run_plan(rbm_kernel *kernel, const void *args, size_t work, int most):
    """Run a kernel on at most so many threads."""
    cdef int threads = min(_threads, most) if work >= _worth_sharing else 1
    with nogil:
        rbm_run(kernel, args, threads)


cdef Plan _recorded = None
cdef unsigned long _recorder = 0


cdef bint _is_recording():
    return _recorded is not None and get_ident() == _recorder


cdef class Plan:
    """The kernels of a step, recorded as they ran, to be run again for other steps.

    Recorded are kernels that know how to be; any other makes the plan one that is not
    `replayable`, and so does a state that no kernel of the plan has made from the images in `rows`
    and the states in `memory`, or a draw of another step. Replayed, they work in the same memory,
    which the plan keeps, and on no more threads: the images are those in `rows` then.
    """

    cdef rbm_operation *_operations
    cdef rbm_draw **_draws
    cdef rbm_loops *_loops
    cdef size_t _count
    cdef size_t _early
    cdef size_t _work
    cdef int _threads
    cdef rbm_learning *_how
    cdef uint32_t _step
    cdef int64_t[::1] _rows
    cdef Py_ssize_t _images
    cdef set _made
    cdef list _kept
    cdef public bint replayable

    def __cinit__(self, uint32_t step, int64_t[::1] rows, tuple memory):
        self._step = step
        self._rows, self._images, self._threads = rows, -1, _threads
        self._made = {array.ctypes.data for array in memory}
        self._kept = []
        self.replayable = True

    def __dealloc__(self):
        cdef size_t i
        for i in range(self._count):
            free(<void *>self._operations[i].args)
        free(self._operations)
        free(self._draws)
        free(self._loops)

    cdef _add(self, rbm_kernel *kernel, const void *args, size_t size, size_t work,
              Py_ssize_t draw, tuple read, tuple made, tuple kept, size_t rows=0,
              Py_ssize_t how=-1):
        """Take a kernel with its arguments. draw, how: where in them these are, or -1.

        read, made: addresses of states. kept: what has the memory that it works in. rows: through
        how many it goes, where it goes by rows.
        """
        cdef rbm_operation *added = self._insert(self._count, kernel, args, size, draw)
        added.rows = rows
        if how >= 0:
            if self._how != NULL:
                self.replayable = False
            self._how = <rbm_learning *>(<char *>added.args + how)
        cdef bint of_another = draw >= 0 and self._draws[self._count - 1].step != self._step
        if of_another or not self._made.issuperset(read):
            self.replayable = False
        self._work += work
        self._made.update(made)
        self._kept.append(kept)

    cdef _add_early(self, rbm_kernel *kernel, const void *args, size_t size, tuple kept):
        """Take a kernel that reads parameters alone: it is to run before all that read states."""
        self._insert(self._early, kernel, args, size, -1)
        self._early += 1
        self._kept.append(kept)

    cdef rbm_operation *_insert(self, size_t place, rbm_kernel *kernel, const void *args,
                                size_t size, Py_ssize_t draw) except NULL:
        cdef size_t count = self._count + 1, beyond = self._count - place
        cdef void *grown = realloc(self._operations, count * sizeof(rbm_operation))
        if grown == NULL:
            raise MemoryError()
        self._operations = <rbm_operation *>grown
        grown = realloc(self._draws, count * sizeof(rbm_draw *))
        if grown == NULL:
            raise MemoryError()
        self._draws = <rbm_draw **>grown
        grown = realloc(self._loops, count * sizeof(rbm_loops))
        if grown == NULL:
            raise MemoryError()
        self._loops = <rbm_loops *>grown
        cdef char *copy = <char *>malloc(size)
        if copy == NULL:
            raise MemoryError()
        memcpy(copy, args, size)
        memmove(&self._operations[place + 1], &self._operations[place],
                beyond * sizeof(rbm_operation))
        memmove(&self._draws[place + 1], &self._draws[place], beyond * sizeof(rbm_draw *))
        self._operations[place] = rbm_operation(kernel, copy, 0)
        self._draws[place] = <rbm_draw *>(copy + draw) if draw >= 0 else NULL
        self._loops[self._count].count = 0
        self._count = count
        return &self._operations[place]

    cdef _take_images(self, const int64_t[::1] index, Py_ssize_t images):
        """Take note of a kernel that reads the rows `index` of so many images."""
        if &index[0] != &self._rows[0] or index.shape[0] != self._rows.shape[0]:
            self.replayable = False  # images made for this step alone
        self._images = images

    def run(self, uint32_t step, const int64_t[:, ::1] rows, tuple rule,
            const uint8_t[::1] refresh):
        """Take the recorded step as steps from number `step` on: (steps taken, all is finite).

        The last is the one after which something is not finite. rows: (steps, images). rule: as
        `update` takes it. refresh: (steps,), as in the centering of `learn`.
        """
        cdef rbm_plan_args plan = rbm_plan_args(self._operations, self._count)
        return self._run(rbm_operation(rbm_walk, &plan, 0), step, rows, rule, refresh)

    def run_timed(self, uint32_t step, const int64_t[:, ::1] rows, tuple rule,
                  const uint8_t[::1] refresh, long long[::1] nanoseconds):
        """`run`, adding to `nanoseconds` those of each operation; for benchmarks."""
        _require(nanoseconds.shape[0] == <Py_ssize_t>self._count, "a number for each operation")
        cdef rbm_timed_plan_args plan
        plan.plan = rbm_plan_args(self._operations, self._count)
        plan.nanoseconds, plan.loops = &nanoseconds[0], self._loops
        return self._run(rbm_operation(rbm_walk_timed, &plan, 0), step, rows, rule, refresh)

    cdef _run(self, rbm_operation walk, uint32_t step, const int64_t[:, ::1] rows, tuple rule,
              const uint8_t[::1] refresh):
        cdef int finite = 1
        cdef size_t done = 0
        cdef rbm_steps_args args
        if not self.replayable or self._how == NULL:
            raise ValueError("the plan is not of a whole step")
        _require(rows.shape[0] == refresh.shape[0] and rows.shape[0] >= 1
                 and rows.shape[1] == self._rows.shape[0], "images do not fit the plan")
        _require(self._images < 0
                 or rbm_rows_fit(&rows[0, 0], rows.shape[0] * rows.shape[1], self._images),
                 "there are no such images")
        self._how.rule, self._how.decay = _rule(rule), rule[2]
        self._how.finite = &finite
        args.walk, args.draws, args.operations = walk, self._draws, self._count
        args.how, args.step, args.count = self._how, step, rows.shape[0]
        args.rows, args.own, args.batch = &rows[0, 0], &self._rows[0], rows.shape[1]
        args.refresh, args.done = &refresh[0], &done
        _run_plan(rbm_take_steps, &args, self._work, self._threads)
        return done, finite != 0

    def operations(self):
        """The operations: (name, shapes, bytes read, bytes written, items of each loop).

        Bytes follow from the shapes: each array once, as if all of it were needed. Loops are known
        after `run_timed`.
        """
        cdef size_t i, j
        result = []
        for i in range(self._count):
            loops = min(self._loops[i].count, <size_t>RBM_MOST_LOOPS)
            items = tuple([self._loops[i].items[j] for j in range(loops)])
            result.append((*_described(&self._operations[i]), items))
        return result

    def anneal(self, const double[::1] betas, size_t first, size_t count, float[::1] beta,
               double[::1] change):
        """Take the recorded step for temperatures from number `first` of `betas` on.

        beta: (2,), which the recorded kernels read the temperature before and their own from;
        change: (1,), their difference.
        """
        cdef rbm_anneal_args args
        _require(self.replayable and self._how == NULL, "the plan is not of a temperature")
        _require(first >= 1 and first + count <= <size_t>betas.shape[0] and beta.shape[0] == 2
                 and change.shape[0] == 1, "there are no such temperatures")
        args.plan.operations, args.plan.count = self._operations, self._count
        args.draws, args.betas, args.first, args.count = self._draws, &betas[0], first, count
        args.beta, args.change = &beta[0], &change[0]
        _run_plan(rbm_anneal, &args, self._work, self._threads)


cdef size_t _matrix_size(const rbm_matrix *matrix, size_t units, size_t width):
    return (width if matrix.turned else units) * matrix.ld


cdef tuple _described(const rbm_operation *operation):
    """(name, shapes, bytes read, bytes written) of an operation of a training step."""
    cdef const rbm_binarize_args *binarized
    cdef const rbm_bit_inputs_args *inputs
    cdef const rbm_units_args *units
    cdef const rbm_learn_args *learned
    cdef const rbm_take_args *taken
    cdef const rbm_multiply_args *product
    cdef const rbm_inputs_args *maps
    cdef const rbm_pooled_args *pooled
    cdef const rbm_correlate_args *correlated
    cdef const rbm_map_sums_args *summed
    cdef const rbm_learn_maps_args *filters
    cdef size_t weights, phases
    if operation.kernel in (_table.binarize_u8, _table.binarize_f32):
        small = operation.kernel == _table.binarize_u8
        binarized = <const rbm_binarize_args *>operation.args
        return ("binarize", f"{binarized.rows} x {binarized.units}",
                binarized.rows * binarized.units * (1 if small else sizeof(float)),
                binarized.rows * binarized.words * 8)
    if operation.kernel == _table.bit_inputs:
        inputs = <const rbm_bit_inputs_args *>operation.args
        return ("inputs", f"{inputs.rows} x {inputs.units} to {inputs.width}",
                inputs.rows * inputs.words * 8
                + (_matrix_size(&inputs.matrix, inputs.units, inputs.width) + inputs.ld)
                * sizeof(float),
                inputs.rows * inputs.ld * sizeof(float))
    if operation.kernel == _table.learn:
        learned = <const rbm_learn_args *>operation.args
        weights = learned.link.visible * learned.link.ld_hidden * sizeof(float)
        phases = ((learned.positive.rows + learned.negative.rows)
                  * (learned.positive.words * 8 + learned.link.ld_hidden * sizeof(float)))
        return ("learn", f"{learned.link.visible} x {learned.link.hidden}", 2 * weights + phases,
                2 * weights)
    if operation.kernel in (_table.take_u8, _table.take_f32):
        small = operation.kernel == _table.take_u8
        taken = <const rbm_take_args *>operation.args
        return ("take", f"{taken.rows} x {taken.units}",
                taken.rows * taken.units * (1 if small else sizeof(float)),
                taken.rows * taken.ld * sizeof(float))
    if operation.kernel == _table.multiply:
        product = <const rbm_multiply_args *>operation.args
        return ("inputs", f"{product.rows} x {product.inner} to {product.width}",
                (product.rows * product.inner + product.ld
                 + _matrix_size(&product.b, product.inner, product.width)) * sizeof(float),
                product.rows * product.ld * sizeof(float))
    if operation.kernel in (_table.arrange_up, _table.arrange_down):
        maps = <const rbm_inputs_args *>operation.args
        weights = _taps(&maps.maps) * maps.ld_weights * sizeof(float)
        return ("arrange", f"{_taps(&maps.maps)} x {maps.maps.filters}", weights, weights)
    if operation.kernel in (_table.convolve, _table.deconvolve):
        maps = <const rbm_inputs_args *>operation.args
        up = operation.kernel == _table.convolve
        seen, given = _visible(&maps.maps), _hidden(&maps.maps)
        if not up:
            seen, given = given, seen
        return ("inputs", f"{maps.rows} x {seen} to {given}",
                maps.rows * (maps.words * 8 if maps.bits != NULL else seen * sizeof(float))
                + (_taps(&maps.maps) * maps.ld_weights + maps.ld) * sizeof(float),
                maps.rows * maps.ld * sizeof(float))
    if operation.kernel == _table.pooled:
        pooled = <const rbm_pooled_args *>operation.args
        what = " and ".join(name for name, there in (("means", pooled.mean != NULL),
                                                     ("draws", pooled.bits != NULL)) if there)
        return (f"pooled {what}", f"{pooled.rows} x {pooled.ld}",
                pooled.rows * pooled.ld * sizeof(float),
                (pooled.rows * pooled.ld * sizeof(float) if pooled.mean != NULL else 0)
                + (pooled.rows * pooled.words * 8 if pooled.bits != NULL else 0))
    if operation.kernel == _table.map_sums:
        summed = <const rbm_map_sums_args *>operation.args
        return ("sums of maps", f"{summed.rows} x {summed.maps}",
                summed.rows * (summed.words * 8 if summed.bits != NULL
                               else summed.ld * sizeof(float)),
                summed.rows * summed.ld_out * sizeof(float))
    if operation.kernel in (_table.arrange_gradient, _table.correlate, _table.sum_gradient):
        correlated = <const rbm_correlate_args *>operation.args
        what = {<size_t>_table.arrange_gradient: "arrange gradient",
                <size_t>_table.correlate: "correlate",
                <size_t>_table.sum_gradient: "sum gradient"}[<size_t>operation.kernel]
        sums = _taps(&correlated.maps) * correlated.ld * sizeof(float)
        parts = (max(correlated.sides[0].rows, correlated.sides[1].rows) + RBM_ROWS - 1) // RBM_ROWS
        states = ((correlated.sides[0].rows + correlated.sides[1].rows)
                  * (correlated.ld_hidden * sizeof(float) + correlated.words * 8
                     + correlated.ld_values * sizeof(float)))
        read, made = {"arrange gradient": (0, 0), "correlate": (states, parts * sums),
                      "sum gradient": (parts * sums, sums)}[what]
        return (what, f"{_taps(&correlated.maps)} x {correlated.maps.filters}", read, made)
    if operation.kernel == _table.learn_maps:
        filters = <const rbm_learn_maps_args *>operation.args
        weights = _taps(&filters.maps) * filters.ld * sizeof(float)
        biases = (_visible(&filters.maps) + _hidden(&filters.maps)) * sizeof(float)
        return ("learn", f"{_taps(&filters.maps)} x {filters.maps.filters}", 3 * weights,
                2 * weights + biases)
    units = <const rbm_units_args *>operation.args
    what = " and ".join(name for name, there in (("means", units.mean != NULL),
                                                 ("draws", units.states != NULL)) if there)
    return (what, f"{units.rows} x {units.units}", units.rows * units.ld * sizeof(float),
            (units.rows * units.ld * sizeof(float) if units.mean != NULL else 0)
            + (units.rows * units.words * 8 if units.states != NULL else 0))


def record(uint32_t step, int64_t[::1] rows, tuple memory):
    """Record the kernels that this thread runs from now on, as a step of this number and images.

    memory: arrays of states that a step finds as the one before has left them.
    """
    global _recorded, _recorder
    _recorded, _recorder = Plan(step, rows, memory), get_ident()


def recorded(bint learns=True):
    """End the recording; return the plan, or None where it cannot be replayed.

    learns: whether it is to be a whole training step.
    """
    global _recorded
    plan, _recorded = _recorded, None
    return plan if plan.replayable and learns == ((<Plan>plan)._how != NULL) else None


cdef rbm_draw _draw(tuple draw):
    cdef rbm_draw d
    cdef uint64_t key
    key, d.step, d.substep, d.row0 = draw
    d.key[0] = <uint32_t>(key & 0xFFFFFFFF)
    d.key[1] = <uint32_t>(key >> 32)
    return d


def random_words(tuple draw, uint32_t[:, ::1] out):
    """Fill `out` (rows, units) with the random words of draw = (key, step, substep, first row)."""
    cdef rbm_draw d = _draw(draw)
    if out.shape[0] and out.shape[1]:
        with nogil:
            _table.random_words(&d, out.shape[0], out.shape[1], &out[0, 0])


cdef const void *_pixels(images) except NULL:
    """The first value of images (n, units), uint8 or float32."""
    cdef const uint8_t[:, ::1] small
    cdef const float[:, ::1] real
    if images.dtype == "uint8":
        small = images
        return &small[0, 0]
    real = images
    return &real[0, 0]


def binarize(images, const int64_t[::1] index, float scale, threshold, tuple draw,
             uint64_t[:, ::1] bits):
    """Bits (rows, words) = images[index] / scale, drawn, or cut at `threshold` if not None.

    images: (n, units) uint8 or float32; index: (rows,), within 0..n-1.
    """
    cdef rbm_draw d = _draw(draw)
    cdef rbm_binarize how = RBM_SAMPLE if threshold is None else RBM_THRESHOLD
    cdef float cut = 0.0 if threshold is None else threshold
    cdef rbm_binarize_args args
    cdef rbm_kernel *kernel
    cdef size_t units = images.shape[1], rows = index.shape[0], words = bits.shape[1]
    _require(bits.shape[0] == index.shape[0] and words * 64 >= units, "bits do not fit the images")
    if rows == 0:
        return
    _require(rbm_rows_fit(&index[0], rows, images.shape[0]), "there are no such images")
    args.units, args.index, args.rows = units, &index[0], rows
    args.scale, args.how, args.threshold, args.draw = scale, how, cut, d
    args.bits, args.words = &bits[0, 0], words
    args.images = _pixels(images)
    kernel = _table.binarize_u8 if images.dtype == "uint8" else _table.binarize_f32
    if _is_recording():
        # Images made for this step alone, or rows that a replay would not look at.
        _recorded._take_images(index, images.shape[0])
        _recorded._add(kernel, &args, sizeof(args), rows * units,
                       <char *>&args.draw - <char *>&args, (), (<size_t>&bits[0, 0],),
                       (images, index, bits), rows)
    _run_now(kernel, &args, rows * units)


def take(images, const int64_t[::1] index, float scale, sigma, float[:, ::1] states):
    """States (rows, ld) = images[index] / scale, and divided by `sigma` (units,) if not None.

    images: (n, units) uint8 or float32.
    """
    cdef const float[::1] deviations
    cdef rbm_take_args args
    cdef rbm_kernel *kernel
    cdef size_t units = images.shape[1], rows = index.shape[0]
    _require(states.shape[0] == index.shape[0] and <size_t>states.shape[1] >= units,
             "states do not fit the images")
    if rows == 0:
        return
    _require(rbm_rows_fit(&index[0], rows, images.shape[0]), "there are no such images")
    args.units, args.index, args.rows, args.scale = units, &index[0], rows, scale
    args.sigma, args.states, args.ld = NULL, &states[0, 0], states.shape[1]
    if sigma is not None:
        deviations = sigma
        _require(<size_t>deviations.shape[0] >= units, "deviations do not fit the images")
        args.sigma = &deviations[0]
    args.images = _pixels(images)
    kernel = _table.take_u8 if images.dtype == "uint8" else _table.take_f32
    if _is_recording():
        _recorded._take_images(index, images.shape[0])
        _recorded._add(kernel, &args, sizeof(args), rows * units, -1, (),
                       (<size_t>&states[0, 0],), (images, index, sigma, states), rows)
    _run_now(kernel, &args, rows * units)


def exponentials(const float[::1] values, float[::1] out):
    """out = exp(values), (n * PAD,) each; values beyond -87 to 88 are not for it."""
    _require(values.shape[0] == out.shape[0] and values.shape[0] % RBM_PAD == 0,
             "exponentials do not fit the values")
    cdef rbm_exponentials_args args
    if values.shape[0]:
        args = rbm_exponentials_args(&values[0], values.shape[0], &out[0])
        _run(_table.exponentials, &args, args.count)


def count_on(const uint64_t[:, ::1] bits):
    """Number of bits that are on."""
    return rbm_count_on(&bits[0, 0], bits.shape[0], bits.shape[1]) if bits.shape[0] else 0


def list_on(const uint64_t[:, ::1] bits, uint32_t[::1] start, uint32_t[::1] index):
    """Write the on-lists; start: (rows + 1,), index: at least count_on(bits)."""
    _require(start.shape[0] >= bits.shape[0] + 1, "start is too short")
    cdef size_t on = rbm_count_on(&bits[0, 0], bits.shape[0], bits.shape[1])
    _require(<size_t>index.shape[0] >= on, "index is too short")
    _require(on < _MOST_ON, "more units are on than lists can have")
    cdef rbm_list_on_args args = rbm_list_on_args(&bits[0, 0], bits.shape[0], bits.shape[1],
                                                  &start[0], &index[0])
    _run(_table.list_on, &args, index.shape[0])


def bits_to_floats(const uint64_t[:, ::1] bits, size_t units, float[:, ::1] floats):
    """floats (rows, ld) = bits as 0 and 1."""
    _require(floats.shape[0] == bits.shape[0] and <size_t>floats.shape[1] >= units
             and <size_t>bits.shape[1] * 64 >= units, "floats do not fit the bits")
    cdef rbm_bits_and_floats_args args = rbm_bits_and_floats_args(
        <uint64_t *>&bits[0, 0], bits.shape[0], bits.shape[1], units, &floats[0, 0],
        floats.shape[1])
    _run(rbm_bits_to_floats, &args, bits.shape[0] * units)


def floats_to_bits(const float[:, ::1] floats, size_t units, uint64_t[:, ::1] bits):
    """bits (rows, words) = floats above one half."""
    _require(floats.shape[0] == bits.shape[0] and <size_t>floats.shape[1] >= units
             and <size_t>bits.shape[1] * 64 >= units, "bits do not fit the floats")
    cdef rbm_bits_and_floats_args args = rbm_bits_and_floats_args(
        &bits[0, 0], bits.shape[0], bits.shape[1], units, <float *>&floats[0, 0],
        floats.shape[1])
    _run(rbm_floats_to_bits, &args, bits.shape[0] * units)


def count_by_unit(const uint64_t[:, ::1] bits, uint32_t[::1] count):
    """count (units,) = rows in which each unit is on."""
    _require(bits.shape[1] * 64 >= count.shape[0], "more counts than units")
    with nogil:
        rbm_count_by_unit(&bits[0, 0], bits.shape[0], bits.shape[1], count.shape[0], &count[0])


cdef _require_lists(const uint32_t[::1] start, const uint32_t[::1] index, Py_ssize_t rows,
                    size_t units):
    """On-lists of so many rows and units, which somebody else may have made."""
    cdef bint fit
    _require(start.shape[0] >= rows + 1, "start is too short")
    _require(index.shape[0] >= start[rows] and index.shape[0] >= 1, "index is too short")
    with nogil:
        fit = rbm_lists_fit(&start[0], &index[0], rows, index.shape[0], units)
    _require(fit, "lists do not ascend, or name no units")


def most_listed(size_t rows, size_t units):
    """The most states that may be on where `bit_inputs` lists them."""
    return rbm_most_listed(rows, units)


def first_units(size_t rows, size_t units):
    """How many units the first sum of `bit_inputs` is of, for a matrix that is not turned."""
    return rbm_first_units(rows, units)


cpdef size_t lists_length(size_t rows, size_t units, size_t ld, bint turned=False):
    """Length of the workspace `lists` of `bit_inputs`; ld: of its `out`."""
    cdef size_t length = rows + 1 + rbm_index_length(rows, units)
    if not turned and rbm_first_units(rows, units) < units:
        length += rows * ld + RBM_PAD  # the second sum, from the start of a cache line on
    return length


cdef rbm_matrix _matrix(const float[:, ::1] matrix, size_t units, size_t width, bint turned,
                        const float[::1] bias, float[:, ::1] out) except *:
    """A matrix that takes states of so many units to `out` (rows, ld), of which `width` count."""
    cdef rbm_matrix m
    cdef size_t rows = matrix.shape[0], ld = matrix.shape[1]
    _require(ld % RBM_PAD == 0 and out.shape[1] % RBM_PAD == 0
             and bias.shape[0] == out.shape[1] and 1 <= width <= <size_t>out.shape[1]
             and 1 <= units, "columns do not fit")
    _require((rows >= width and ld >= units) if turned
             else (rows >= units and <Py_ssize_t>ld == out.shape[1]), "the matrix does not fit")
    m.at, m.ld, m.turned = &matrix[0, 0], ld, turned
    return m


def bit_inputs(const uint64_t[:, ::1] bits, size_t units, const float[:, ::1] matrix, size_t width,
               const float[::1] bias, float[:, ::1] out, uint32_t[::1] lists, bint turned=False):
    """out (rows, ld) = bias + states matrix, of bit states of so many units.

    By lists of what is on, or by tables of partial sums, whichever is quicker. matrix: (units, ld),
    or where it is `turned`, (width, ld of units).
    Workspace: lists (lists_length(rows, units, ld, turned),).
    """
    cdef rbm_bit_inputs_args args
    cdef size_t rows = bits.shape[0]
    args.matrix = _matrix(matrix, units, width, turned, bias, out)
    _require(out.shape[0] == bits.shape[0] and <size_t>bits.shape[1] * 64 >= units,
             "bits do not fit")
    if rows == 0:
        return
    _require(rbm_bits_fit(&bits[0, 0], rows, bits.shape[1], units),
             "bits beyond the last unit are on")
    _require(rows * units < _MOST_ON or rbm_count_on(&bits[0, 0], rows, bits.shape[1]) < _MOST_ON,
             "more units are on than lists can have")
    _require(<size_t>lists.shape[0] >= lists_length(rows, units, out.shape[1], turned),
             "workspace is too small")
    args.bits, args.rows, args.words, args.units = &bits[0, 0], rows, bits.shape[1], units
    args.width, args.bias, args.out, args.ld = width, &bias[0], &out[0, 0], out.shape[1]
    args.start, args.index = &lists[0], &lists[rows + 1]
    args.first, args.second = units if turned else rbm_first_units(rows, units), NULL
    if args.first < units:
        args.second = <float *>(
            (<size_t>&lists[rows + 1 + rbm_index_length(rows, units)] + 63) // 64 * 64)
    cdef size_t work = rows * units * width // _table.lanes // 5
    if _is_recording():
        _recorded._add(_table.bit_inputs, &args, sizeof(args), work, -1, (<size_t>&bits[0, 0],),
                       (<size_t>&out[0, 0],), (bits, matrix, bias, out, lists))
    _run_now(_table.bit_inputs, &args, work)


def multiply(const float[:, ::1] a, size_t inner, const float[:, ::1] b, size_t width,
             const float[::1] bias, float[:, ::1] out, bint turned=False):
    """out (rows, ld) = bias + a[:, :inner] b, with b (inner, ld), or `turned`, (width, ld)."""
    cdef rbm_matrix m = _matrix(b, inner, width, turned, bias, out)
    _require(a.shape[0] == out.shape[0] and <size_t>a.shape[1] >= inner, "rows do not fit")
    cdef rbm_multiply_args args = rbm_multiply_args(
        &a[0, 0], a.shape[1], 1, inner, m, width, &bias[0], 1.0, &out[0, 0], out.shape[1],
        a.shape[0])
    cdef size_t work = args.rows * args.inner * width // _table.lanes
    if _is_recording():
        _recorded._add(_table.multiply, &args, sizeof(args), work, -1, (<size_t>&a[0, 0],),
                       (<size_t>&out[0, 0],), (a, b, bias, out))
    _run_now(_table.multiply, &args, work)


def accumulate_dense(const float[:, ::1] visible, const float[:, ::1] hidden, size_t width,
                     float scale, float[:, ::1] gradient):
    """gradient (visible units, ld) += scale visible' hidden, for real-valued visible states."""
    cdef size_t ld = hidden.shape[1]
    _require(visible.shape[0] == hidden.shape[0] and visible.shape[1] >= gradient.shape[0]
             and gradient.shape[1] == <Py_ssize_t>ld and ld % RBM_PAD == 0 and 1 <= width <= ld,
             "states do not fit the gradient")
    cdef rbm_multiply_args args = rbm_multiply_args(
        &visible[0, 0], 1, visible.shape[1], visible.shape[0], rbm_matrix(&hidden[0, 0], ld, 0),
        width, NULL, scale, &gradient[0, 0], ld, gradient.shape[0])
    _run(_table.multiply, &args, args.rows * args.inner * width // _table.lanes)


def accumulate(const uint64_t[:, ::1] visible, const float[:, ::1] hidden, size_t width,
               float scale, float[:, ::1] gradient, uint32_t[::1] count, uint32_t[::1] index,
               float[:, ::1] scaled):
    """gradient (visible units, ld) += scale visible' hidden, for visible states as bits.

    Workspace: count (visible units,), index (visible units * rows,), scaled (rows, ld).
    """
    cdef size_t ld = hidden.shape[1], units = gradient.shape[0]
    cdef rbm_accumulate_args args
    _require(visible.shape[0] == hidden.shape[0] and visible.shape[1] * 64 >= gradient.shape[0]
             and gradient.shape[1] == <Py_ssize_t>ld and ld % RBM_PAD == 0 and 1 <= width <= ld,
             "states do not fit the gradient")
    _require(count.shape[0] >= gradient.shape[0] and scaled.shape[1] == <Py_ssize_t>ld
             and index.shape[0] >= gradient.shape[0] * visible.shape[0]
             and scaled.shape[0] >= hidden.shape[0], "workspace is too small")
    args.phase = rbm_phase(&visible[0, 0], NULL, &hidden[0, 0], visible.shape[0],
                           visible.shape[1])
    args.scale, args.visible, args.width, args.ld = scale, units, width, ld
    args.gradient, args.count, args.index = &gradient[0, 0], &count[0], &index[0]
    args.scaled = &scaled[0, 0]
    _run(_table.accumulate, &args, args.phase.rows * units * width // _table.lanes // 4)


cdef rbm_dense _dense(float[:, ::1] weights, float[:, ::1] velocity, size_t hidden,
                      size_t ld_visible) except *:
    cdef rbm_dense link
    _require(velocity.shape[0] == weights.shape[0] and velocity.shape[1] == weights.shape[1],
             "velocity and weights differ in shape")
    _require(weights.shape[0] >= 1 and 1 <= hidden <= <size_t>weights.shape[1]
             and weights.shape[1] % RBM_PAD == 0 and ld_visible % RBM_PAD == 0
             and ld_visible >= <size_t>weights.shape[0], "the units do not fit the weights")
    link.weights = &weights[0, 0]
    link.velocity = &velocity[0, 0]
    link.visible = weights.shape[0]
    link.hidden = hidden
    link.ld_visible = ld_visible
    link.ld_hidden = weights.shape[1]
    return link


cdef size_t _whole(size_t units):
    return (units + RBM_PAD - 1) // RBM_PAD * RBM_PAD


cdef rbm_rule _rule(tuple rule):
    cdef rbm_rule r
    r.rate, r.momentum, r.decay, r.l1, r.nesterov = rule
    return r


def apply(float[:, ::1] weights, float[:, ::1] velocity, size_t hidden,
          const float[:, ::1] gradient, tuple rule):
    """One step of the update rule, in place; True if all weights are finite.

    rule = (rate, momentum, decay, l1, nesterov).
    """
    cdef rbm_dense link = _dense(weights, velocity, hidden, _whole(weights.shape[0]))
    cdef int finite = 1
    _require(gradient.shape[0] == weights.shape[0] and gradient.shape[1] == weights.shape[1],
             "gradient and weights differ in shape")
    cdef rbm_apply_args args
    args.link, args.rule = link, _rule(rule)
    args.gradient, args.finite = &gradient[0, 0], &finite
    _run(_table.apply, &args, link.visible * hidden)
    return finite != 0


cdef rbm_phase _phase(const rbm_dense *link, tuple phase) except *:
    """Visible states, as bits or float32 (rows, ld), and hidden means (rows, ld)."""
    cdef rbm_phase p
    cdef const uint64_t[:, ::1] bits
    cdef const float[:, ::1] values, hidden
    visible, hidden = phase
    p.rows, p.hidden = hidden.shape[0], NULL
    p.visible, p.values, p.words = NULL, NULL, 0
    _require(visible.shape[0] == hidden.shape[0] and <size_t>hidden.shape[1] == link.ld_hidden,
             "states do not fit the weights")
    if visible.dtype == np.uint64:
        bits = visible
        p.words = bits.shape[1]
        _require(p.words * 64 >= link.visible, "states do not fit the weights")
        if p.rows:
            p.visible = &bits[0, 0]
    else:
        values = visible
        _require(<size_t>values.shape[1] == link.ld_visible, "states do not fit the weights")
        if p.rows:
            p.values = &values[0, 0]
    if p.rows:
        p.hidden = &hidden[0, 0]
    _require(p.rows >= 1, "there are no states")
    return p


def lists_of(size_t visible, size_t rows0, size_t rows1):
    """Length of the workspace `lists` of `update` and `learn`."""
    return rbm_lists_length(visible, rows0, rows1)


cdef _require_workspace(const rbm_dense *link, const rbm_phase *positive,
                        const rbm_phase *negative, const uint32_t[::1] lists,
                        const float[::1] scaled):
    cdef size_t rows0 = positive.rows, rows1 = negative.rows
    _require(<size_t>&lists[0] % 8 == 0, "lists are not words of 64 bits")
    _require((positive.values == NULL) == (negative.values == NULL)
             and positive.words == negative.words, "the phases differ in form")
    _require(<size_t>lists.shape[0] >= rbm_lists_length(link.visible, rows0, rows1)
             and <size_t>scaled.shape[0] >= (rows0 + rows1 + min(rows0, rows1)) * link.ld_hidden,
             "workspace is too small")


def update(float[:, ::1] weights, float[:, ::1] velocity, size_t hidden, tuple positive,
           tuple negative, const float[:, ::1] left, const float[:, ::1] right, tuple rule,
           uint32_t[::1] lists, float[::1] scaled):
    """accumulate both phases (means over their rows), add left' right, apply; True if all is finite.

    positive, negative: (visible states, as bits or float32 (rows, ld), both alike, hidden means
    (rows, ld)). left: (rank, ld of visible), right: (rank, ld of hidden). rule: as `apply` takes
    it. Workspace: lists, as `lists_of` says; scaled ((rows0 + rows1 + min(rows0, rows1)) * ld,).
    """
    cdef rbm_dense link = _dense(weights, velocity, hidden, left.shape[1])
    cdef rbm_low_rank correction
    cdef rbm_update_args args
    cdef int finite = 1
    args.positive, args.negative = _phase(&link, positive), _phase(&link, negative)
    _require_workspace(&link, &args.positive, &args.negative, lists, scaled)
    _require(left.shape[0] == right.shape[0] and right.shape[1] == weights.shape[1],
             "the correction does not fit the weights")
    correction.left = correction.right = link.weights  # not read where the rank is 0
    correction.rank = left.shape[0]
    if correction.rank:
        correction.left = &left[0, 0]
        correction.right = &right[0, 0]
    args.link, args.correction, args.rule = link, correction, _rule(rule)
    args.lists, args.scaled, args.finite = &lists[0], &scaled[0], &finite
    _run(_table.update, &args, _learning(&link, &args.positive, &args.negative))
    return finite != 0


cdef size_t _learning(const rbm_dense *link, const rbm_phase *positive, const rbm_phase *negative):
    """Vector operations of an update."""
    cdef size_t rows = positive.rows + negative.rows
    if positive.values == NULL:
        rows = rows // 16
    return (rows + 8) * link.visible * link.hidden // _table.lanes


def learn_floats(size_t ld_visible, size_t ld_hidden, size_t rows, bint deviations):
    """Length of `vectors`, of which `learn` makes use for phases of so many rows together.

    deviations: whether visible units learn them.
    """
    return RBM_LEARN_FLOATS(ld_visible, ld_hidden, rows, deviations)


cdef float *_units(array, size_t units) except? NULL:
    """A parameter of each unit, float32 of whole vectors; None for none."""
    cdef float[::1] view
    if array is None:
        return NULL
    view = array
    _require(<size_t>view.shape[0] >= units and view.shape[0] % RBM_PAD == 0,
             "parameters of units do not fit the weights")
    return &view[0]


cdef rbm_layer _layer(layer, size_t units) except *:
    cdef rbm_layer l
    (bias, bias_velocity, natural, sigma, log_sigma, log_sigma_velocity,
     l.most_log_sigma) = layer
    l.bias, l.bias_velocity = _units(bias, units), _units(bias_velocity, units)
    l.natural, l.sigma = _units(natural, units), _units(sigma, units)
    l.log_sigma = _units(log_sigma, units)
    l.log_sigma_velocity = _units(log_sigma_velocity, units)
    _require(l.bias != NULL and l.bias_velocity != NULL and (l.natural == NULL) == (l.sigma == NULL)
             and (l.log_sigma == NULL) == (l.log_sigma_velocity == NULL)
             and (l.log_sigma == NULL or l.sigma != NULL), "parameters of units are missing")
    return l


def learn(float[:, ::1] weights, float[:, ::1] velocity, size_t hidden, tuple positive,
          tuple negative, tuple rule, below, above, centering, uint32_t[::1] lists,
          float[::1] scaled, float[::1] vectors):
    """A whole step of a dense link and of the layers it connects; True if all is finite.

    positive, negative, rule, lists, scaled: as of `update`. below, above: (biases, their
    velocities, natural biases and deviations, logarithms of these and their velocities), each
    float32 of the units in whole vectors, or None where a layer has none, and the largest
    magnitude of such a logarithm.
    centering: None, or (visible offsets (ld,), hidden ones (ld,), products of the penalties with
    them, (visible,) and (hidden,), how fast they follow, whether the hidden ones do, whether the
    products are made anew). All of them are changed in place, as parameters and velocities are.
    Workspace: vectors, as `learn_floats` says.
    """
    cdef rbm_learn_args args
    cdef rbm_dense link = _dense(weights, velocity, hidden, len(below[0]))
    cdef size_t lh = link.ld_hidden
    cdef float[::1] offset_visible, offset_hidden, penalty_visible, penalty_hidden
    cdef int finite = 1
    args.positive, args.negative = _phase(&link, positive), _phase(&link, negative)
    args.visible, args.hidden = _layer(below, link.visible), _layer(above, hidden)
    args.link, args.how = link, _how(rule, centering, &finite)
    args.offset_visible = args.offset_hidden = args.penalty_visible = args.penalty_hidden = NULL
    if centering is not None:
        offset_visible, offset_hidden, penalty_visible, penalty_hidden = centering[:4]
        _require(<size_t>offset_visible.shape[0] == link.ld_visible
                 and <size_t>offset_hidden.shape[0] == lh
                 and <size_t>penalty_visible.shape[0] >= link.visible
                 and <size_t>penalty_hidden.shape[0] >= hidden, "offsets do not fit the weights")
        args.offset_visible, args.offset_hidden = &offset_visible[0], &offset_hidden[0]
        args.penalty_visible, args.penalty_hidden = &penalty_visible[0], &penalty_hidden[0]
    cdef size_t rows = args.positive.rows + args.negative.rows
    cdef bint deviations = args.visible.log_sigma != NULL
    _require_workspace(&link, &args.positive, &args.negative, lists, scaled)
    _require(not deviations or args.positive.values != NULL, "bits have no deviations")
    _require(<size_t>vectors.shape[0] >= RBM_LEARN_FLOATS(link.ld_visible, lh, rows, deviations),
             "workspace is too small")
    args.lists, args.scaled, args.vectors = &lists[0], &scaled[0], &vectors[0]
    cdef size_t work = _learning(&link, &args.positive, &args.negative)
    if _is_recording():
        _recorded._add(
            _table.learn, &args, sizeof(args), work, -1,
            (_state_at(&args.positive), <size_t>args.positive.hidden, _state_at(&args.negative),
             <size_t>args.negative.hidden), (),
            (weights, velocity, positive, negative, below, above, centering, lists,
             scaled, vectors), 0, <char *>&args.how - <char *>&args)
    _run_now(_table.learn, &args, work)
    return finite != 0


cdef rbm_learning _how(tuple rule, centering, int *finite):
    """How a step learns; centering: as of `learn`."""
    cdef rbm_learning how
    how.rule, how.decay, how.finite = _rule(rule), rule[2], finite
    how.slide, how.follow_hidden, how.refresh = (0, 0, 0) if centering is None else centering[4:]
    return how


cdef size_t _state_at(const rbm_phase *phase):
    return <size_t>phase.values if phase.values != NULL else <size_t>phase.visible


# Unit kinds.

cdef class Kind:
    """The kernels of a unit kind, or of a family of them, by the name that csrc/units/ gives it.

    Looked up once, for every instruction set. ValueError where there is none of that name.
    """

    cdef size_t _number
    #: The greatest `n` that tells a kind of the family from others; 1 where there is no family.
    cdef readonly size_t most
    #: Whether the states are bits, uint64 (rows, words); else they are float32 (rows, ld).
    cdef readonly bint as_bits
    #: Whether `cumulant_change` knows it.
    cdef readonly bint has_cumulant_change

    def __cinit__(self, str name):
        encoded = name.encode()
        cdef int number = rbm_find_kind(encoded)
        _require(number >= 0, f"there are no kernels of {name!r} units")
        cdef const rbm_kind *kind = &_table.kinds[number]
        self._number = number
        self.most, self.as_bits = kind.most or 1, kind.bits
        self.has_cumulant_change = kind.cumulant_change != NULL


cdef const rbm_kind *_kind(Kind kind):
    return &_table.kinds[kind._number]


cdef const float *_totals(const float[:, ::1] total, size_t units, size_t n, size_t most,
                          mean) except? NULL:
    cdef const float[:, ::1] mean_view
    _require(<size_t>total.shape[1] >= units and total.shape[1] % RBM_PAD == 0,
             "total inputs do not fit the units")
    _require(1 <= n <= most, "no such number of replicas or of units in a group")
    if mean is not None:
        mean_view = mean
        _require(mean_view.shape[0] == total.shape[0] and mean_view.shape[1] == total.shape[1],
                 "means and total inputs differ in shape")
    return &total[0, 0] if total.shape[0] else NULL


cdef float *_floats(array) except? NULL:
    cdef float[:, ::1] view
    if array is None:
        return NULL
    view = array
    return &view[0, 0]


cdef _require_whole(Kind kind, size_t units, size_t n):
    _require(not _kind(kind).groups or units % n == 0, "the units are not whole groups")


def units(Kind kind not None, const float[:, ::1] total, size_t units, size_t n, mean, states,
          draw):
    """Means and draws of units of a kind, given their total inputs (rows, ld).

    n: the number of a family, else 1. mean: float32 (rows, ld), may be `total` itself. states: as
    the kind has them, in memory of their own. Either may be None. draw: (key, step, substep, first
    row), None where no states are asked for.
    """
    cdef rbm_units_args args
    cdef uint64_t[:, ::1] bits
    cdef const float *total_at = _totals(total, units, n, kind.most, mean)
    _require_whole(kind, units, n)
    args.draw = _draw((0, 0, 0, 0) if draw is None else draw)
    if not kind.as_bits:
        _totals(total, units, n, kind.most, states)
    if total.shape[0] == 0:
        return
    args.total, args.rows, args.units, args.ld = total_at, total.shape[0], units, total.shape[1]
    args.n, args.mean, args.states, args.words = n, _floats(mean), NULL, 0
    cdef size_t work = args.rows * units
    if not kind.as_bits:
        args.states = _floats(states)
        _require(args.states == NULL
                 or (args.states != <const void *>total_at and args.states != args.mean),
                 "states need memory of their own")
        work = work * 60 // _table.lanes
    elif states is not None:
        bits = states
        _require(bits.shape[0] == total.shape[0] and <size_t>bits.shape[1] * 64 >= units,
                 "bits do not fit the units")
        args.states, args.words = &bits[0, 0], bits.shape[1]
    cdef rbm_kernel *kernel = _kind(kind).units
    if _is_recording():
        _recorded._add(kernel, &args, sizeof(args), work,
                       <char *>&args.draw - <char *>&args if args.states != NULL else -1,
                       (<size_t>total_at,), (<size_t>args.mean, <size_t>args.states),
                       (total, mean, states), args.rows)
    _run_now(kernel, &args, work)


cdef _replay(rbm_kernel *kernel, const void *args, size_t size, size_t work, tuple read,
             tuple kept, size_t rows):
    """Run a kernel that goes by rows and makes no states, and record it."""
    if _is_recording():
        _recorded._add(kernel, args, size, work, -1, read, (), kept, rows)
    _run_now(kernel, args, work)


def cumulant(Kind kind not None, const float[:, ::1] total, size_t units, size_t n,
             double[::1] out, scale=1.0, double weight=1.0):
    """out[r] += weight times the sum of the cumulants of units, or groups, at scale * total."""
    cdef const float *total_at = _totals(total, units, n, kind.most, None)
    _require(out.shape[0] == total.shape[0], "sums and total inputs differ in rows")
    _require_whole(kind, units, n)
    cdef rbm_cumulant_args args
    cdef float[::1] scales = _scales(scale)
    if total.shape[0]:
        args = rbm_cumulant_args(total_at, total.shape[0], units, total.shape[1], n, &scales[0],
                                 weight, &out[0])
        _replay(_kind(kind).cumulant, &args, sizeof(args), args.rows * units, (<size_t>total_at,),
                (total, scales, out), args.rows)


cdef float[::1] _scales(scale):
    """A number that kernels read when they run: an array of it, or itself."""
    return scale if isinstance(scale, np.ndarray) else np.array([scale], np.float32)


def cumulant_change(Kind kind not None, const float[:, ::1] total, size_t units, size_t n,
                    double[::1] out, const float[::1] beta, double weight=1.0):
    """out[r] += weight times what the sum of the cumulants at scale * total changes by.

    The scale goes from beta[0] to beta[1]. For kinds that have such a kernel.
    """
    cdef const float *total_at = _totals(total, units, n, kind.most, None)
    _require(kind.has_cumulant_change, "there is no such kernel of this kind")
    _require(beta.shape[0] == 2, "there are no two temperatures")
    _require(out.shape[0] == total.shape[0], "sums and total inputs differ in rows")
    _require_whole(kind, units, n)
    cdef rbm_cumulant_change_args args
    if total.shape[0]:
        args = rbm_cumulant_change_args(total_at, total.shape[0], units, total.shape[1], n,
                                        &beta[0], weight, &out[0])
        _replay(_kind(kind).cumulant_change, &args, sizeof(args), args.rows * units,
                (<size_t>total_at,), (total, beta, out), args.rows)


def temper(float[:, ::1] total, const float[::1] beta, const float[::1] reference=None):
    """total (rows, ld) = beta total + (1 - beta) reference, in place; nothing for the reference.

    beta: (rows,), or (1,) for all rows; reference: (ld,).
    """
    cdef rbm_temper_args args
    cdef size_t rows = total.shape[0]
    _require(total.shape[1] % RBM_PAD == 0, "total inputs are not whole vectors")
    _require(beta.shape[0] == total.shape[0] or beta.shape[0] == 1, "betas do not fit the rows")
    if rows == 0:
        return
    args.total, args.rows, args.ld, args.beta = &total[0, 0], rows, total.shape[1], &beta[0]
    args.each, args.reference = beta.shape[0] > 1, NULL
    if reference is not None:
        _require(reference.shape[0] == total.shape[1], "the reference does not fit")
        args.reference = &reference[0]
    _replay(_table.temper, &args, sizeof(args), rows * args.ld // _table.lanes,
            (<size_t>&total[0, 0],), (total, beta, reference), rows)


def sum_tabulated(const float[:, ::1] states, size_t units, const double[::1] table,
                  double[::1] out):
    """out[r] = the sum over units of table values at the states, interpolated between them."""
    cdef const float *states_at = _totals(states, units, 1, 1, None)
    _require(table.shape[0] >= 2 and out.shape[0] == states.shape[0],
             "the table is too short, or sums and states differ in rows")
    cdef rbm_sum_tabulated_args args
    if states.shape[0]:
        args = rbm_sum_tabulated_args(states_at, states.shape[0], units, states.shape[1], &table[0],
                                      table.shape[0], &out[0])
        _run(_table.sum_tabulated, &args, args.rows * units)


def dot_rows(const float[:, ::1] matrix, const float[::1] vector, double[::1] out,
             double[::1] weight=None):
    """out[r] = the sum over columns of matrix (rows, ld) times vector (ld,), in float64.

    Where weight (1,) is given, it times the sum is added to out.
    """
    _require(vector.shape[0] == matrix.shape[1] and out.shape[0] == matrix.shape[0]
             and matrix.shape[1] % RBM_PAD == 0, "columns do not fit")
    cdef rbm_dot_rows_args args
    if matrix.shape[0]:
        args = rbm_dot_rows_args(&matrix[0, 0], matrix.shape[0], matrix.shape[1], &vector[0],
                                 _weight(weight), &out[0])
        _replay(_table.dot_rows, &args, sizeof(args), args.rows * args.ld * 2 // _table.lanes,
                (<size_t>&matrix[0, 0],), (matrix, vector, out, weight), args.rows)


def dot_columns(const float[:, ::1] matrix, size_t width, const float[::1] vector,
                double[::1] out):
    """out[c] = the sum over rows of matrix (rows, ld) times vector (rows,), in float64; c < width."""
    _require(vector.shape[0] >= matrix.shape[0] and matrix.shape[1] % RBM_PAD == 0
             and width <= <size_t>matrix.shape[1] and <size_t>out.shape[0] >= width,
             "rows do not fit")
    cdef rbm_dot_columns_args args
    if matrix.shape[0] and width:
        args = rbm_dot_columns_args(&matrix[0, 0], matrix.shape[0], matrix.shape[1], width,
                                    &vector[0], &out[0])
        _run(_table.dot_columns, &args, args.rows * args.ld * 2 // _table.lanes)


cdef const double *_weight(double[::1] weight) except? NULL:
    if weight is None:
        return NULL
    _require(weight.shape[0] == 1, "there is one weight")
    return &weight[0]


def dot_bits(const uint64_t[:, ::1] bits, size_t units, const float[::1] vector, double[::1] out,
             double[::1] weight=None):
    """The same of the vector's entries (ld,) that row r of `units` bits selects."""
    _require(out.shape[0] == bits.shape[0] and vector.shape[0] % RBM_PAD == 0
             and <size_t>vector.shape[0] >= units and <size_t>bits.shape[1] * 64 >= units,
             "bits do not fit the vector")
    cdef rbm_dot_bits_args args
    if bits.shape[0] and units:
        args = rbm_dot_bits_args(&bits[0, 0], bits.shape[0], bits.shape[1], units, &vector[0],
                                 _weight(weight), &out[0])
        _replay(_table.dot_bits, &args, sizeof(args), args.rows * units * 3 // _table.lanes,
                (<size_t>&bits[0, 0],), (bits, vector, out, weight), args.rows)


def weigh_listed(const uint32_t[::1] start, const uint32_t[::1] index, const float[::1] weight,
                 float[::1] out):
    """out[u] = the sum of weight (rows,) over the rows that list unit u.

    Lists ascend, and their entries lie within `out`.
    """
    _require_lists(start, index, weight.shape[0], out.shape[0])
    with nogil:
        rbm_weigh_listed(&start[0], &index[0], weight.shape[0], &weight[0], out.shape[0], &out[0])


def column_sums(const float[:, ::1] matrix, size_t width, float[::1] out, weight=None):
    """out (ld,) = the sums of the columns, of rows weighted by `weight` (rows,) or alike."""
    cdef const float[::1] weight_view
    cdef const float *weight_at = NULL
    _require(out.shape[0] == matrix.shape[1] and width <= <size_t>matrix.shape[1]
             and matrix.shape[1] % RBM_PAD == 0, "columns do not fit")
    if weight is not None:
        weight_view = weight
        _require(weight_view.shape[0] == matrix.shape[0], "weights and rows differ in number")
        weight_at = &weight_view[0]
    cdef rbm_column_sums_args args = rbm_column_sums_args(
        &matrix[0, 0], matrix.shape[0], matrix.shape[1], width, weight_at, &out[0])
    _run(_table.column_sums, &args, args.rows * width // _table.lanes)


# Convolution. `maps` = (height, width, channels, filter height, filter width, filters, hidden height,
# hidden width): the visible maps, channels last, and the hidden ones, filters last. Weights and
# their gradient are (taps, ld), tap (fy * filter width + fx) * channels + c.

cdef rbm_maps _maps(tuple maps) except *:
    cdef rbm_maps m
    _require(min(maps) >= 1, "there are no maps")
    _require(maps[0] * maps[1] * maps[2] < 1 << 32 and maps[5] * maps[6] * maps[7] < 1 << 32
             and max(maps) < 1 << 32, "the maps are too large")
    (m.height, m.width, m.channels, m.filter_height, m.filter_width, m.filters,
     m.hidden_height, m.hidden_width) = maps
    _require(m.hidden_height + m.filter_height <= m.height + 1
             and m.hidden_width + m.filter_width <= m.width + 1, "filters leave the visible maps")
    return m


cdef size_t _visible(const rbm_maps *maps):
    return maps.height * maps.width * maps.channels


cdef size_t _hidden(const rbm_maps *maps):
    return maps.hidden_height * maps.hidden_width * maps.filters


cdef size_t _taps(const rbm_maps *maps):
    return maps.filter_height * maps.filter_width * maps.channels


cdef _memory(size_t size):
    """Memory for a kernel to work in, from the start of a cache line on.

    MemoryError for so much that offsets of floats, which are of 32 bits, would not reach its end.
    """
    if size >= <size_t>1 << 34:
        raise MemoryError("the maps are too large")
    memory = np.empty(size + 64, np.uint8)
    return memory[-memory.ctypes.data % 64:]


ctypedef size_t (*_inputs_memory)(const rbm_inputs_args *, int) noexcept nogil


cdef size_t _state_of(states, size_t rows, size_t units, const uint64_t **bits, size_t *words,
                      const float **values, size_t *ld) except 0:
    """Where states of so many rows (at least 1) and units are: bits, or float32 (rows, ld)."""
    cdef const uint64_t[:, ::1] as_bits
    cdef const float[:, ::1] as_values
    bits[0], words[0], values[0], ld[0] = NULL, 0, NULL, 0
    _require(<size_t>states.shape[0] == rows, "states differ in rows from what they go with")
    if states.dtype == np.uint64:
        as_bits = states
        bits[0], words[0] = &as_bits[0, 0], as_bits.shape[1]
        _require(words[0] * 64 >= units, "states do not fit the maps")
        _require(rbm_bits_fit(bits[0], rows, words[0], units), "bits beyond the last unit are on")
        return <size_t>bits[0]
    as_values = states
    values[0], ld[0] = &as_values[0, 0], as_values.shape[1]
    _require(ld[0] >= units, "states do not fit the maps")
    return <size_t>values[0]


cdef _run_all(rbm_operation *operations, size_t count, size_t work):
    """Run some kernels, one after the other."""
    cdef rbm_plan_args plan = rbm_plan_args(operations, count)
    _run_now(rbm_walk, &plan, work)


cdef _inputs(rbm_kernel *arrange, rbm_kernel *kernel, _inputs_memory memory_of,
             const float[:, ::1] weights, const rbm_maps *maps, states, size_t seen,
             const float[::1] bias, float[:, ::1] out, size_t units):
    """Total inputs of so many units, given states of others, `seen`."""
    cdef rbm_inputs_args args
    cdef size_t rows = out.shape[0]
    cdef uint8_t[::1] memory
    _require(<size_t>weights.shape[0] == _taps(maps) and <size_t>weights.shape[1] >= maps.filters
             and weights.shape[1] % RBM_PAD == 0, "weights do not fit the maps")
    _require(<size_t>out.shape[1] >= units and out.shape[1] % RBM_PAD == 0
             and bias.shape[0] == out.shape[1], "total inputs do not fit the maps")
    _require(<size_t>states.shape[0] == rows, "states and total inputs differ in rows")
    if rows == 0:
        return
    cdef size_t read = _state_of(states, rows, seen, &args.bits, &args.words, &args.values,
                                 &args.ld_values)
    args.weights, args.maps, args.ld_weights = &weights[0, 0], maps[0], weights.shape[1]
    args.rows, args.bias, args.out, args.ld = rows, &bias[0], &out[0, 0], out.shape[1]
    args.memory = NULL
    memory = _memory(memory_of(&args, _threads))
    args.memory = &memory[0]
    cdef size_t work = rows * _hidden(maps) * _taps(maps) // _table.lanes // 4
    if _is_recording():
        kept = (weights, states, bias, out, memory)
        _recorded._add_early(arrange, &args, sizeof(args), kept)
        _recorded._add(kernel, &args, sizeof(args), work, -1, (read,), (<size_t>&out[0, 0],),
                       kept, rows)
    cdef rbm_operation[2] both = [rbm_operation(arrange, &args, 0), rbm_operation(kernel, &args, 0)]
    _run_all(both, 2, work)


def convolve(const float[:, ::1] weights, tuple maps, states, const float[::1] bias,
             float[:, ::1] out):
    """out (rows, ld) = total inputs of the hidden units, given visible states.

    states: bits, or float32 (rows, ld of visible states). bias: (ld,), that of each hidden unit.
    """
    cdef rbm_maps m = _maps(maps)
    _inputs(_table.arrange_up, _table.convolve, _table.convolve_memory, weights, &m, states,
            _visible(&m), bias, out, _hidden(&m))


def deconvolve(const float[:, ::1] weights, tuple maps, states, const float[::1] bias,
               float[:, ::1] out):
    """out (rows, ld) = total inputs of the visible units, given hidden states.

    states: bits, or float32 (rows, ld of hidden states). bias: (ld,), that of each visible unit.
    """
    cdef rbm_maps m = _maps(maps)
    _inputs(_table.arrange_down, _table.deconvolve, _table.deconvolve_memory, weights, &m, states,
            _hidden(&m), bias, out, _visible(&m))


def correlate(tuple maps, visible0, const float[:, ::1] hidden0, visible1,
              const float[:, ::1] hidden1, float scale0, float scale1, float[:, ::1] gradient,
              bint add=False):
    """gradient (taps, ld) = the sums over rows and positions of v h, times their side's scale.

    visible0, visible1: bits, or float32 (rows, ld of visible states), both alike; hidden0, hidden1:
    (rows, ld). The sides may differ in rows, or have none. add: to what is there.
    """
    cdef rbm_maps m = _maps(maps)
    cdef rbm_correlate_args args
    cdef size_t rows0 = hidden0.shape[0], rows1 = hidden1.shape[0], words, ld, read0, read1 = 0
    _require(<size_t>hidden0.shape[1] >= _hidden(&m) and hidden0.shape[1] % RBM_PAD == 0
             and hidden0.shape[1] == hidden1.shape[1], "hidden states do not fit the maps")
    _require(<size_t>gradient.shape[0] == _taps(&m)
             and <size_t>gradient.shape[1] >= m.filters and gradient.shape[1] % RBM_PAD == 0,
             "the gradient does not fit the maps")
    _require(visible0.dtype == visible1.dtype and visible0.shape[1] == visible1.shape[1],
             "the sides differ in form")
    _require(<size_t>visible0.shape[0] == rows0 and <size_t>visible1.shape[0] == rows1,
             "visible and hidden states differ in rows")
    if rows0 == 0:
        if rows1:
            correlate(maps, visible1, hidden1, visible0, hidden0, scale1, scale0, gradient, add)
        elif not add:
            np.asarray(gradient)[:] = 0
        return
    args.maps, args.memory = m, NULL
    args.sides[1] = rbm_side(NULL, NULL, NULL, 0, 0)
    read0 = _state_of(visible0, rows0, _visible(&m), &args.sides[0].bits, &args.words,
                      &args.sides[0].values, &args.ld_values)
    args.sides[0].hidden, args.sides[0].rows, args.sides[0].scale = &hidden0[0, 0], rows0, scale0
    if rows1:
        read1 = _state_of(visible1, rows1, _visible(&m), &args.sides[1].bits, &words,
                          &args.sides[1].values, &ld)
        args.sides[1].hidden, args.sides[1].rows = &hidden1[0, 0], rows1
        args.sides[1].scale = scale1
    args.ld_hidden, args.gradient, args.ld = hidden0.shape[1], &gradient[0, 0], gradient.shape[1]
    args.add = add
    cdef uint8_t[::1] memory = _memory(_table.correlate_memory(&args, _threads))
    args.memory = &memory[0]
    cdef size_t work = (rows0 + rows1) * _hidden(&m) * _taps(&m) // _table.lanes // 4
    cdef size_t made = <size_t>&gradient[0, 0]
    if _is_recording():
        kept = (visible0, hidden0, visible1, hidden1, gradient, memory)
        read = {read0, <size_t>&hidden0[0, 0]} | ({read1, <size_t>args.sides[1].hidden}
                                                  if rows1 else set())
        _recorded._add_early(_table.arrange_gradient, &args, sizeof(args), kept)
        _recorded._add(_table.correlate, &args, sizeof(args), work, -1, tuple(read), (), kept,
                       max(rows0, rows1))
        _recorded._add(_table.sum_gradient, &args, sizeof(args), 0, -1, (made,) if add else (),
                       (made,), kept)
    cdef rbm_operation[3] all = [rbm_operation(_table.arrange_gradient, &args, 0),
                                 rbm_operation(_table.correlate, &args, 0),
                                 rbm_operation(_table.sum_gradient, &args, 0)]
    _run_all(all, 3, work)


def map_sums(states, size_t positions, size_t maps, float[:, ::1] out):
    """out (rows, ld) = the sums of states over the positions of each of the maps, side by side.

    states: bits, or float32 (rows, ld of states); unit i is of map i % maps.
    """
    cdef rbm_map_sums_args args
    cdef size_t rows = out.shape[0]
    _require(1 <= maps <= <size_t>out.shape[1] and out.shape[1] % RBM_PAD == 0,
             "sums do not fit the maps")
    _require(<size_t>states.shape[0] == rows, "states and sums differ in rows")
    if rows == 0:
        return
    cdef size_t read = _state_of(states, rows, positions * maps, &args.bits, &args.words,
                                 &args.values, &args.ld)
    args.rows, args.positions, args.maps = rows, positions, maps
    args.out, args.ld_out = &out[0, 0], out.shape[1]
    cdef size_t work = rows * positions * maps // _table.lanes
    if _is_recording():
        _recorded._add(_table.map_sums, &args, sizeof(args), work, -1, (read,),
                       (<size_t>&out[0, 0],), (states, out), rows)
    _run_now(_table.map_sums, &args, work)


cdef rbm_map_layer _map_layer(layer, size_t maps, size_t units) except *:
    """(biases, their velocities, of whole vectors, biases of units)."""
    cdef rbm_map_layer l
    bias, velocity, natural = layer
    l.bias, l.bias_velocity = _units(bias, maps), _units(velocity, maps)
    l.natural = _units(natural, units)
    _require(l.bias != NULL and l.bias_velocity != NULL and l.natural != NULL,
             "parameters of maps are missing")
    return l


def learn_maps(float[:, ::1] weights, float[:, ::1] velocity, tuple maps,
               const float[:, ::1] gradient, tuple visible_sums, tuple hidden_sums, tuple rule,
               below, above, centering, sparsity, float[::1] vectors):
    """A whole step of a convolutional link and its layers; True if all is finite.

    gradient: (taps, ld), mean correlations of the data minus those of the model, divided by the
    positions of a filter. visible_sums, hidden_sums: of both phases, `map_sums`. rule: as `apply`
    takes it, without l1 on biases. below, above: (biases, their velocities, those of each unit).
    centering: as of `learn`; the hidden offsets are 0. sparsity: None, or (activity of each hidden
    unit, how fast it follows, target, cost). All are changed in place.
    Workspace: vectors, 3 ld + 2 ld of channels.
    """
    cdef rbm_maps m = _maps(maps)
    cdef rbm_learn_maps_args args
    cdef int finite = 1
    cdef size_t ld = weights.shape[1]
    cdef const float[:, ::1] visible, hidden
    cdef float[::1] activity
    _require(<size_t>weights.shape[0] == _taps(&m) and ld >= m.filters and ld % RBM_PAD == 0
             and velocity.shape[0] == weights.shape[0] and velocity.shape[1] == weights.shape[1]
             and gradient.shape[0] == weights.shape[0] and gradient.shape[1] == weights.shape[1],
             "weights do not fit the maps")
    args.maps, args.weights, args.velocity = m, &weights[0, 0], &velocity[0, 0]
    args.gradient, args.ld, args.how = &gradient[0, 0], ld, _how(rule, centering, &finite)
    args.ld_channels = _whole(m.channels)
    read = [<size_t>args.gradient]
    for p in range(2):
        visible, hidden = visible_sums[p], hidden_sums[p]
        _require(visible.shape[0] >= 1 and visible.shape[0] == hidden.shape[0]
                 and <size_t>visible.shape[1] == args.ld_channels
                 and <size_t>hidden.shape[1] == ld, "sums do not fit the maps")
        args.visible_sums[p], args.hidden_sums[p] = &visible[0, 0], &hidden[0, 0]
        args.rows[p] = visible.shape[0]
        read += [<size_t>args.visible_sums[p], <size_t>args.hidden_sums[p]]
    args.visible = _map_layer(below, m.channels, _visible(&m))
    args.hidden = _map_layer(above, m.filters, _hidden(&m))
    args.offset, args.penalty, args.activity = NULL, NULL, NULL
    args.follow_activity, args.target, args.cost = 0, 0, 0
    if centering is not None:
        args.offset = _units(centering[0], _visible(&m))
        args.penalty = _first(centering[3], _hidden(&m))
    if sparsity is not None:
        args.activity = _first(sparsity[0], _hidden(&m))
        args.follow_activity, args.target, args.cost = sparsity[1:]
    _require(<size_t>vectors.shape[0] >= 3 * ld + 2 * args.ld_channels, "workspace is too small")
    args.vectors = &vectors[0]
    cdef size_t work = (_taps(&m) * ld * 4 + _visible(&m) + _hidden(&m)) // _table.lanes
    if _is_recording():
        _recorded._add(_table.learn_maps, &args, sizeof(args), work, -1, tuple(read), (),
                       (weights, velocity, gradient, visible_sums, hidden_sums, below, above,
                        centering, sparsity, vectors), 0, <char *>&args.how - <char *>&args)
    _run_now(_table.learn_maps, &args, work)
    return finite != 0


cdef float *_first(float[::1] values, size_t units) except NULL:
    """The values of so many units."""
    _require(<size_t>values.shape[0] >= units, "values do not fit the units")
    return &values[0]


# Probabilistic max pooling. `maps` = (hidden height, hidden width, filters, pool); the pooled unit of
# filter k in block (py, px) is (py * (hidden width / pool) + px) * filters + k.

cdef rbm_pool _pool(tuple maps) except *:
    cdef rbm_pool m
    _require(min(maps) >= 1, "there are no maps")
    _require(maps[0] * maps[1] * maps[2] < 1 << 32 and maps[3] < 1 << 32, "the maps are too large")
    m.height, m.width, m.filters, m.pool = maps
    _require(m.pool <= RBM_MOST_POOL, "blocks are too large")
    _require(m.height % m.pool == 0 and m.width % m.pool == 0, "the maps are not whole blocks")
    return m


cdef size_t _pooled_units(const rbm_pool *maps):
    return maps.height // maps.pool * (maps.width // maps.pool) * maps.filters


def pooled(const float[:, ::1] total, tuple maps, mean, bits, draw):
    """Means and draws of units of which at most one a block is on, uint64 (rows, words).

    Like the unit kinds above; one draw a block, with the word of the pooled unit's number.
    """
    cdef rbm_pool m = _pool(maps)
    cdef size_t units = m.height * m.width * m.filters, words = 0
    cdef rbm_draw d = _draw((0, 0, 0, 0) if draw is None else draw)
    cdef uint64_t[:, ::1] bits_view
    cdef uint64_t *bits_at = NULL
    cdef const float *total_at = _totals(total, units, 1, 1, mean)
    if total.shape[0] == 0:
        return
    cdef float *mean_at = _floats(mean)
    if bits is not None:
        bits_view = bits
        words = bits_view.shape[1]
        _require(bits_view.shape[0] == total.shape[0] and words * 64 >= units,
                 "bits do not fit the units")
        bits_at = &bits_view[0, 0]
    cdef rbm_pooled_args args
    args.total, args.rows, args.maps, args.ld = total_at, total.shape[0], m, total.shape[1]
    args.mean, args.bits, args.words, args.draw = mean_at, bits_at, words, d
    if _is_recording():
        _recorded._add(_table.pooled, &args, sizeof(args), args.rows * units,
                       <char *>&args.draw - <char *>&args if bits_at != NULL else -1,
                       (<size_t>total_at,), (<size_t>mean_at, <size_t>bits_at),
                       (total, mean, bits), args.rows)
    _run_now(_table.pooled, &args, args.rows * units)


def pooled_cumulant(const float[:, ::1] total, tuple maps, double[::1] out, scale=1.0,
                    double weight=1.0):
    """out[r] += weight times the sum over blocks of log(1 + sum of exp(scale * total))."""
    cdef rbm_pool m = _pool(maps)
    cdef const float *total_at = _totals(total, m.height * m.width * m.filters, 1, 1, None)
    _require(out.shape[0] == total.shape[0], "sums and total inputs differ in rows")
    cdef rbm_pooled_cumulant_args args
    cdef float[::1] scales = _scales(scale)
    if total.shape[0]:
        args.total, args.rows, args.maps, args.ld = total_at, total.shape[0], m, total.shape[1]
        args.scale, args.weight, args.out = &scales[0], weight, &out[0]
        _replay(_table.pooled_cumulant, &args, sizeof(args), args.rows * args.ld,
                (<size_t>total_at,), (total, scales, out), args.rows)


def pooled_means(const float[:, ::1] means, tuple maps, float[:, ::1] out):
    """out (rows, ld of the pooled units) = the sum of each block's means (rows, ld)."""
    cdef rbm_pool m = _pool(maps)
    cdef const float *means_at = _totals(means, m.height * m.width * m.filters, 1, 1, None)
    _require(out.shape[0] == means.shape[0] and <size_t>out.shape[1] >= _pooled_units(&m),
             "pooled means do not fit the units")
    cdef rbm_pooled_means_args args
    if means.shape[0]:
        args.means, args.rows, args.maps, args.ld = means_at, means.shape[0], m, means.shape[1]
        args.out, args.ld_out = &out[0, 0], out.shape[1]
        _run(_table.pooled_means, &args, args.rows * args.ld // _table.lanes)


def pooled_bits(const uint64_t[:, ::1] bits, tuple maps, uint64_t[:, ::1] out):
    """out (rows, words of the pooled units) = whether a unit of each block is on."""
    cdef rbm_pool m = _pool(maps)
    _require(<size_t>bits.shape[1] * 64 >= m.height * m.width * m.filters
             and <size_t>out.shape[1] * 64 >= _pooled_units(&m) and out.shape[0] == bits.shape[0],
             "bits do not fit the units")
    cdef rbm_pooled_bits_args args
    if bits.shape[0]:
        args.bits, args.rows, args.words, args.maps = &bits[0, 0], bits.shape[0], bits.shape[1], m
        args.out, args.out_words = &out[0, 0], out.shape[1]
        _run(rbm_pooled_bits, &args, args.rows * m.height * m.width * (m.filters // 64 + 1))


use_isa(os.environ.get("RBM_ISA", ""))
