/* Smoothing and bilinear sampling of images of 8 bits: the quick twin of resample_pure.py, which gives the same bits.

What is computed is defined by whole numbers, so that both agree whatever the processor, the compiler and the order of
sums. Only the positions are computed in double precision, by the same operations in the same order (which is why this
file must be compiled without fused multiply-adds: -ffp-contract=off):

  smoothing   down the columns with weights in 1/256, then along the rows with weights in 1/65536 whose products are
              cut off to whole 1/128 of a grey level; at the image's border it is mirrored about its last pixel
  sampling    positions and weights in 1/128 of a pixel; the four products are summed exactly and rounded once

No Python in here: it is called through ctypes, which gives up the interpreter's lock. There is no global state, and
the scratch memory lives as long as a call. */

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD != 0
#error "Positions must be computed in double precision, no less and no more: take resample_pure.py on this machine."
#endif

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#include <immintrin.h>
#define HAS_WIDE 1
#define WIDE __attribute__((target("avx2")))
#if defined(__clang__)
#define WIDEST __attribute__((target("avx2,avx512bw,avx512vl,avx512dq")))
#else /* GCC takes vectors of 256 bits unless asked for more */
#define WIDEST __attribute__((target("avx2,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")))
#endif
#define INLINE static inline __attribute__((always_inline))
#else
#define HAS_WIDE 0
#define INLINE static inline
#endif

#if defined(_WIN32)
#define PUBLIC __declspec(dllexport)
#elif defined(__GNUC__) || defined(__clang__)
#define PUBLIC __attribute__((visibility("default")))
#else
#define PUBLIC
#endif

enum { REFLECTION = 0, BORDER = 1, ZEROS = 2 };     /* pad modes */
enum { DONE = 0, NO_MEMORY = -1, TOO_LARGE = -2 };  /* what a call returns */
enum { SHIFT = 7, ONE = 1 << SHIFT };               /* positions and weights: 1/128 of a pixel */
enum { LARGEST_SIDE = 1 << 21 };                    /* pixels: twice a side in 1/128 fits 32 bits */
enum { READ_BEYOND = 16 };                          /* bytes that vectors read or write beyond what they need */
#define FAR 1073741824.0  /* 1/128 of a pixel; farther positions lie there, and those that are no number at -FAR */
#define CENTRE 63.5       /* of the first pixel, less 1/2, for the nearest whole number and not the one below */
#define HORIZON 1e-6      /* of the centre's depth: what lies farther, or behind, is seen as if it lay there */
/* Levels are held as signed bytes, less 128: the processor multiplies signed bytes by unsigned weights of 0 to 128. */
enum { SIGN = 128, ROUND = (SIGN << (2 * SHIFT)) + (1 << (2 * SHIFT - 1)) };

typedef struct {
    const uint8_t *pixels;
    ptrdiff_t stride; /* bytes from row to row */
    int32_t height, width, channels;
    /* Weights of the neighbours next to a pixel and of those beyond, both 0 without smoothing. */
    uint16_t down_1, down_2;     /* 1/256 */
    uint16_t across_1, across_2; /* 1/65536 */
} Image;

typedef struct {
    Image image;
    double to_source[9]; /* of continuous pixels, divided by the depth at the output's centre */
    int32_t is_smoothing_only, pad_mode, height, width;
    uint8_t *pixels;    /* [height, width, channels], or */
    float *values;      /* [height, width, channels], looked up in */
    const float *table; /* [channels, 256] */
    /* Scratch: */
    int8_t *smoothed; /* the image as it is sampled, row by row when first needed; a ring of black about it for ZEROS */
    ptrdiff_t smoothed_stride;
    uint8_t *is_smoothed;
    int32_t *x, *y;  /* of a row of the output */
    uint32_t *offsets, *across, *down; /* bytes into `smoothed`; pairs of weights */
    uint16_t *line;
    uint8_t *row;
} Job;

/* ---- smoothing ---- */

