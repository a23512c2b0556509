// CPU kernel of upfirdn: row by row, first down the columns, then along the rows.
//
// A plane of channels-first images is an image of one channel here.

#include <algorithm>
#include <cmath>

#include "cpu_common.h"

namespace {

// The filter as a sum of products of a column and a row: one product for a separable filter, else one for each row.
struct Factors {
    Vector<Vector<float>> columns, rows;

    Factors(const float* k, int64_t height, int64_t width, bool mirror, float gain) {
        auto at = [&](int64_t y, int64_t x) {
            return mirror ? k[(height - 1 - y) * width + width - 1 - x] : k[y * width + x];
        };
        int64_t py = 0, px = 0;
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
                if (std::abs(at(y, x)) > std::abs(at(py, px))) py = y, px = x;
        const float peak = at(py, px);
        if (peak == 0) {
            columns.emplace_back(height, 0.f);
            rows.emplace_back(width, 0.f);
            return;
        }
        float error = 0;
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
                error = std::max(error, std::abs(at(y, x) - at(y, px) * at(py, x) / peak));
        const bool separable = error <= 1e-7f * std::abs(peak);
        for (int64_t i = 0; i < (separable ? 1 : height); ++i) {
            Vector<float> column(height, 0.f), row(width);
            for (int64_t y = 0; y < height; ++y) column[y] = (separable ? at(y, px) / peak : y == i ? 1.f : 0.f) * gain;
            for (int64_t x = 0; x < width; ++x) row[x] = at(separable ? py : i, x);
            columns.push_back(column);
            rows.push_back(row);
        }
    }
};

// Outputs begin, begin + step, ... that are the same sum of inputs: the n-th is the sum of weight * in[from + n].
struct Run {
    int64_t begin, step, count;
    Vector<int64_t> from;
    Vector<float> weight;
};

// All outputs of one axis as runs of at most `longest`; zeros that were inserted, and padding, are left out.
Vector<Run> runs_of(const Vector<float>& k, int64_t up, int64_t down, int64_t pad, int64_t in, int64_t out,
                         int64_t longest) {
    Vector<Run> runs;
    const int64_t step = down == 1 ? up : 1;  // outputs so far apart see neighbouring inputs in the same way
    for (int64_t first = 0; first < step; ++first) {
        for (int64_t i = first; i < out; i += step) {
            Run run{i, step, 1, {}, {}};
            for (int64_t f = 0; f < static_cast<int64_t>(k.size()); ++f) {
                const int64_t position = i * down + f - pad;
                if (k[f] == 0 || position < 0 || position % up || position / up >= in) continue;
                run.from.push_back(position / up);
                run.weight.push_back(k[f]);
            }
            bool same = i != first && runs.back().count < longest && runs.back().weight == run.weight;
            for (size_t t = 0; same && t < run.from.size(); ++t) {
                same = run.from[t] == runs.back().from[t] + runs.back().count;
            }
            if (same) {
                ++runs.back().count;
            } else {
                runs.push_back(run);
            }
        }
    }
    return runs;
}

// to[i] = store(sum over taps of weight * in[from * stride + i], to[i]).
template <typename Out, typename In, typename Load, typename Store>
inline void combine(const Run& taps, const In* from, int64_t stride, int64_t count, Out* to, Load load, Store store) {
    const int64_t* at = taps.from.data();
    const float* w = taps.weight.data();
    switch (taps.from.size()) {
        case 0:
            for (int64_t i = 0; i < count; ++i) to[i] = store(0.f, to[i]);
            return;
        case 2: {
            const In *p = from + at[0] * stride, *q = from + at[1] * stride;
#pragma omp simd
            for (int64_t i = 0; i < count; ++i) to[i] = store(w[0] * load(p[i]) + w[1] * load(q[i]), to[i]);
            return;
        }
        case 4: {
            const In *p = from + at[0] * stride, *q = from + at[1] * stride;
            const In *r = from + at[2] * stride, *s = from + at[3] * stride;
#pragma omp simd
            for (int64_t i = 0; i < count; ++i)
                to[i] = store(w[0] * load(p[i]) + w[1] * load(q[i]) + w[2] * load(r[i]) + w[3] * load(s[i]), to[i]);
            return;
        }
        default:
            for (int64_t i = 0; i < count; ++i) {
                float sum = 0;
                for (size_t t = 0; t < taps.from.size(); ++t) sum += w[t] * load(from[at[t] * stride + i]);
                to[i] = store(sum, to[i]);
            }
    }
}

// to[n * step] = store(from[n], to[n * step]), for pixels of C channels.
template <typename Out, typename Store>
inline void spread(const float* from, int64_t count, int64_t C, Out* to, int64_t step, Store store) {
    if (C == 1) {  // without a loop of one turn for each pixel
        for (int64_t n = 0; n < count; ++n) to[n * step] = store(from[n], to[n * step]);
        return;
    }
    for (int64_t n = 0; n < count; ++n) {
        Out* pixel = to + n * step * C;
        for (int64_t c = 0; c < C; ++c) pixel[c] = store(from[n * C + c], pixel[c]);
    }
}

// What all rows share. down[i][y]: of term i, for row y of the output.
struct Filter {
    int64_t N, C, H, W, outH, outW;
    Vector<Vector<Run>> across, down;

