// TensorFlow's kernels: they check sizes, allocate outputs and call the kernels of kernels.h, on a device. Those that work
// element by element write over an input that nobody else needs.
//
// Compiled for any processor of this kind, as TensorFlow's headers want it. With STYLEGAN2_CUDA there are kernels for GPUs.

#include <string>

#include "op_devices.h"
#include "op_sizes.h"

namespace {

// ---------------------------------------------------------------------------
// The kernels of devices.

struct Cpu : CpuDevice {
    static constexpr auto upfirdn_2d = stylegan2_cpu_upfirdn_2d;
    static constexpr auto bias_act = stylegan2_cpu_bias_act;
    static constexpr auto epilogue = stylegan2_cpu_epilogue;
    static constexpr auto epilogue_grad = stylegan2_cpu_epilogue_grad;
    static constexpr auto epilogue_grad_workspace = stylegan2_cpu_epilogue_grad_workspace;
    static constexpr auto epilogue_second = stylegan2_cpu_epilogue_second;
    static constexpr auto epilogue_second_workspace = stylegan2_cpu_epilogue_second_workspace;
};

#ifdef STYLEGAN2_CUDA
struct Gpu : GpuDevice {
    static constexpr auto upfirdn_2d = stylegan2_upfirdn_2d;
    static constexpr auto bias_act = stylegan2_bias_act;
    static constexpr auto epilogue = stylegan2_epilogue;
    static constexpr auto epilogue_grad = stylegan2_epilogue_grad;
    static constexpr auto epilogue_grad_workspace = stylegan2_epilogue_grad_workspace;
    static constexpr auto epilogue_second = stylegan2_epilogue_second;
    static constexpr auto epilogue_second_workspace = stylegan2_epilogue_second_workspace;
};
#endif

// ---------------------------------------------------------------------------
// Ops.

template <typename T>
constexpr int32_t kType = std::is_same<T, float>::value ? kFloat32 : std::is_same<T, Eigen::half>::value ? kFloat16 : kBFloat16;

const float* Optional(const Tensor& t) { return t.NumElements() ? t.flat<float>().data() : nullptr; }

PointwiseArgs GetPointwise(OpKernelConstruction* ctx) {
    static const char* const kNames[] = {"linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"};
    PointwiseArgs f = {};
    std::string act;
    const bool ok = ctx->GetAttr("act", &act).ok() && ctx->GetAttr("alpha", &f.alpha).ok() &&
                    ctx->GetAttr("gain", &f.gain).ok() && ctx->GetAttr("clamp", &f.clamp).ok();
    if (!ok) ctx->CtxFailure(errors::InvalidArgument("act, alpha, gain or clamp is missing"));
    while (f.act < kSwish && act != kNames[f.act]) f.act++;
    return f;
}

template <typename Device, typename T>
class UpfirdnOp : public OpKernel {
public:
    explicit UpfirdnOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
        bool flip, channels_last;
        OP_REQUIRES_OK(ctx, ctx->GetAttr("upx", &args_.upx));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("upy", &args_.upy));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("downx", &args_.downx));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("downy", &args_.downy));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("padx0", &args_.padx0));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("padx1", &padx1_));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("pady0", &args_.pady0));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("pady1", &pady1_));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("gain", &args_.gain));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("flip", &flip));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("channels_last", &channels_last));
        args_.flip = flip;
        args_.channels_last = channels_last;
        args_.dtype = kType<T>;
    }

    void Compute(OpKernelContext* ctx) override {
        const Tensor &x = ctx->input(0), &k = ctx->input(1);
        OP_REQUIRES(ctx, stylegan2::upfirdn_fits(x, k), errors::InvalidArgument("upfirdn_2d: x or k is of a wrong shape"));
        UpfirdnArgs a = args_;
        const int row = a.channels_last ? 1 : 2;
        a.n = x.dim_size(0), a.c = x.dim_size(a.channels_last ? 3 : 1), a.h = x.dim_size(row), a.w = x.dim_size(row + 1);
        a.firh = static_cast<int32_t>(k.dim_size(0)), a.firw = static_cast<int32_t>(k.dim_size(1));
        a.outh = stylegan2::upfirdn_size(a.h, a.firh, a.upy, a.downy, a.pady0, pady1_);
        a.outw = stylegan2::upfirdn_size(a.w, a.firw, a.upx, a.downx, a.padx0, padx1_);
        OP_REQUIRES(ctx, a.outh > 0 && a.outw > 0, errors::InvalidArgument("upfirdn_2d: k does not fit into the padded image"));
        TensorShape shape = x.shape();
        shape.set_dim(row, a.outh);
        shape.set_dim(row + 1, a.outw);
        Tensor* y = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &y));
        if (y->NumElements() == 0) return;
        a.x = x.flat<T>().data(), a.k = k.flat<float>().data(), a.y = y->flat<T>().data();
        Device::Run(ctx, "upfirdn_2d", Device::upfirdn_2d, a);
    }