INLINE int32_t mirrored(int32_t at, int32_t n) {
    while (at < 0 || at >= n) {
        if (n == 1) return 0;
        at = at < 0 ? -at : 2 * n - 2 - at;
    }
    return at;
}

INLINE uint16_t high(uint16_t a, uint16_t b) { return (uint16_t)(((uint32_t)a * b) >> 16); }

/* Row `at`, smoothed down the columns, in 1/128 of a grey level. */
INLINE void smooth_down(const Image *image, int32_t at, uint16_t *restrict out) {
    const int32_t n = image->width * image->channels;
    const uint16_t w1 = image->down_1, w2 = image->down_2, w0 = (uint16_t)(256 - 2 * w1 - 2 * w2);
    const uint8_t *p[5];
    for (int k = 0; k < 5; k++) p[k] = image->pixels + mirrored(at + k - 2, image->height) * image->stride;
    const uint8_t *restrict a = p[0], *restrict b = p[1], *restrict c = p[2], *restrict d = p[3], *restrict e = p[4];
    if (w2)
        for (int32_t k = 0; k < n; k++) {
            uint16_t sum = (uint16_t)((uint16_t)(a[k] + e[k]) * w2 + (uint16_t)(b[k] + d[k]) * w1 + c[k] * w0);
            out[k] = sum >> 1;
        }
    else if (w1)
        for (int32_t k = 0; k < n; k++) {
            uint16_t sum = (uint16_t)((uint16_t)(b[k] + d[k]) * w1 + c[k] * w0);
            out[k] = sum >> 1;
        }
    else
        for (int32_t k = 0; k < n; k++) out[k] = (uint16_t)(c[k] << 7);
}

/* A line in 1/128 of a grey level, with room for two pixels before and after it, smoothed along it. */
INLINE void smooth_across(const Image *image, uint16_t *restrict line, uint8_t flip, uint8_t *restrict out) {
    const int32_t c = image->channels, n = image->width * c;
    const uint16_t w1 = image->across_1, w2 = image->across_2;
    const uint16_t w0 = w1 | w2 ? (uint16_t)(65536 - 2 * w1 - 2 * w2) : 65535;
    const uint16_t *restrict at = line + 2 * c;
    for (int32_t k = 1; k <= 2; k++)
        for (int32_t j = 0; j < c; j++) {
            line[(2 - k) * c + j] = at[mirrored(-k, image->width) * c + j];
            line[(1 + k) * c + n + j] = at[mirrored(image->width - 1 + k, image->width) * c + j];
        }
    if (w2)
        for (int32_t k = 0; k < n; k++) {
            uint16_t sum = (uint16_t)(high((uint16_t)(at[k - 2 * c] + at[k + 2 * c]), w2) +
                                      high((uint16_t)(at[k - c] + at[k + c]), w1) + high(at[k], w0));
            out[k] = (uint8_t)((uint16_t)(sum + 65) >> 7) ^ flip;
        }
    else if (w1)
        for (int32_t k = 0; k < n; k++) {
            uint16_t sum = (uint16_t)(high((uint16_t)(at[k - c] + at[k + c]), w1) + high(at[k], w0));
            out[k] = (uint8_t)((uint16_t)(sum + 65) >> 7) ^ flip;
        }
    else
        for (int32_t k = 0; k < n; k++) out[k] = (uint8_t)((uint16_t)(at[k] + 64) >> 7) ^ flip;
}

/* Row `at` of the image, smoothed; `flip` is SIGN for signed bytes, 0 for pixels. */
INLINE void smooth_row(const Image *image, int32_t at, uint16_t *line, uint8_t flip, uint8_t *restrict out) {
    if (image->down_1 | image->down_2 | image->across_1 | image->across_2) {
        smooth_down(image, at, line + 2 * image->channels);
        smooth_across(image, line, flip, out);
        return;
    }
    const uint8_t *restrict pixels = image->pixels + at * image->stride;
    for (int32_t k = 0; k < image->width * image->channels; k++) out[k] = pixels[k] ^ flip;
}

