/* Parts of a matrix, turned: a row of the part for each of its columns. */

/* to[c * ld_to + r] = from[r * ld + c] over whole vectors of `rows` rows, LANES of which are looked
 * at, and `columns` columns. What is beyond these rows is 0, what is beyond these columns any value
 * of the rows' padding. */
INLINE void turn_vector(const float *from, size_t ld, size_t rows, size_t columns, float *to,
                        size_t ld_to) {
    for (size_t c = 0; c < columns; c += LANES) {
        vfloat block[LANES];
        for (size_t r = 0; r < LANES; r++)
            block[r] = r < rows ? load(from + r * ld + c) : (vfloat){0};
        transpose_block(block);
        for (size_t r = 0; r < LANES; r++)
            store(to + (c + r) * ld_to, block[r]);
    }
}

/* The same of `vectors` vectors of rows. */
INLINE void turn(const float *from, size_t ld, size_t rows, size_t columns, size_t vectors,
                 float *to, size_t ld_to) {
    for (size_t v = 0; v < vectors; v++) {
        size_t r = v * LANES;
        turn_vector(from + (r < rows ? r : 0) * ld, ld, r < rows ? rows - r : 0, columns, to + r,
                    ld_to);
    }
}