private:
    UpfirdnArgs args_ = {};
    int32_t padx1_, pady1_;
};

template <typename Device, typename T>
class BiasActOp : public OpKernel {
public:
    explicit BiasActOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
        OP_REQUIRES_OK(ctx, ctx->GetAttr("grad", &args_.order));
        OP_REQUIRES_OK(ctx, ctx->GetAttr("inner", &args_.inner));
        args_.f = GetPointwise(ctx);
        args_.dtype = kType<T>;
    }

    void Compute(OpKernelContext* ctx) override {
        const Tensor &x = ctx->input(0), &b = ctx->input(1), &v = ctx->input(2);
        BiasActArgs a = args_;
        a.size = x.NumElements(), a.c = b.NumElements();
        const bool fits = stylegan2::bias_act_fits(x, b, v, a.order, a.inner);
        OP_REQUIRES(ctx, fits, errors::InvalidArgument("bias_act: b or v does not fit x of shape ", x.shape().DebugString()));
        Tensor* y = nullptr;
        OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
        if (a.size == 0) return;
        a.x = x.flat<T>().data(), a.b = Optional(b), a.v = v.flat<T>().data(), a.y = y->flat<T>().data();
        Device::Run(ctx, "bias_act", Device::bias_act, a);
    }

private:
    BiasActArgs args_ = {};
};

// What the epilogue and its gradient share: attributes, and inputs x, scale, noise, b that start at `first`.
class EpilogueBase : public OpKernel {
public:
    explicit EpilogueBase(OpKernelConstruction* ctx) : OpKernel(ctx) {
        bool channels_last;
        OP_REQUIRES_OK(ctx, ctx->GetAttr("channels_last", &channels_last));
        args_.channels_last = channels_last;
        args_.f = GetPointwise(ctx);
    }

protected:
    template <typename T>
    bool GetArgs(OpKernelContext* ctx, int first, EpilogueArgs* a) const {
        const Tensor &x = ctx->input(first), &scale = ctx->input(first + 1);
        const Tensor &noise = ctx->input(first + 2), &b = ctx->input(first + 3);
        if (!stylegan2::epilogue_fits(x, scale, noise, b, args_.channels_last)) return false;
        *a = args_;
        const int row = a->channels_last ? 1 : 2;
        a->dtype = kType<T>;
        a->n = x.dim_size(0), a->c = x.dim_size(a->channels_last ? 3 : 1), a->pixels = x.dim_size(row) * x.dim_size(row + 1);
        a->noise_n = noise.NumElements() ? noise.dim_size(0) : 1;
        a->x = x.flat<T>().data(), a->scale = Optional(scale), a->noise = Optional(noise), a->b = Optional(b);
        return true;
    }

    EpilogueArgs args_ = {};
};

template <typename Device, typename T>
class EpilogueOp : public EpilogueBase {
public:
    using EpilogueBase::EpilogueBase;

    void Compute(OpKernelContext* ctx) override {
        EpilogueArgs a;
        OP_REQUIRES(ctx, GetArgs<T>(ctx, 0, &a), errors::InvalidArgument("epilogue: parameters do not fit x"));
        Tensor* y = nullptr;
        OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, ctx->input(0).shape(), &y));
        if (y->NumElements() == 0) return;
        a.y = y->flat<T>().data();
        Device::Run(ctx, "epilogue", Device::epilogue, a);
    }
};

template <typename Device, typename T>
class EpilogueGradOp : public EpilogueBase {
public:
    using EpilogueBase::EpilogueBase;

    void Compute(OpKernelContext* ctx) override {
        EpilogueGradArgs a = {};
        const bool fits = GetArgs<T>(ctx, 1, &a.forward) && ctx->input(0).shape() == ctx->input(1).shape();
        OP_REQUIRES(ctx, fits, errors::InvalidArgument("epilogue_grad: dy or parameters do not fit x"));
        Tensor* outputs[4];
        OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0}, 0, ctx->input(0).shape(), &outputs[0]));
        for (int i = 1; i < 4; i++) OP_REQUIRES_OK(ctx, ctx->allocate_output(i, ctx->input(i + 1).shape(), &outputs[i]));
        a.dy = ctx->input(0).flat<T>().data(), a.dx = outputs[0]->flat<T>().data();
        float** const sums[] = {&a.dscale, &a.dnoise, &a.db};
        for (int i = 0; i < 3; i++) *sums[i] = const_cast<float*>(Optional(*outputs[i + 1]));
        Tensor workspace;
        const TensorShape size({Device::epilogue_grad_workspace(&a)});
        OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, size, &workspace));
        a.workspace = workspace.flat<float>().data();
        Device::Run(ctx, "epilogue_grad", Device::epilogue_grad, a);
    }
};