/* ---- sampling ---- */

/* The lesser and the greater of two; of the second where the first is no number. */
INLINE double below(double value, double most) { return value < most ? value : most; }
INLINE double above(double value, double least) { return value > least ? value : least; }
INLINE int32_t from_centre(double at) { return (int32_t)(at + (FAR - CENTRE)) - (int32_t)FAR; }
INLINE double bounded(double at) { return below(above(at, ONE - FAR), FAR - ONE); }
INLINE int is_near(double at) { return at > -FAR / 2 && at < FAR / 2; }

/* Where the pixels of row `y` of the output lie in the source, in 1/128 of a pixel from the centre of its first one. */
INLINE void locate(const Job *job, int32_t y, int32_t *restrict to_x, int32_t *restrict to_y) {
    const double *m = job->to_source, down = y + 0.5;
    const double ux = m[0] * ONE, vx = m[3] * ONE, wx = m[6];
    const double u0 = (m[1] * down + m[2]) * ONE, v0 = (m[4] * down + m[5]) * ONE, w0 = m[7] * down + m[8];
    const int32_t n = job->width;
    int is_simple = 1; /* between ends that are in sight a row is so, too: along it positions grow, or they shrink */
    for (int end = 0; end < 2; end++) {
        const double across = end ? n - 0.5 : 0.5, depth = wx * across + w0;
        is_simple &= depth > HORIZON && is_near((ux * across + u0) / depth) && is_near((vx * across + v0) / depth);
    }
    if (is_simple && wx == 0.0 && w0 == 1.0) /* the same as below, where a product with 1 is exact */
        for (int32_t k = 0; k < n; k++) {
            const double across = k + 0.5;
            to_x[k] = from_centre(ux * across + u0);
            to_y[k] = from_centre(vx * across + v0);
        }
    else if (is_simple)
        for (int32_t k = 0; k < n; k++) {
            const double across = k + 0.5, near = 1.0 / (wx * across + w0);
            to_x[k] = from_centre((ux * across + u0) * near);
            to_y[k] = from_centre((vx * across + v0) * near);
        }
    else
        for (int32_t k = 0; k < n; k++) {
            const double across = k + 0.5, near = 1.0 / above(wx * across + w0, HORIZON);
            to_x[k] = from_centre(bounded((ux * across + u0) * near));
            to_y[k] = from_centre(bounded((vx * across + v0) * near));
        }
}

/* Bring positions along a side of `n` pixels into it. */
INLINE void bring_inside(int32_t *restrict at, int32_t count, int32_t n, int32_t pad_mode) {
    int32_t last = (n - 1) * ONE, least = at[0], most = at[0];
    for (int32_t k = 0; k < count; k++) {
        least = at[k] < least ? at[k] : least;
        most = at[k] > most ? at[k] : most;
    }
    if (least >= 0 && most <= last && pad_mode != ZEROS) return;
    if (pad_mode == REFLECTION) {
        if (least < -n * ONE || most >= 2 * n * ONE)
            for (int32_t k = 0; k < count; k++) {
                const int32_t rest = at[k] % (2 * n * ONE);
                at[k] = rest < 0 ? rest + 2 * n * ONE : rest;
            }
        for (int32_t k = 0; k < count; k++) {
            int32_t t = at[k] < 0 ? -ONE - at[k] : at[k];
            at[k] = t > last ? 2 * last + ONE - t : t;
        }
    }
    const int32_t ring = pad_mode == ZEROS ? ONE : 0;
    last += 2 * ring;
    for (int32_t k = 0; k < count; k++) {
        int32_t t = at[k] + ring;
        t = t < 0 ? 0 : t;
        at[k] = t > last ? last : t;
    }
}

