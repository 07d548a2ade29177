/* Softmax units: of each group of n neighbouring units exactly one is on. */

#ifdef KIND
KIND("softmax", .most = MOST_GROUP, .groups = 1, .bits = 1, .units = softmax,
     .cumulant = softmax_cumulant)
#else

#define MOST_GROUP 1024 /* units in a group */

/* exp(scale * total - the greatest of the group) over `columns` units, which are whole groups. */
INLINE void exponentiate(const float *total, size_t columns, size_t n, float scale, float *out,
                         float *greatest) {
    for (size_t g = 0; g < columns; g += n) {
        float most = scale * total[g];
        for (size_t i = g + 1; i < g + n; i++)
            most = scale * total[i] > most ? scale * total[i] : most;
        greatest[g / n] = most;
        for (size_t i = g; i < g + n; i++)
            out[i] = scale * total[i] - most;
    }
    for (size_t i = 0; i < columns; i += LANES)
        store(out + i, decay(load(out + i)));
}

INLINE double sum_in_order(const float *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

/* Units are worked on in as many whole groups as MOST_GROUP units hold. */
#define CHUNK(n) (MOST_GROUP / (n) * (n))

/* One of n by inversion: the number of them whose cumulative weight lies at or below. */
INLINE size_t choose_one(const float *weight, size_t n, double threshold) {
    double sum = weight[0];
    size_t one = 0;
    while (one < n - 1 && sum <= threshold)
        sum += weight[++one];
    return one;
}

static void softmax(const void *args, rbm_worker *me) {
    const rbm_units_args a = *(const rbm_units_args *)args;
    const stream s = open_stream(&a.draw);
    const float *total = a.total;
    float *mean = a.mean;
    uint64_t *bits = a.states;
    size_t units = a.units, ld = a.ld, n = a.n, words = a.words;
    EACH_ROW(me, 8, a.rows, r) {
        uint64_t *row = bits ? bits + r * words : NULL;
        uint32_t drawn[DRAWN];
        size_t drawn_from = units; /* unit of drawn[0]; none yet */
        if (row)
            memset(row, 0, words * sizeof *row);
        for (size_t first = 0; first < units; first += CHUNK(n)) {
            float weight[MOST_GROUP + LANES] = {0}, greatest[MOST_GROUP];
            size_t columns = units - first < CHUNK(n) ? units - first : CHUNK(n);
            exponentiate(total + r * ld + first, columns, n, 1.0f, weight, greatest);
            for (size_t g = 0; g < columns; g += n) {
                double sum = sum_in_order(weight + g, n);
                if (row) { /* with the uniform of the group's first unit */
                    size_t unit = first + g, block = unit / DRAWN * DRAWN;
                    if (block != drawn_from) {
                        vword fresh[2];
                        philox(&s, (uint32_t)r, (uint32_t)block, fresh);
                        memcpy(drawn, fresh, sizeof drawn);
                        drawn_from = block;
                    }
                    double middle = ((double)(drawn[unit - block] >> 8) + 0.5) * 0x1p-24;
                    size_t on = unit + choose_one(weight + g, n, middle * sum);
                    row[on / 64] |= UINT64_C(1) << on % 64;
                }
                if (mean)
                    for (size_t i = g; i < g + n; i++)
                        mean[r * ld + first + i] = weight[i] / (float)sum;
            }
        }
        if (mean)
            memset(mean + r * ld + units, 0, (ld - units) * sizeof *mean);
    }
}

static void softmax_cumulant(const void *args, rbm_worker *me) {
    const rbm_cumulant_args a = *(const rbm_cumulant_args *)args;
    size_t units = a.units, n = a.n;
    EACH_ROW(me, 8, a.rows, r) {
        double sum = 0;
        for (size_t first = 0; first < units; first += CHUNK(n)) {
            float values[MOST_GROUP + LANES] = {0}, greatest[MOST_GROUP];
            size_t columns = units - first < CHUNK(n) ? units - first : CHUNK(n);
            exponentiate(a.total + r * a.ld + first, columns, n, *a.scale, values, greatest);
            for (size_t g = 0; g < columns; g += n) {
                vfloat of_group = logarithm(splat((float)sum_in_order(values + g, n)));
                sum += (double)greatest[g / n] + (double)of_group[0];
            }
        }
        a.out[r] += a.weight * sum;
    }
}

#endif