    explicit Filter(const UpfirdnArgs& a)
        : N(a.channels_last ? a.n : a.n * a.c), C(a.channels_last ? a.c : 1), H(a.h), W(a.w), outH(a.outh), outW(a.outw) {
        const Factors factors(a.k, a.firh, a.firw, !a.flip, a.gain);
        for (size_t i = 0; i < factors.rows.size(); ++i) {
            across.push_back(runs_of(factors.rows[i], a.upx, a.downx, a.padx0, W, outW, most(4096 / C, 1)));
            Vector<Run> rows(outH);
            for (const Run& run : runs_of(factors.columns[i], a.upy, a.downy, a.pady0, H, outH, 1)) rows[run.begin] = run;
            down.push_back(rows);
        }
    }
};

// Rows [begin, end) of all images.
template <typename T>
void filter_rows(const Filter& f, const typename T::Bits* x, typename T::Bits* y, int64_t begin, int64_t end) {
    auto loaded = [](float v) { return v; };
    auto put = [](float v, auto) { return v; };
    auto store = [](float v, auto) { return T::store(v); };
    const int64_t C = f.C, row_size = f.outW * C;
    const size_t terms = f.across.size();
    const bool direct = terms == 1 && f.across[0].front().step == 1;
    Vector<float> filtered(f.W * C), line(direct ? 0 : row_size), sum(terms == 1 ? 0 : row_size);
    for (int64_t row = begin; row < end; ++row) {
        const auto* image = x + row / f.outH * f.H * f.W * C;
        auto* to = y + row * row_size;
        std::fill(sum.begin(), sum.end(), 0.f);
        for (size_t i = 0; i < terms; ++i) {
            const Run& down = f.down[i][row % f.outH];
            int64_t done = 0;  // columns of the input that are filtered
            for (const Run& run : f.across[i]) {
                const int64_t needed = run.from.empty() ? 0 : run.from.back() + run.count;
                if (needed > done) {
                    combine(
                        down, image + done * C, f.W * C, (needed - done) * C, &filtered[done * C],
                        [](typename T::Bits v) { return T::load(v); }, put);
                    done = needed;
                }
                if (direct) {
                    combine(run, filtered.data(), C, run.count * C, to + run.begin * C, loaded, store);
                    continue;
                }
                combine(run, filtered.data(), C, run.count * C, line.data(), loaded, put);
                if (terms == 1) {
                    spread(line.data(), run.count, C, to + run.begin * C, run.step, store);
                } else {
                    spread(line.data(), run.count, C, &sum[run.begin * C], run.step, [](float v, float y) { return y + v; });
                }
            }
        }
        for (size_t i = 0; i < sum.size(); ++i) to[i] = T::store(sum[i]);
    }
}

}  // namespace

extern "C" int stylegan2_cpu_upfirdn_2d(const UpfirdnArgs* args, const Parallel* parallel) {
    const Filter filter(*args);
    return with_type(args->dtype, [&](auto type) {
        using T = decltype(type);
        const auto* x = static_cast<const typename T::Bits*>(args->x);
        auto* y = static_cast<typename T::Bits*>(args->y);
        const int64_t cost = (filter.W + 2 * filter.outW) * filter.C * 4;
        parallel_for(parallel, filter.N * filter.outH, cost,
                     [&](int64_t begin, int64_t end) { filter_rows<T>(filter, x, y, begin, end); });
    });
}
