// CPU kernels that update all variables of a network at once: Adam, and the moving average.
//
// Every operation is rounded by itself, as in TensorFlow's own kernels, so that results are theirs bit for bit.

#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <cfloat>
#include <cmath>

#include "cpu_common.h"

namespace {

constexpr int64_t kPart = 1 << 14;  // elements that a thread takes at once

struct Part {
    int64_t tensor, begin, end;
};

template <typename Tensor>
Vector<Part> parts_of(const Tensor* tensors, int64_t count) {
    Vector<Part> parts;
    for (int64_t t = 0; t < count; ++t) {
        for (int64_t i = 0; i < tensors[t].size; i += kPart) parts.push_back({t, i, least(i + kPart, tensors[t].size)});
    }
    return parts;
}

// Calls work(tensor, part, number of the part) in several threads. cost: cycles for an element, about.
template <typename Tensor, typename Work>
void for_parts(const Tensor* tensors, const Vector<Part>& parts, int64_t cost, const Parallel* parallel, Work work) {
    parallel_for(parallel, parts.size(), kPart * cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) work(tensors[parts[i].tensor], parts[i], i);
    });
}

// Whether the sum of squares of each gradient is finite.
bool are_finite(const AdamArgs& a, const Vector<Part>& parts, const Parallel* parallel) {
    Vector<double> sums(parts.size());
    for_parts(a.tensors, parts, 1, parallel, [&](const AdamTensor& t, const Part& part, int64_t number) {
        double sum = 0;
        const float* grad = t.grad;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = part.begin; i < part.end; ++i) sum += static_cast<double>(grad[i]) * grad[i];
        sums[number] = sum;
    });
    Vector<double> totals(a.count);
    for (size_t i = 0; i < parts.size(); ++i) totals[parts[i].tensor] += sums[i];
    bool finite = true;
    for (double total : totals) finite = finite && total <= FLT_MAX;  // false for NaN
    return finite;
}

}  // namespace

extern "C" int stylegan2_cpu_adam(const AdamArgs* args, const Parallel* parallel) {
    const AdamArgs& a = *args;
    const Vector<Part> parts = parts_of(a.tensors, a.count);
    *a.finite = are_finite(a, parts, parallel);
    if (!*a.finite) return 0;
    const float rate = a.lr * std::sqrt(1 - *a.beta2_power) / (1 - *a.beta1_power);
    const float new1 = 1 - a.beta1, new2 = 1 - a.beta2, epsilon = a.epsilon;
    for_parts(a.tensors, parts, 4, parallel, [=](const AdamTensor& t, const Part& part, int64_t) {
        float *var = t.var, *m = t.m, *v = t.v;
        const float* grad = t.grad;
#pragma omp simd
        for (int64_t i = part.begin; i < part.end; ++i) {
            m[i] += (grad[i] - m[i]) * new1;
            v[i] += (grad[i] * grad[i] - v[i]) * new2;
            var[i] -= m[i] * rate / (std::sqrt(v[i]) + epsilon);
        }
    });
    *a.beta1_power *= a.beta1;
    *a.beta2_power *= a.beta2;
    return 0;
}

extern "C" int stylegan2_cpu_average(const AverageArgs* args, const Parallel* parallel) {
    const float weight = args->weight;
    const Vector<Part> parts = parts_of(args->tensors, args->count);
    for_parts(args->tensors, parts, 2, parallel, [=](const AverageTensor& t, const Part& part, int64_t) {
        float* average = t.average;
        const float* value = t.value;
#pragma omp simd
        for (int64_t i = part.begin; i < part.end; ++i) average[i] = value[i] + (average[i] - value[i]) * weight;
    });
    return 0;
}

extern "C" int stylegan2_cpu_copy(const CopyArgs* args, const Parallel*) {
    std::memcpy(args->to, args->from, args->size);
    return 0;
}

extern "C" int stylegan2_cpu_random_key(const RandomKeyArgs* args, const Parallel*) {
    *args->key = args->key_value;
    args->counter[0] = 0, args->counter[1] = args->counter_value;
    return 0;
}
