/* What csrc/team.c asks of OpenMP; runtime.c answers. */
int omp_get_thread_num(void);
int omp_get_num_threads(void);
