/* Runs kernels on several threads, for ThreadSanitizer, and compares with what one thread makes.
 * usage: race THREADS TIMES KERNEL ... */
#include "rbm_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Small, but of several chunks of each loop; the rows of the phases differ. */
enum {
    VISIBLE = 200,
    HIDDEN = 150,
    LV = 208,
    LH = 160,
    WV = 4,
    WH = 3,
    ROWS = 40,
    OTHERS = 24,
    LISTS = 4 * ROWS * VISIBLE,
    SIDE = 10,
    FILTER = 3,
    FILTERS = 5,
    MAP = SIDE - FILTER + 1,
    TAPS = FILTER * FILTER,
    MAPPED = MAP * MAP * FILTERS,
    LM = 336, /* padded units of the hidden maps */
    LS = 112, /* and of the visible ones */
    WM = 5,
    WS = 2,
};

/* All that kernels read and write; what they wrote is compared as a whole. */
typedef struct {
    uint8_t images[ROWS * VISIBLE];
    int64_t rows[ROWS];
    uint64_t visible[ROWS * WV], hidden[ROWS * WH], reconstructed[ROWS * WV];
    float weights[VISIBLE * LH], velocity[VISIBLE * LH];
    float gradient[VISIBLE * LH];
    float visible_bias[LV], visible_velocity[LV], hidden_bias[LH], hidden_velocity[LH];
    float offset_visible[LV], offset_hidden[LH], penalty_visible[LV], penalty_hidden[LH];
    float up[ROWS * LH], down[ROWS * LV], real[ROWS * LV], again[ROWS * LH];
    float natural[LV], sigma[LV], log_sigma[LV], log_sigma_velocity[LV];
    float filters[TAPS * RBM_PAD], maps[ROWS * LM], pixels[ROWS * LS], map_bias[LM], pixel_bias[LS];
    float again_maps[ROWS * LM];
    uint64_t map_bits[ROWS * WM], pixel_bits[ROWS * WS], again_bits[ROWS * WS];
    float filter_gradient[TAPS * RBM_PAD], filter_velocity[TAPS * RBM_PAD];
    float pixel_sums[2][ROWS * RBM_PAD], map_sums[2][ROWS * RBM_PAD];
    float of_filters[2][RBM_PAD], of_channels[2][RBM_PAD]; /* biases and their velocities */
    float offset_pixels[LS], penalty_maps[LM], activity[LM];
    uint64_t dots[2 * ROWS]; /* float64 */
    int finite;
} world;

/* Workspaces, whose contents may depend on who did what. */
typedef struct {
    uint32_t start[ROWS + 1], index[LISTS];
    float second[ROWS * LH];
    _Alignas(8) uint32_t lists[LISTS];
    float scaled[3 * ROWS * LH], vectors[RBM_LEARN_FLOATS(LV, LH, 2 * ROWS, 1)];
    _Alignas(64) uint8_t memory[1 << 22];
} workspace;

static world of_one, of_several;
static workspace space;
static const rbm_kernels *table;

static uint64_t state = 1;