// The gradient of the epilogue's gradient. What is 0 everywhere is not written: its output is empty.
template <typename Device, typename T>
class EpilogueSecondOp : public EpilogueBase {
public:
    using EpilogueBase::EpilogueBase;

    void Compute(OpKernelContext* ctx) override {
        EpilogueSecondArgs a = {};
        bool fits = GetArgs<T>(ctx, 1, &a.forward);
        for (const auto& [given, like] : {std::pair(0, 1), {5, 1}, {6, 2}, {7, 3}, {8, 4}}) {
            fits = fits && ctx->input(given).shape() == ctx->input(like).shape();
        }
        OP_REQUIRES(ctx, fits, errors::InvalidArgument("epilogue_grad_grad: dy, parameters, a, p, q or r do not fit x"));
        const bool smooth = args_.f.act > kLrelu;
        const TensorShape none({0});
        Tensor* outputs[5];
        for (int i = 0; i < 2; i++) {  // an element of these depends on no other of dy, a and x
            const bool zero = i == 1 && !smooth && !a.forward.scale;
            const TensorShape shape = zero ? none : ctx->input(1).shape();
            OP_REQUIRES_OK(ctx, ctx->forward_input_or_allocate_output({0, 5, 1}, i, shape, &outputs[i]));
        }
        for (int i = 2; i < 5; i++) {
            const TensorShape shape = i > 2 && !smooth ? none : ctx->input(i).shape();
            OP_REQUIRES_OK(ctx, ctx->allocate_output(i, shape, &outputs[i]));
        }
        a.dy = ctx->input(0).flat<T>().data(), a.a = ctx->input(5).flat<T>().data();
        a.p = Optional(ctx->input(6)), a.q = Optional(ctx->input(7)), a.r = Optional(ctx->input(8));
        a.d_dy = outputs[0]->flat<T>().data();
        a.d_x = outputs[1]->NumElements() ? outputs[1]->flat<T>().data() : nullptr;
        float** const sums[] = {&a.d_scale, &a.d_noise, &a.d_b};
        for (int i = 0; i < 3; i++) *sums[i] = const_cast<float*>(Optional(*outputs[i + 2]));
        Tensor workspace;
        const TensorShape size({Device::epilogue_second_workspace(&a)});
        OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, size, &workspace));
        a.workspace = workspace.flat<float>().data();
        Device::Run(ctx, "epilogue_grad_grad", Device::epilogue_second, a);
    }
};

#define REGISTER(DEVICE, D, T)                                                                                       \
    REGISTER_KERNEL_BUILDER(Name("StyleganUpfirdn2D").Device(DEVICE).TypeConstraint<T>("T"), UpfirdnOp<D, T>);       \
    REGISTER_KERNEL_BUILDER(Name("StyleganBiasAct").Device(DEVICE).TypeConstraint<T>("T"), BiasActOp<D, T>);         \
    REGISTER_KERNEL_BUILDER(Name("StyleganEpilogue").Device(DEVICE).TypeConstraint<T>("T"), EpilogueOp<D, T>);       \
    REGISTER_KERNEL_BUILDER(Name("StyleganEpilogueGrad").Device(DEVICE).TypeConstraint<T>("T"), EpilogueGradOp<D, T>); \
    REGISTER_KERNEL_BUILDER(Name("StyleganEpilogueGradGrad").Device(DEVICE).TypeConstraint<T>("T"), EpilogueSecondOp<D, T>)

REGISTER(DEVICE_CPU, Cpu, float);
REGISTER(DEVICE_CPU, Cpu, Eigen::half);
REGISTER(DEVICE_CPU, Cpu, Eigen::bfloat16);
#ifdef STYLEGAN2_CUDA
REGISTER(DEVICE_GPU, Gpu, float);
REGISTER(DEVICE_GPU, Gpu, Eigen::half);
REGISTER(DEVICE_GPU, Gpu, Eigen::bfloat16);
#endif

}  // namespace
