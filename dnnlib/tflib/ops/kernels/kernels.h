// The kernels behind a plain C interface: called by op_kernels.cc, and through ctypes by whoever tests them.
//
// Each has a function for GPUs, stylegan2_X, and one for CPUs, stylegan2_cpu_X, of the same arguments. All tensors are
// dense. Images are of one of three types and of either layout; parameters are always float32, and so is the arithmetic.
//
// Kernels see no header of TensorFlow, and this one holds no functions: CPU kernels are compiled for this machine's
// processor, CUDA kernels by nvcc, and what calls them for any processor.

#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };  // types of images

enum { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };  // activations

// F(u) = min(max(gain * act(u), -clamp), clamp); a negative clamp is no limit.
typedef struct {
    int32_t act;
    float alpha;  // slope of lrelu
    float gain;
    float clamp;
} PointwiseArgs;

// Pads, upsamples, filters, downsamples: y[o] = gain * sum_f k[fir - 1 - f] * up(x)[o * down + f - pad0] per axis,
// where up(x)[i] = x[i / up] for multiples of up inside the image, and 0 elsewhere. flip: k[f] in place of k[fir - 1 - f].
typedef struct {
    const void* x;   // [N, C, H, W] or [N, H, W, C]
    const float* k;  // [firh, firw]
    void* y;         // [N, C, outh, outw] or [N, outh, outw, C], out = (in * up + pad0 + pad1 - fir) / down + 1
    int32_t dtype, channels_last;
    int64_t n, c, h, w;
    int64_t outh, outw;
    int32_t firh, firw;  // 1 to 32
    int32_t upx, upy, downx, downy;
    int32_t padx0, pady0;
    int32_t flip;
    float gain;
} UpfirdnArgs;

// order 0: y = F(x + b); 1: y = v * F'(x + b); 2: y = v * F''(x + b). The derivative is 0 where the clamp acts.
typedef struct {
    const void* x;   // [size]
    const float* b;  // [c], element i takes b[i / inner % c]; null: none
    const void* v;   // [size]; not used by order 0
    void* y;         // [size]
    int32_t dtype, order;
    int64_t size, inner, c;
    PointwiseArgs f;
} BiasActArgs;

// y = F(u), u = x * scale + noise + b.
typedef struct {
    const void* x;       // [N, C, pixels] or [N, pixels, C]
    const float* scale;  // [N, C]; null: 1
    const float* noise;  // [noise_n, pixels]; null: 0
    const float* b;      // [C]; null: 0
    void* y;             // like x
    int32_t dtype, channels_last;
    int64_t n, c, pixels;
    int64_t noise_n;  // 1 or N
    PointwiseArgs f;
} EpilogueArgs;

// The gradient of the epilogue: du = dy * F'(u); dx = du * scale; dscale and db are sums over pixels, dnoise over
// channels, in float32 and always in the same order.
typedef struct {
    EpilogueArgs forward;  // without y
    const void* dy;        // like x
    void* dx;              // like x
    float* dscale;         // like scale, null if scale is: sum of du * x
    float* dnoise;         // like noise, null if noise is: sum of du
    float* db;             // like b, null if b is: sum of du
    float* workspace;      // of stylegan2_[cpu_]epilogue_grad_workspace() floats
} EpilogueGradArgs;

// The gradient of the epilogue's gradient, where a, p, q, r belong to dx, dscale, dnoise, db: with
// w = a * scale + p * x + q + r, du = dy * F'(u) and d_u = dy * F''(u) * w, d_dy = F'(u) * w, d_x = du * p + d_u * scale;
// d_scale is the sum of du * a + d_u * x over pixels, d_noise and d_b are sums of d_u.
typedef struct {
    EpilogueArgs forward;        // without y
    const void *dy, *a;          // like x
    const float *p, *q, *r;      // like scale, noise, b; null where those are
    void* d_dy;                  // like x
    void* d_x;                   // like x; null where it is 0: without scale, if act is linear, relu or lrelu
    float* d_scale;              // like scale, null if scale is
    float *d_noise, *d_b;        // like noise, b; null if those are, and where they are 0: linear, relu, lrelu
    float* workspace;            // of stylegan2_[cpu_]epilogue_second_workspace() floats
} EpilogueSecondArgs;

