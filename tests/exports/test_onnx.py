"""ONNX files: run by onnxruntime, compared with the networks that they were made of, and looked into."""

import numpy as np
import pytest
from tiny_generators import NETWORKS, build, check_minibatches, convert

from dnnlib.formats.program_options import OPSETS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.exports


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(session, **inputs):
    inputs = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path, name):
    net = build(**NETWORKS[name])
    convert(net, tmp_path / "g.onnx")
    session = session_of(tmp_path / "g.onnx")
    check_minibatches(net, lambda **inputs: run(session, **inputs))


@pytest.mark.parametrize("opset", OPSETS)
def test_opsets(tmp_path, opset):
    """The declared one is that of the operators: the checker knows what each opset has."""
    convert(build(), tmp_path / "g.onnx", opset=opset, image="uint8-nhwc")
    model = onnx.load(tmp_path / "g.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert not {node.domain for node in model.graph.node} - {""} and not model.functions
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
