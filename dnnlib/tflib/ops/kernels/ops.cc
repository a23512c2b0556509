// TensorFlow's view of the custom ops: names, types, attributes, shapes. Kernels: op_kernels.cc.
// What the ops compute is written down in docs/custom_ops.md.

#include <cstdint>
#include <string>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

constexpr char kActivations[] =
    "act: {'linear', 'relu', 'lrelu', 'tanh', 'sigmoid', 'elu', 'selu', 'softplus', 'swish'}";

// (in * up + pad0 + pad1 - fir) / down + 1; unknown where `in` or `fir` is.
Status OutSize(InferenceContext* c, DimensionHandle in, DimensionHandle fir, const std::string& axis,
               DimensionHandle* out) {
    int up, down, pad0, pad1;
    TF_RETURN_IF_ERROR(c->GetAttr("up" + axis, &up));
    TF_RETURN_IF_ERROR(c->GetAttr("down" + axis, &down));
    TF_RETURN_IF_ERROR(c->GetAttr("pad" + axis + "0", &pad0));
    TF_RETURN_IF_ERROR(c->GetAttr("pad" + axis + "1", &pad1));
    if (!c->ValueKnown(in) || !c->ValueKnown(fir)) {
        *out = c->UnknownDim();
        return Status();
    }
    const int64_t room = c->Value(in) * up + pad0 + pad1 - c->Value(fir);
    if (room < 0) {
        return tensorflow::errors::InvalidArgument("upfirdn_2d: a filter of ", c->Value(fir), " does not fit into ",
                                                   room + c->Value(fir), " padded samples (", axis, " axis)");
    }
    *out = c->MakeDim(room / down + 1);
    return Status();
}

Status UpfirdnShape(InferenceContext* c) {
    ShapeHandle x, k;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
    TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &k));
    bool channels_last;
    TF_RETURN_IF_ERROR(c->GetAttr("channels_last", &channels_last));
    const int row = channels_last ? 1 : 2;
    DimensionHandle height, width;
    TF_RETURN_IF_ERROR(OutSize(c, c->Dim(x, row), c->Dim(k, 0), "y", &height));
    TF_RETURN_IF_ERROR(OutSize(c, c->Dim(x, row + 1), c->Dim(k, 1), "x", &width));
    ShapeHandle y;
    TF_RETURN_IF_ERROR(c->ReplaceDim(x, row, height, &y));
    TF_RETURN_IF_ERROR(c->ReplaceDim(y, row + 1, width, &y));
    c->set_output(0, y);
    return Status();
}

Status EpilogueGradShape(InferenceContext* c) {
    ShapeHandle x;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &x));
    TF_RETURN_IF_ERROR(c->Merge(c->input(0), x, &x));
    c->set_output(0, x);
    for (int i = 1; i < 4; i++) c->set_output(i, c->input(i + 1));
    return Status();
}

// What is 0 everywhere is empty: see EpilogueSecondOp.
Status EpilogueGradGradShape(InferenceContext* c) {
    ShapeHandle x;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &x));
    TF_RETURN_IF_ERROR(c->Merge(c->input(0), x, &x));
    TF_RETURN_IF_ERROR(c->Merge(c->input(5), x, &x));
    std::string act;
    TF_RETURN_IF_ERROR(c->GetAttr("act", &act));
    const bool smooth = act != "linear" && act != "relu" && act != "lrelu";
    const ShapeHandle scale = c->input(2), none = c->Vector(0);
    c->set_output(0, x);
    c->set_output(1, smooth || c->Rank(scale) == 2 ? x : c->RankKnown(scale) ? none : c->UnknownShape());
    c->set_output(2, scale);
    for (int i = 3; i < 5; i++) c->set_output(i, smooth ? c->input(i) : none);
    return Status();
}

}  // namespace

REGISTER_OP("StyleganUpfirdn2D")
    .Input("x: T")
    .Input("k: float")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("upx: int >= 1 = 1")
    .Attr("upy: int >= 1 = 1")
    .Attr("downx: int >= 1 = 1")
    .Attr("downy: int >= 1 = 1")
    .Attr("padx0: int = 0")
    .Attr("padx1: int = 0")
    .Attr("pady0: int = 0")
    .Attr("pady1: int = 0")
    .Attr("flip: bool = false")
    .Attr("gain: float = 1.0")
    .Attr("channels_last: bool = false")
    .SetShapeFn(UpfirdnShape);

REGISTER_OP("StyleganBiasAct")
    .Input("x: T")
    .Input("b: float")
    .Input("v: T")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("grad: int >= 0 = 0")
    .Attr("inner: int >= 1 = 1")
    .Attr(kActivations)
    .Attr("alpha: float = 0.0")
    .Attr("gain: float = 1.0")
    .Attr("clamp: float = -1.0")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);

REGISTER_OP("StyleganEpilogue")
    .Input("x: T")
    .Input("scale: float")
    .Input("noise: float")
    .Input("b: float")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr(kActivations)
    .Attr("alpha: float = 0.0")
    .Attr("gain: float = 1.0")
    .Attr("clamp: float = -1.0")
    .Attr("channels_last: bool = false")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);

REGISTER_OP("StyleganEpilogueGrad")
    .Input("dy: T")
    .Input("x: T")
    .Input("scale: float")
    .Input("noise: float")
    .Input("b: float")
    .Output("dx: T")
    .Output("dscale: float")
    .Output("dnoise: float")
    .Output("db: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr(kActivations)
    .Attr("alpha: float = 0.0")
    .Attr("gain: float = 1.0")
    .Attr("clamp: float = -1.0")
    .Attr("channels_last: bool = false")
    .SetShapeFn(EpilogueGradShape);

REGISTER_OP("StyleganEpilogueGradGrad")
    .Input("dy: T")
    .Input("x: T")
    .Input("scale: float")
    .Input("noise: float")
    .Input("b: float")
    .Input("a: T")
    .Input("p: float")
    .Input("q: float")
    .Input("r: float")
    .Output("d_dy: T")
    .Output("d_x: T")
    .Output("d_scale: float")
    .Output("d_noise: float")
    .Output("d_b: float")
    .Attr("T: {float, half, bfloat16}")
    .Attr(kActivations)
    .Attr("alpha: float = 0.0")
    .Attr("gain: float = 1.0")
    .Attr("clamp: float = -1.0")
    .Attr("channels_last: bool = false")
    .SetShapeFn(EpilogueGradGradShape);

REGISTER_OP("StyleganAdam")
    .Input("var: N * resource")
    .Input("m: N * resource")
    .Input("v: N * resource")
    .Input("grad: N * T")
    .Input("beta1_power: resource")
    .Input("beta2_power: resource")
    .Input("lr: T")
    .Output("finite: bool")
    .Attr("N: int >= 1")
    .Attr("T: {float} = DT_FLOAT")
    .Attr("beta1: float")
    .Attr("beta2: float")
    .Attr("epsilon: float")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::ScalarShape);

REGISTER_OP("StyleganAverage")
    .Input("average: N * resource")
    .Input("value: N * resource")
    .Input("weight: T")
    .Attr("N: int >= 1")
    .Attr("T: {float} = DT_FLOAT")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);

REGISTER_OP("StyleganRandomKey")
    .Input("seed: int64")
    .Output("key: uint64")
    .Output("counter: uint64")
    .Attr("draw: int = 0")
    .Attr("T: {float} = DT_FLOAT")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->Vector(1));
        c->set_output(1, c->Vector(2));
        return Status();
    });