/* Turn positions into offsets and pairs of weights; return the first and the last row that is read. */
INLINE void weigh(Job *job, int32_t *first, int32_t *last) {
    const Image *image = &job->image;
    const int32_t ring = job->pad_mode == ZEROS ? 2 : 0, c = image->channels, n = job->width;
    const int32_t most_x = image->width + ring > 1 ? image->width + ring - 2 : 0;
    const int32_t most_y = image->height + ring > 1 ? image->height + ring - 2 : 0;
    int32_t *restrict x = job->x, *restrict y = job->y;
    uint32_t *restrict offsets = job->offsets, *restrict across = job->across, *restrict down = job->down;
    const uint32_t stride = (uint32_t)job->smoothed_stride;
    bring_inside(x, n, image->width, job->pad_mode);
    bring_inside(y, n, image->height, job->pad_mode);
    int32_t least = most_y, most = 0;
    for (int32_t k = 0; k < n; k++) {
        const int32_t column = x[k] >> SHIFT < most_x ? x[k] >> SHIFT : most_x;
        const int32_t row = y[k] >> SHIFT < most_y ? y[k] >> SHIFT : most_y;
        const uint32_t right = (uint32_t)(x[k] - column * ONE), below_it = (uint32_t)(y[k] - row * ONE);
        least = row < least ? row : least;
        most = row > most ? row : most;
        offsets[k] = (uint32_t)row * stride + (uint32_t)(column * c);
        across[k] = ((ONE - right) | right << 8) * 0x10001u;
        down[k] = (ONE - below_it) | below_it << 16;
    }
    *first = least;
    *last = most + 1;
}

INLINE void sample_pixels(const Job *job, int32_t from, int32_t n_channels) {
    for (int32_t k = from; k < job->width; k++) {
        const int8_t *top = job->smoothed + job->offsets[k], *under = top + job->smoothed_stride;
        const int32_t right = job->across[k] >> 8 & 255, left = ONE - right;
        const int32_t lower = job->down[k] >> 16, upper = ONE - lower;
        for (int32_t c = 0; c < n_channels; c++) {
            const int32_t sum = (top[c] * left + top[c + n_channels] * right) * upper +
                                (under[c] * left + under[c + n_channels] * right) * lower;
            job->row[k * n_channels + c] = (uint8_t)((sum + ROUND) >> (2 * SHIFT));
        }
    }
}

#if HAS_WIDE
/* Two pixels at once, of which each channel takes two bytes from the row above and two from the one below. */
WIDE INLINE __m256i two_pixels(const int8_t *above, const int8_t *under, uint32_t a, uint32_t b, __m256i pairs) {
    const __m128 none = _mm_setzero_ps();
    const __m128 low = _mm_loadh_pi(_mm_loadl_pi(none, (const __m64 *)(above + a)), (const __m64 *)(under + a));
    const __m128 high = _mm_loadh_pi(_mm_loadl_pi(none, (const __m64 *)(above + b)), (const __m64 *)(under + b));
    return _mm256_shuffle_epi8(_mm256_castps_si256(_mm256_set_m128(high, low)), pairs);
}

WIDE INLINE __m256i weighted(__m256i pixels, __m256i across, __m256i down) {
    const __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(across, pixels), down);
    return _mm256_srai_epi32(_mm256_add_epi32(sums, _mm256_set1_epi32(ROUND)), 2 * SHIFT);
}

