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

}  // namespace

extern "C" int stylegan2_cpu_upfirdn_2d(const UpfirdnArgs* args, const Parallel* parallel) {
    const bool last = args->channels_last;
    const int64_t N = last ? args->n : args->n * args->c, C = last ? args->c : 1;
    const int64_t H = args->h, W = args->w, outH = args->outh, outW = args->outw;
    const Factors factors(args->k, args->firh, args->firw, !args->flip, args->gain);
    const size_t terms = factors.rows.size();
    Vector<Vector<Run>> across(terms), down(terms);
    Vector<Vector<const Run*>> by_row(terms, Vector<const Run*>(outH));
    for (size_t i = 0; i < terms; ++i) {
        across[i] = runs_of(factors.rows[i], args->upx, args->downx, args->padx0, W, outW, most(4096 / C, 1));
        down[i] = runs_of(factors.columns[i], args->upy, args->downy, args->pady0, H, outH, 1);
        for (const Run& run : down[i]) by_row[i][run.begin] = &run;
    }
    return with_type(args->dtype, [&](auto type) {
        using T = decltype(type);
        const auto* source = static_cast<const typename T::Bits*>(args->x);
        auto* target = static_cast<typename T::Bits*>(args->y);
        parallel_for(parallel, N * outH, (W + 2 * outW) * C * 4, [&](int64_t begin, int64_t end) {
            auto loaded = [](float v) { return v; };
            auto put = [](float v, auto) { return v; };
            const bool direct = terms == 1 && across[0].front().step == 1;
            Vector<float> filtered(W * C), line(direct ? 0 : outW * C), sum(terms == 1 ? 0 : outW * C);
            for (int64_t row = begin; row < end; ++row) {
                const auto* image = source + row / outH * H * W * C;
                auto* to = target + row * outW * C;
                std::fill(sum.begin(), sum.end(), 0.f);
                for (size_t i = 0; i < terms; ++i) {
                    int64_t done = 0;  // columns of the input that are filtered
                    for (const Run& run : across[i]) {
                        const int64_t needed = run.from.empty() ? 0 : run.from.back() + run.count;
                        if (needed > done) {
                            combine(
                                *by_row[i][row % outH], image + done * C, W * C, (needed - done) * C,
                                &filtered[done * C], [](typename T::Bits v) { return T::load(v); }, put);
                            done = needed;
                        }
                        if (direct) {
                            combine(run, filtered.data(), C, run.count * C, to + run.begin * C, loaded,
                                    [](float v, auto) { return T::store(v); });
                            continue;
                        }
                        combine(run, filtered.data(), C, run.count * C, line.data(), loaded, put);
                        for (int64_t n = 0; n < run.count; ++n) {
                            const int64_t at = (run.begin + n * run.step) * C;
                            for (int64_t c = 0; c < C; ++c) {
                                if (terms == 1) {
                                    to[at + c] = T::store(line[n * C + c]);
                                } else {
                                    sum[at + c] += line[n * C + c];
                                }
                            }
                        }
                    }
                }
                for (size_t i = 0; i < sum.size(); ++i) to[i] = T::store(sum[i]);
            }
        });
    });
}