static uint32_t next_word(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void fill(float *to, size_t rows, size_t ld, size_t width) {
    for (size_t i = 0; i < rows * ld; i++)
        to[i] = i % ld < width ? (float)(next_word() % 2000) / 1000 - 1 : 0;
}

static void fill_bits(uint64_t *to, size_t rows, size_t words, size_t units, unsigned percent) {
    memset(to, 0, rows * words * sizeof *to);
    for (size_t r = 0; r < rows; r++)
        for (size_t u = 0; u < units; u++)
            if (next_word() % 100 < percent)
                to[r * words + u / 64] |= (uint64_t)1 << u % 64;
}

static void begin(world *w) {
    memset(w, 0, sizeof *w);
    state = 1;
    for (size_t i = 0; i < sizeof w->images; i++)
        w->images[i] = (uint8_t)next_word();
    for (size_t r = 0; r < ROWS; r++)
        w->rows[r] = (int64_t)(next_word() % ROWS);
    fill_bits(w->visible, ROWS, WV, VISIBLE, 13);
    fill_bits(w->hidden, ROWS, WH, HIDDEN, 60);
    fill_bits(w->reconstructed, ROWS, WV, VISIBLE, 15);
    fill(w->weights, VISIBLE, LH, HIDDEN);
    fill(w->velocity, VISIBLE, LH, HIDDEN);
    fill(w->visible_bias, 1, LV, VISIBLE);
    fill(w->hidden_bias, 1, LH, HIDDEN);
    fill(w->offset_visible, 1, LV, VISIBLE);
    fill(w->offset_hidden, 1, LH, HIDDEN);
    fill(w->down, ROWS, LV, VISIBLE);
    fill(w->real, ROWS, LV, VISIBLE);
    for (size_t v = 0; v < LV; v++)
        w->sigma[v] = 1;
    fill(w->up, ROWS, LH, HIDDEN);
    fill(w->again, ROWS, LH, HIDDEN);
    fill(w->filters, TAPS, RBM_PAD, FILTERS);
    fill(w->maps, ROWS, LM, MAP * MAP * FILTERS);
    fill(w->pixels, ROWS, LS, SIDE * SIDE);
    fill_bits(w->pixel_bits, ROWS, WS, SIDE * SIDE, 13);
    fill_bits(w->again_bits, ROWS, WS, SIDE * SIDE, 40); /* some rows go as floats */
    fill_bits(w->map_bits, ROWS, WM, MAPPED, 40);
    for (size_t p = 0; p < LS; p++)
        w->offset_pixels[p] = 0.5f;
    w->finite = 1;
}

static rbm_dense dense(world *w) {
    return (rbm_dense){w->weights, w->velocity, VISIBLE, HIDDEN, LV, LH};
}

static const rbm_rule rule = {0.1f, 0.5f, 0.01f, 0, 0};

static rbm_draw draw(uint32_t substep) {
    return (rbm_draw){{1, 2}, 3, substep, 0};
}

static rbm_bit_inputs_args inputs_up(world *w, const uint64_t *bits, float *out) {
    return (rbm_bit_inputs_args){
        .bits = bits,
        .rows = ROWS,
        .words = WV,
        .units = VISIBLE,
        .first = VISIBLE / 128 * 64,
        .matrix = {w->weights, LH, 0},
        .width = HIDDEN,
        .bias = w->hidden_bias,
        .out = out,
        .ld = LH,
        .start = space.start,
        .index = space.index,
        .second = space.second,
    };
}

static rbm_bit_inputs_args inputs_down(world *w, const uint64_t *bits, size_t words) {
    return (rbm_bit_inputs_args){
        .bits = bits,
        .rows = ROWS,
        .words = words,
        .units = HIDDEN,
        .first = HIDDEN,
        .matrix = {w->weights, LH, 1},
        .width = VISIBLE,
        .bias = w->visible_bias,
        .out = w->down,
        .ld = LV,
        .start = space.start,
        .index = space.index,
        .second = space.second,
    };
}

static rbm_learning how(world *w) {
    return (rbm_learning){rule, 0.01, 0.01f, 1, 1, &w->finite};
}

static rbm_learn_args learning(world *w, size_t others) {
    return (rbm_learn_args){
        .link = dense(w),
        .positive = {w->visible, NULL, w->up, ROWS, WV},
        .negative = {w->reconstructed, NULL, w->again, others, WV},
        .how = how(w),
        .offset_visible = w->offset_visible,
        .offset_hidden = w->offset_hidden,
        .penalty_visible = w->penalty_visible,
        .penalty_hidden = w->penalty_hidden,
        .visible = {.bias = w->visible_bias, .bias_velocity = w->visible_velocity},
        .hidden = {.bias = w->hidden_bias, .bias_velocity = w->hidden_velocity},
        .lists = space.lists,
        .scaled = space.scaled,
        .vectors = space.vectors,
    };
}

static void run_lists(world *w, int threads) {
    const rbm_bit_inputs_args args = inputs_up(w, w->visible, w->up);
    rbm_run(table->bit_inputs, &args, threads);
}

static void run_tables(world *w, int threads) {
    const rbm_bit_inputs_args args = inputs_down(w, w->hidden, WH);
    rbm_run(table->bit_inputs, &args, threads);
}

static void run_accumulate(world *w, int threads) {
    const rbm_accumulate_args args = {{w->visible, NULL, w->up, ROWS, WV},
                                      0.5f,
                                      VISIBLE,
                                      HIDDEN,
                                      LH,
                                      w->gradient,
                                      space.lists,
                                      space.index,
                                      space.scaled};
    rbm_run(table->accumulate, &args, threads);
}

static void run_update(world *w, int threads) {
    const rbm_update_args args = {.link = dense(w),
                                  .positive = {w->visible, NULL, w->up, ROWS, WV},
                                  .negative = {w->reconstructed, NULL, w->again, OTHERS, WV},
                                  .rule = rule,
                                  .correction = {w->weights, w->weights, 0},
                                  .lists = space.lists,
                                  .scaled = space.scaled,
                                  .finite = &w->finite};
    rbm_run(table->update, &args, threads);
}

static void run_learn(world *w, int threads) {
    rbm_learn_args args = learning(w, OTHERS);
    rbm_run(table->learn, &args, threads);
    args.how.refresh = 0; /* fewer loops: one meeting less that comes of their number */
    rbm_run(table->learn, &args, threads);
}

/* The same of real values, whose deviations are learned. */
static void run_values(world *w, int threads) {
    rbm_learn_args args = learning(w, OTHERS);
    args.positive = (rbm_phase){NULL, w->down, w->up, ROWS, 0};
    args.negative = (rbm_phase){NULL, w->real, w->again, OTHERS, 0};
    args.visible = (rbm_layer){w->visible_bias, w->visible_velocity,   w->natural, w->sigma,
                               w->log_sigma,    w->log_sigma_velocity, 3};
    rbm_run(table->learn, &args, threads);
}

static void run_all(const rbm_operation *operations, size_t count, int threads) {
    const rbm_plan_args plan = {operations, count};
    rbm_run(rbm_walk, &plan, threads);
}

/* A step of CD-1: each kernel reads what the one before has written. */
static void run_plan(world *w, int threads) {
    const rbm_binarize_args images = {.images = w->images,
                                      .units = VISIBLE,
                                      .index = w->rows,
                                      .rows = ROWS,
                                      .scale = 255,
                                      .how = RBM_SAMPLE,
                                      .draw = draw(0),
                                      .bits = w->visible,
                                      .words = WV};
    const rbm_bit_inputs_args up = inputs_up(w, w->visible, w->up);
    const rbm_bit_inputs_args down = inputs_down(w, w->hidden, WH);
    const rbm_bit_inputs_args again = inputs_up(w, w->reconstructed, w->again);
    const rbm_units_args hidden = {w->up, ROWS, HIDDEN, LH, 1, w->up, w->hidden, WH, draw(1)};
    const rbm_units_args visible = {w->down,          ROWS, VISIBLE, LV, 1, NULL,
                                    w->reconstructed, WV,   draw(2)};
    const rbm_units_args means = {w->again, ROWS, HIDDEN, LH, 1, w->again, NULL, 0, draw(3)};
    const rbm_learn_args learn = learning(w, ROWS);
    rbm_kernel *const bernoulli = table->kinds[rbm_find_kind("bernoulli")].units;
    const rbm_operation operations[] = {
        {table->binarize_u8, &images, ROWS}, {table->bit_inputs, &up, 0},
        {bernoulli, &hidden, ROWS},          {table->bit_inputs, &down, 0},
        {bernoulli, &visible, ROWS},         {table->bit_inputs, &again, 0},
        {bernoulli, &means, ROWS},           {table->learn, &learn, 0},
    };
    run_all(operations, sizeof operations / sizeof *operations, threads);
}

/* Memory of so many bytes, from a place in the workspace on. */
static void *memory_of(size_t place, size_t bytes) {
    if (place + bytes > sizeof space.memory)
        abort();
    return space.memory + place;
}

enum { UP = 0, DOWN = 1 << 20, GRADIENT = 2 << 20 };

static const rbm_maps maps = {SIDE, SIDE, 1, FILTER, FILTER, FILTERS, MAP, MAP};

static rbm_inputs_args to_maps(world *w, const uint64_t *bits, float *out, int threads) {
    rbm_inputs_args args = {.weights = w->filters,
                            .maps = maps,
                            .ld_weights = RBM_PAD,
                            .bits = bits,
                            .words = WS,
                            .rows = ROWS,
                            .bias = w->map_bias,
                            .out = out,
                            .ld = LM};
    args.memory = memory_of(UP, table->convolve_memory(&args, threads));
    return args;
}

/* From bits, or from values where these are null. */
static rbm_inputs_args to_pixels(world *w, const uint64_t *bits, int threads) {
    rbm_inputs_args args = {.weights = w->filters,
                            .maps = maps,
                            .ld_weights = RBM_PAD,
                            .bits = bits,
                            .words = WM,
                            .values = w->maps,
                            .ld_values = LM,
                            .rows = ROWS,
                            .bias = w->pixel_bias,
                            .out = w->pixels,
                            .ld = LS};
    args.memory = memory_of(DOWN, table->deconvolve_memory(&args, threads));
    return args;
}

static rbm_correlate_args correlating(world *w, size_t others, int threads) {
    rbm_correlate_args args = {.maps = maps,
                               .sides = {{w->pixel_bits, NULL, w->maps, ROWS, 0.5f},
                                         {w->again_bits, NULL, w->again_maps, others, -0.3f}},
                               .words = WS,
                               .ld_hidden = LM,
                               .gradient = w->filter_gradient,
                               .ld = RBM_PAD};
    args.memory = memory_of(GRADIENT, table->correlate_memory(&args, threads));
    return args;
}

static void run_convolve(world *w, int threads) {
    const rbm_inputs_args args = to_maps(w, w->again_bits, w->maps, threads);
    const rbm_operation operations[] = {{table->arrange_up, &args, 0},
                                        {table->convolve, &args, ROWS}};
    run_all(operations, 2, threads);
}

static void run_deconvolve(world *w, int threads) {
    const rbm_inputs_args args = to_pixels(w, w->map_bits, threads);
    const rbm_operation operations[] = {{table->arrange_down, &args, 0},
                                        {table->deconvolve, &args, ROWS}};
    run_all(operations, 2, threads);
}

static void run_correlation(const rbm_correlate_args *args, int threads) {
    const rbm_operation operations[] = {{table->arrange_gradient, args, 0},
                                        {table->correlate, args, ROWS},
                                        {table->sum_gradient, args, 0}};
    run_all(operations, 3, threads);
}

static void run_correlate(world *w, int threads) {
    const rbm_correlate_args args = correlating(w, OTHERS, threads);
    run_correlation(&args, threads);
}

/* The same of real-valued states. */
static void run_reals(world *w, int threads) {
    const rbm_inputs_args args = to_pixels(w, NULL, threads);
    const rbm_operation operations[] = {{table->arrange_down, &args, 0},
                                        {table->deconvolve, &args, ROWS}};
    run_all(operations, 2, threads);
    rbm_correlate_args both = correlating(w, OTHERS, threads);
    both.sides[0] = (rbm_side){NULL, w->pixels, w->maps, ROWS, 0.5f};
    both.sides[1] = (rbm_side){NULL, w->pixels, w->again_maps, OTHERS, -0.3f};
    both.ld_values = LS;
    run_correlation(&both, threads);
}

/* A step of CD-1: kernels that go by rows run one after the other, and do not meet. */
static void run_filters(world *w, int threads) {
    const rbm_inputs_args up = to_maps(w, w->pixel_bits, w->maps, threads);
    const rbm_inputs_args down = to_pixels(w, w->map_bits, threads);
    const rbm_inputs_args again = to_maps(w, w->again_bits, w->again_maps, threads);
    const rbm_pool pool = {MAP, MAP, FILTERS, 2};
    const rbm_pooled_args hidden = {w->maps, ROWS, pool, LM, w->maps, w->map_bits, WM, draw(1)};
    const rbm_units_args visible = {w->pixels, ROWS,          SIDE * SIDE, LS,     1,
                                    NULL,      w->again_bits, WS,          draw(2)};
    const rbm_pooled_args means = {w->again_maps, ROWS, pool, LM, w->again_maps, NULL, 0, draw(3)};
    rbm_map_sums_args sums[4];
    for (size_t p = 0; p < 2; p++) {
        sums[p] = (rbm_map_sums_args){.bits = p ? w->again_bits : w->pixel_bits,
                                      .rows = ROWS,
                                      .words = WS,
                                      .positions = SIDE * SIDE,
                                      .maps = 1,
                                      .out = w->pixel_sums[p],
                                      .ld_out = RBM_PAD};
        sums[2 + p] = (rbm_map_sums_args){.values = p ? w->again_maps : w->maps,
                                          .rows = ROWS,
                                          .ld = LM,
                                          .positions = MAP * MAP,
                                          .maps = FILTERS,
                                          .out = w->map_sums[p],
                                          .ld_out = RBM_PAD};
    }
    const rbm_correlate_args correlated = correlating(w, ROWS, threads);
    const rbm_learn_maps_args learn = {
        .maps = maps,
        .weights = w->filters,
        .velocity = w->filter_velocity,
        .gradient = w->filter_gradient,
        .ld = RBM_PAD,
        .ld_channels = RBM_PAD,
        .visible_sums = {w->pixel_sums[0], w->pixel_sums[1]},
        .hidden_sums = {w->map_sums[0], w->map_sums[1]},
        .rows = {ROWS, ROWS},
        .how = how(w),
        .offset = w->offset_pixels,
        .penalty = w->penalty_maps,
        .visible = {w->of_channels[0], w->of_channels[1], w->pixel_bias},
        .hidden = {w->of_filters[0], w->of_filters[1], w->map_bias},
        .activity = w->activity,
        .follow_activity = 0.1f,
        .target = 0.1f,
        .cost = 0.1f,
        .vectors = space.vectors};
    rbm_kernel *const bernoulli = table->kinds[rbm_find_kind("bernoulli")].units;
    const rbm_operation operations[] = {
        {table->arrange_up, &up, 0},           {table->arrange_down, &down, 0},
        {table->arrange_up, &again, 0},        {table->arrange_gradient, &correlated, 0},
        {table->convolve, &up, ROWS},          {table->pooled, &hidden, ROWS},
        {table->deconvolve, &down, ROWS},      {bernoulli, &visible, ROWS},
        {table->convolve, &again, ROWS},       {table->pooled, &means, ROWS},
        {table->map_sums, &sums[0], ROWS},     {table->map_sums, &sums[1], ROWS},
        {table->map_sums, &sums[2], ROWS},     {table->map_sums, &sums[3], ROWS},
        {table->correlate, &correlated, ROWS}, {table->sum_gradient, &correlated, 0},
        {table->learn_maps, &learn, 0},
    };
    run_all(operations, sizeof operations / sizeof *operations, threads);
}

/* Loops one after another, more than there are counters for between two meetings. */
static void loops(const void *args, rbm_worker *me) {
    world *w = *(world *const *)args;
    for (unsigned turn = 0; turn < 11; turn++) {
        EACH(me, 3, 2 * ROWS, i)
        w->dots[i] = w->dots[i] * 3 + i;
        rbm_meet(me);
        EACH(me, 2, ROWS, i)
        w->rows[i] += (int64_t)w->dots[2 * ROWS - 1 - i];
        EACH(me, 1, ROWS, i)
        w->images[i]++;
        rbm_meet(me);
    }
}

static void run_loops(world *w, int threads) {
    rbm_run(loops, &w, threads);
}

/* Each thread reads what another has written, having met it, or not: the latter is what the
 * sanitizer has to see. */
static void told(const void *args, rbm_worker *me) {
    world *w = *(world *const *)args;
    w->rows[me->thread] = 1;
    rbm_meet(me);
    w->dots[me->thread] = (uint64_t)w->rows[(me->thread + 1) % me->threads];
}

static void untold(const void *args, rbm_worker *me) {
    world *w = *(world *const *)args;
    w->rows[me->thread] = 1;
    w->dots[me->thread] = (uint64_t)w->rows[(me->thread + 1) % me->threads];
}

static void run_told(world *w, int threads) {
    rbm_run(told, &w, threads);
}

static void run_untold(world *w, int threads) {
    rbm_run(untold, &w, threads);
}

static const struct {
    const char *name;
    void (*run)(world *, int);
} kernels[] = {
    {"lists", run_lists},         {"tables", run_tables},     {"accumulate", run_accumulate},
    {"update", run_update},       {"learn", run_learn},       {"values", run_values},
    {"plan", run_plan},           {"convolve", run_convolve}, {"deconvolve", run_deconvolve},
    {"correlate", run_correlate}, {"reals", run_reals},       {"loops", run_loops},
    {"told", run_told},           {"untold", run_untold},     {"filters", run_filters},
};

/* What threads made by number has no part in the comparison. */
static int depends_on_threads(const char *name) {
    return !strcmp(name, "told") || !strcmp(name, "untold");
}

static int try(size_t k, int threads, int times) {
    begin(&of_one);
    begin(&of_several);
    for (int i = 0; i < times; i++) {
        kernels[k].run(&of_one, 1);
        kernels[k].run(&of_several, threads);
    }
    if (depends_on_threads(kernels[k].name) || !memcmp(&of_one, &of_several, sizeof of_one))
        return 0;
    fprintf(stderr, "race: %s depends on the number of threads\n", kernels[k].name);
    return 1;
}

int main(int argc, char **argv) {
    int threads = argc > 3 ? atoi(argv[1]) : 0, times = argc > 3 ? atoi(argv[2]) : 0, failed = 0;
    table = rbm_select("baseline");
    if (threads < 2 || times < 1 || rbm_make_threads(threads, 0) != threads)
        return 2;
    for (int i = 3; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof kernels / sizeof *kernels && strcmp(argv[i], kernels[k].name))
            k++;
        if (k == sizeof kernels / sizeof *kernels)
            return 2;
        failed |= try(k, threads, times);
    }
    return failed;
}