// One step of Adam for many variables, unless the sum of the squares of a gradient is not finite: then nothing changes.
// m += (grad - m) * (1 - beta1); v += (grad^2 - v) * (1 - beta2);
// var -= m * rate / (sqrt(v) + epsilon), rate = lr * sqrt(1 - beta2_power) / (1 - beta1_power); powers *= betas.
typedef struct {
    float *var, *m, *v;  // [size]
    const float* grad;   // [size]
    int64_t size;
} AdamTensor;

typedef struct {
    const AdamTensor* tensors;  // [count], in memory of the host
    int64_t count;
    float *beta1_power, *beta2_power;  // [1]
    uint8_t* finite;                   // [1]: whether the step was made, 0 or 1
    float lr, beta1, beta2, epsilon;
} AdamArgs;

// average = value + (average - value) * weight
typedef struct {
    float* average;      // [size]
    const float* value;  // [size]
    int64_t size;
} AverageTensor;

typedef struct {
    const AverageTensor* tensors;  // [count], in memory of the host
    int64_t count;
    float weight;
} AverageArgs;

typedef struct {
    void* to;
    const void* from;
    int64_t size;  // bytes
} CopyArgs;

// Of TensorFlow's Philox generator: *key = key_value, counter = {0, counter_value}, numbers that the host has.
typedef struct {
    uint64_t *key, *counter;  // [1], [2]
    uint64_t key_value, counter_value;
} RandomKeyArgs;

// CUDA kernels. They return 0 or a cudaError_t, whose text stylegan2_cuda_error() gives.
int stylegan2_upfirdn_2d(const UpfirdnArgs* args, void* stream);
int stylegan2_bias_act(const BiasActArgs* args, void* stream);
int stylegan2_epilogue(const EpilogueArgs* args, void* stream);
int stylegan2_epilogue_grad(const EpilogueGradArgs* args, void* stream);
int64_t stylegan2_epilogue_grad_workspace(const EpilogueGradArgs* args);
int stylegan2_epilogue_second(const EpilogueSecondArgs* args, void* stream);
int64_t stylegan2_epilogue_second_workspace(const EpilogueSecondArgs* args);
int stylegan2_adam(const AdamArgs* args, void* stream);
int stylegan2_average(const AverageArgs* args, void* stream);
int stylegan2_copy(const CopyArgs* args, void* stream);
int stylegan2_random_key(const RandomKeyArgs* args, void* stream);

const char* stylegan2_cuda_error(int error);
const char* stylegan2_cuda_problem(void);  // why CUDA cannot be used here (no GPU, an old driver ...); null: it can

// The threads of CPU kernels.
typedef struct Parallel {
    // Calls work(context, begin, end) for parts of [0, total), and returns when all are done. cost: cycles of one, about.
    void (*run)(const struct Parallel* self, int64_t total, int64_t cost,
                void (*work)(void* context, int64_t begin, int64_t end), void* context);
    void* workers;  // what `run` needs
} Parallel;

// CPU kernels. They return 0, or 1 for arguments that they do not know.
int stylegan2_cpu_upfirdn_2d(const UpfirdnArgs* args, const Parallel* parallel);
int stylegan2_cpu_bias_act(const BiasActArgs* args, const Parallel* parallel);
int stylegan2_cpu_epilogue(const EpilogueArgs* args, const Parallel* parallel);
int stylegan2_cpu_epilogue_grad(const EpilogueGradArgs* args, const Parallel* parallel);
int64_t stylegan2_cpu_epilogue_grad_workspace(const EpilogueGradArgs* args);
int stylegan2_cpu_epilogue_second(const EpilogueSecondArgs* args, const Parallel* parallel);
int64_t stylegan2_cpu_epilogue_second_workspace(const EpilogueSecondArgs* args);
int stylegan2_cpu_adam(const AdamArgs* args, const Parallel* parallel);
int stylegan2_cpu_average(const AverageArgs* args, const Parallel* parallel);
int stylegan2_cpu_copy(const CopyArgs* args, const Parallel* parallel);
int stylegan2_cpu_random_key(const RandomKeyArgs* args, const Parallel* parallel);

#ifdef __cplusplus
}
#endif