/* Pixels of three or four channels, eight at a time; return how many are done. */
WIDE INLINE int32_t sample_eights(const Job *job, int32_t n_channels) {
    const int8_t *above = job->smoothed, *under = above + job->smoothed_stride;
    const uint32_t *restrict o = job->offsets;
    const int32_t n = job->width;
    uint8_t *restrict row = job->row;
    const __m256i pairs = _mm256_broadcastsi128_si256(
        n_channels == 3 ? _mm_setr_epi8(0, 3, 8, 11, 1, 4, 9, 12, 2, 5, 10, 13, -1, -1, -1, -1)
                        : _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m256i packed = _mm256_broadcastsi128_si256(
        n_channels == 3 ? _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1)
                        : _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    int32_t k = 0;
    for (; k + 8 <= n; k += 8) {
        const __m256i across = _mm256_loadu_si256((const __m256i *)(job->across + k));
        const __m256i down = _mm256_loadu_si256((const __m256i *)(job->down + k));
#define PAIR(j)                                                                                 \
    weighted(two_pixels(above, under, o[k + j], o[k + j + 4], pairs), _mm256_shuffle_epi32(across, 0x55 * j), \
             _mm256_shuffle_epi32(down, 0x55 * j))
        const __m256i eight = _mm256_packus_epi16(_mm256_packs_epi32(PAIR(0), PAIR(1)),
                                                  _mm256_packs_epi32(PAIR(2), PAIR(3)));
#undef PAIR
        const __m256i bytes = _mm256_shuffle_epi8(eight, packed);
        _mm_storeu_si128((__m128i *)(row + k * n_channels), _mm256_castsi256_si128(bytes));
        _mm_storeu_si128((__m128i *)(row + (k + 4) * n_channels), _mm256_extracti128_si256(bytes, 1));
    }
    return k;
}

WIDE static int32_t sample_eights_3(const Job *job) { return sample_eights(job, 3); }
WIDE static int32_t sample_eights_4(const Job *job) { return sample_eights(job, 4); }
#endif

INLINE void look_up(const Job *job, int32_t y, int32_t n_channels) {
    const int32_t n = job->width;
    float *restrict values = job->values + (size_t)y * n * n_channels;
    const float *restrict table = job->table;
    const uint8_t *restrict row = job->row;
    for (size_t k = 0; k < (size_t)n * n_channels; k += n_channels)
        for (int32_t c = 0; c < n_channels; c++) values[k + c] = table[c * 256 + row[k + c]];
}

INLINE void sample_row(const Job *job, int32_t y, int32_t n_channels, int is_wide) {
    int32_t done = 0;
#if HAS_WIDE
    if (is_wide && n_channels != 1) done = n_channels == 3 ? sample_eights_3(job) : sample_eights_4(job);
#endif
    sample_pixels(job, done, n_channels);
    const size_t n = (size_t)job->width * n_channels;
    if (job->values)
        look_up(job, y, n_channels);
    else
        memcpy(job->pixels + y * n, job->row, n);
    (void)is_wide;
}

/* Smooth the rows of the source that a row of the output needs, unless they are. */
INLINE void smooth_needed(Job *job, int32_t first, int32_t last) {
    const int32_t ring = job->pad_mode == ZEROS;
    const uint8_t *next = job->is_smoothed + first, *end = job->is_smoothed + last + 1;
    while (next < end && (next = memchr(next, 0, end - next))) {
        const ptrdiff_t at = next - job->is_smoothed;
        job->is_smoothed[at] = 1;
        int8_t *out = job->smoothed + at * job->smoothed_stride;
        const int32_t n = job->image.width * job->image.channels;
        if (at < ring || at >= job->image.height + ring) {
            memset(out, -SIGN, job->smoothed_stride); /* the ring, or below a single row, where its weight is 0 */
            continue;
        }
        if (ring) memset(out, -SIGN, job->image.channels);
        out += ring * job->image.channels;
        smooth_row(&job->image, (int32_t)at - ring, job->line, SIGN, (uint8_t *)out);
        memset(out + n, -SIGN, job->smoothed_stride - n - ring * job->image.channels);
    }
}

/* Smooth the image alone, or sample it too; `is_wide` and the number of channels are constants, for loops unrolled. */
INLINE void work(Job *job, int is_wide) {
    const Image *image = &job->image;
    if (job->is_smoothing_only) {
        for (int32_t y = 0; y < image->height; y++)
            smooth_row(image, y, job->line, 0, job->pixels + (ptrdiff_t)y * image->width * image->channels);
        return;
    }
    for (int32_t y = 0; y < job->height; y++) {
        int32_t first, last;
        locate(job, y, job->x, job->y);
        weigh(job, &first, &last);
        smooth_needed(job, first, last);
        if (image->channels == 3)
            sample_row(job, y, 3, is_wide);
        else if (image->channels == 4)
            sample_row(job, y, 4, is_wide);
        else
            sample_row(job, y, 1, is_wide);
    }
}

/* The same, compiled for more of what processors can do; the most that this one can is taken at every call. */
static void work_plain(Job *job) { work(job, 0); }
#if HAS_WIDE
WIDE static void work_wide(Job *job) { work(job, 1); }
WIDEST static void work_widest(Job *job) { work(job, 1); }
#endif

static void work_best(Job *job) {
#if HAS_WIDE
    if (__builtin_cpu_supports("avx2")) {
        const int is_widest = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                              __builtin_cpu_supports("avx512dq");
        (is_widest ? work_widest : work_wide)(job);
        return;
    }
#endif
    work_plain(job);
}

/* ---- what Python calls ---- */

/* The number of this interface, so that a library of another one is not called. */
PUBLIC int32_t foveal_interface(void) { return 1; }

/* Smooth an image and sample it through a map; one of `pixels` and `values` is written, the other is null. Without a
   map it is smoothed alone: `pixels` has its own size then. What is written is contiguous. */
PUBLIC int32_t foveal_resample(const uint8_t *source, int64_t stride, int32_t height, int32_t width, int32_t channels,
                               int32_t down_1, int32_t down_2, int32_t across_1, int32_t across_2,
                               const double *to_source, int32_t pad_mode, int32_t out_height, int32_t out_width,
                               uint8_t *pixels, float *values, const float *table) {
    Job job = {.image = {source, (ptrdiff_t)stride, height, width, channels, (uint16_t)down_1, (uint16_t)down_2,
                         (uint16_t)across_1, (uint16_t)across_2},
               .is_smoothing_only = !to_source, .pad_mode = pad_mode, .height = out_height, .width = out_width,
               .pixels = pixels, .values = values, .table = table};
    if (height < 1 || width < 1 || height > LARGEST_SIDE || width > LARGEST_SIDE ||
        (channels != 1 && channels != 3 && channels != 4) ||
        out_height < 0 || out_width < 0 || out_width > LARGEST_SIDE)
        return TOO_LARGE;
    if (!out_height || !out_width) return DONE;
    if (to_source) memcpy(job.to_source, to_source, sizeof job.to_source);
    const size_t ring = pad_mode == ZEROS ? 2 : 0; /* and one column and row more: a pixel is read with its next ones */
    const size_t columns = (size_t)width + ring + 1, rows = to_source ? (size_t)height + ring + 1 : 0;
    const size_t c = (size_t)channels, n = (size_t)out_width;
    if ((uint64_t)columns * rows > UINT32_MAX / c) return TOO_LARGE; /* offsets have 32 bits */
    const size_t numbers = 5 * n * sizeof(int32_t), line = ((size_t)width + 4) * c * sizeof(uint16_t);
    uint8_t *scratch = malloc(numbers + line + n * c + READ_BEYOND + rows + rows * columns * c + READ_BEYOND);
    if (!scratch) return NO_MEMORY;
    job.x = (int32_t *)scratch;
    job.y = job.x + n;
    job.offsets = (uint32_t *)(job.y + n);
    job.across = job.offsets + n;
    job.down = job.across + n;
    job.line = (uint16_t *)(scratch + numbers);
    job.row = scratch + numbers + line;
    job.is_smoothed = job.row + n * c + READ_BEYOND;
    job.smoothed = (int8_t *)(job.is_smoothed + rows);
    job.smoothed_stride = (ptrdiff_t)(columns * c);
    memset(job.is_smoothed, 0, rows);
    work_best(&job);
    free(scratch);
    return DONE;
}
