"""The convolutions of Inception-v3 as of 2015-12-05, in their official order.

Each has batch normalisation without scale (epsilon 0.001) and a ReLU. The first column is the scope in the frozen graph
`classify_image_graph_def.pb`, the second the name in PyTorch files.
"""

from typing import NamedTuple


class ConvSpec(NamedTuple):
    """A row of the table."""

    scope: str
    torch_name: str
    in_fmaps: int
    fmaps: int
    kernel: tuple[int, int]  # height, width
    stride: int
    padding: str


_TABLE = """
conv                        Conv2d_1a_3x3                  3   32 3x3 2 VALID
conv_1                      Conv2d_2a_3x3                 32   32 3x3 1 VALID
conv_2                      Conv2d_2b_3x3                 32   64 3x3 1 SAME
conv_3                      Conv2d_3b_1x1                 64   80 1x1 1 VALID
conv_4                      Conv2d_4a_3x3                 80  192 3x3 1 VALID
mixed/conv                  Mixed_5b.branch1x1           192   64 1x1 1 SAME
mixed/tower/conv            Mixed_5b.branch5x5_1         192   48 1x1 1 SAME
mixed/tower/conv_1          Mixed_5b.branch5x5_2          48   64 5x5 1 SAME
mixed/tower_1/conv          Mixed_5b.branch3x3dbl_1      192   64 1x1 1 SAME
mixed/tower_1/conv_1        Mixed_5b.branch3x3dbl_2       64   96 3x3 1 SAME
mixed/tower_1/conv_2        Mixed_5b.branch3x3dbl_3       96   96 3x3 1 SAME
mixed/tower_2/conv          Mixed_5b.branch_pool         192   32 1x1 1 SAME
mixed_1/conv                Mixed_5c.branch1x1           256   64 1x1 1 SAME
mixed_1/tower/conv          Mixed_5c.branch5x5_1         256   48 1x1 1 SAME
mixed_1/tower/conv_1        Mixed_5c.branch5x5_2          48   64 5x5 1 SAME
mixed_1/tower_1/conv        Mixed_5c.branch3x3dbl_1      256   64 1x1 1 SAME
mixed_1/tower_1/conv_1      Mixed_5c.branch3x3dbl_2       64   96 3x3 1 SAME
mixed_1/tower_1/conv_2      Mixed_5c.branch3x3dbl_3       96   96 3x3 1 SAME
mixed_1/tower_2/conv        Mixed_5c.branch_pool         256   64 1x1 1 SAME
mixed_2/conv                Mixed_5d.branch1x1           288   64 1x1 1 SAME
mixed_2/tower/conv          Mixed_5d.branch5x5_1         288   48 1x1 1 SAME
mixed_2/tower/conv_1        Mixed_5d.branch5x5_2          48   64 5x5 1 SAME
mixed_2/tower_1/conv        Mixed_5d.branch3x3dbl_1      288   64 1x1 1 SAME
mixed_2/tower_1/conv_1      Mixed_5d.branch3x3dbl_2       64   96 3x3 1 SAME
mixed_2/tower_1/conv_2      Mixed_5d.branch3x3dbl_3       96   96 3x3 1 SAME
mixed_2/tower_2/conv        Mixed_5d.branch_pool         288   64 1x1 1 SAME
mixed_3/conv                Mixed_6a.branch3x3           288  384 3x3 2 VALID
mixed_3/tower/conv          Mixed_6a.branch3x3dbl_1      288   64 1x1 1 SAME
mixed_3/tower/conv_1        Mixed_6a.branch3x3dbl_2       64   96 3x3 1 SAME
mixed_3/tower/conv_2        Mixed_6a.branch3x3dbl_3       96   96 3x3 2 VALID
mixed_4/conv                Mixed_6b.branch1x1           768  192 1x1 1 SAME
mixed_4/tower/conv          Mixed_6b.branch7x7_1         768  128 1x1 1 SAME
mixed_4/tower/conv_1        Mixed_6b.branch7x7_2         128  128 1x7 1 SAME
mixed_4/tower/conv_2        Mixed_6b.branch7x7_3         128  192 7x1 1 SAME
mixed_4/tower_1/conv        Mixed_6b.branch7x7dbl_1      768  128 1x1 1 SAME
mixed_4/tower_1/conv_1      Mixed_6b.branch7x7dbl_2      128  128 7x1 1 SAME
mixed_4/tower_1/conv_2      Mixed_6b.branch7x7dbl_3      128  128 1x7 1 SAME
mixed_4/tower_1/conv_3      Mixed_6b.branch7x7dbl_4      128  128 7x1 1 SAME
mixed_4/tower_1/conv_4      Mixed_6b.branch7x7dbl_5      128  192 1x7 1 SAME
mixed_4/tower_2/conv        Mixed_6b.branch_pool         768  192 1x1 1 SAME
mixed_5/conv                Mixed_6c.branch1x1           768  192 1x1 1 SAME
mixed_5/tower/conv          Mixed_6c.branch7x7_1         768  160 1x1 1 SAME
mixed_5/tower/conv_1        Mixed_6c.branch7x7_2         160  160 1x7 1 SAME
mixed_5/tower/conv_2        Mixed_6c.branch7x7_3         160  192 7x1 1 SAME
mixed_5/tower_1/conv        Mixed_6c.branch7x7dbl_1      768  160 1x1 1 SAME
mixed_5/tower_1/conv_1      Mixed_6c.branch7x7dbl_2      160  160 7x1 1 SAME
mixed_5/tower_1/conv_2      Mixed_6c.branch7x7dbl_3      160  160 1x7 1 SAME
mixed_5/tower_1/conv_3      Mixed_6c.branch7x7dbl_4      160  160 7x1 1 SAME
mixed_5/tower_1/conv_4      Mixed_6c.branch7x7dbl_5      160  192 1x7 1 SAME
mixed_5/tower_2/conv        Mixed_6c.branch_pool         768  192 1x1 1 SAME
mixed_6/conv                Mixed_6d.branch1x1           768  192 1x1 1 SAME
mixed_6/tower/conv          Mixed_6d.branch7x7_1         768  160 1x1 1 SAME
mixed_6/tower/conv_1        Mixed_6d.branch7x7_2         160  160 1x7 1 SAME
mixed_6/tower/conv_2        Mixed_6d.branch7x7_3         160  192 7x1 1 SAME
mixed_6/tower_1/conv        Mixed_6d.branch7x7dbl_1      768  160 1x1 1 SAME
mixed_6/tower_1/conv_1      Mixed_6d.branch7x7dbl_2      160  160 7x1 1 SAME
mixed_6/tower_1/conv_2      Mixed_6d.branch7x7dbl_3      160  160 1x7 1 SAME
mixed_6/tower_1/conv_3      Mixed_6d.branch7x7dbl_4      160  160 7x1 1 SAME
mixed_6/tower_1/conv_4      Mixed_6d.branch7x7dbl_5      160  192 1x7 1 SAME
mixed_6/tower_2/conv        Mixed_6d.branch_pool         768  192 1x1 1 SAME
mixed_7/conv                Mixed_6e.branch1x1           768  192 1x1 1 SAME
mixed_7/tower/conv          Mixed_6e.branch7x7_1         768  192 1x1 1 SAME
mixed_7/tower/conv_1        Mixed_6e.branch7x7_2         192  192 1x7 1 SAME
mixed_7/tower/conv_2        Mixed_6e.branch7x7_3         192  192 7x1 1 SAME
mixed_7/tower_1/conv        Mixed_6e.branch7x7dbl_1      768  192 1x1 1 SAME
mixed_7/tower_1/conv_1      Mixed_6e.branch7x7dbl_2      192  192 7x1 1 SAME
mixed_7/tower_1/conv_2      Mixed_6e.branch7x7dbl_3      192  192 1x7 1 SAME
mixed_7/tower_1/conv_3      Mixed_6e.branch7x7dbl_4      192  192 7x1 1 SAME
mixed_7/tower_1/conv_4      Mixed_6e.branch7x7dbl_5      192  192 1x7 1 SAME
mixed_7/tower_2/conv        Mixed_6e.branch_pool         768  192 1x1 1 SAME
mixed_8/tower/conv          Mixed_7a.branch3x3_1         768  192 1x1 1 SAME
mixed_8/tower/conv_1        Mixed_7a.branch3x3_2         192  320 3x3 2 VALID
mixed_8/tower_1/conv        Mixed_7a.branch7x7x3_1       768  192 1x1 1 SAME
mixed_8/tower_1/conv_1      Mixed_7a.branch7x7x3_2       192  192 1x7 1 SAME
mixed_8/tower_1/conv_2      Mixed_7a.branch7x7x3_3       192  192 7x1 1 SAME
mixed_8/tower_1/conv_3      Mixed_7a.branch7x7x3_4       192  192 3x3 2 VALID
mixed_9/conv                Mixed_7b.branch1x1          1280  320 1x1 1 SAME
mixed_9/tower/conv          Mixed_7b.branch3x3_1        1280  384 1x1 1 SAME
mixed_9/tower/mixed/conv    Mixed_7b.branch3x3_2a        384  384 1x3 1 SAME
mixed_9/tower/mixed/conv_1  Mixed_7b.branch3x3_2b        384  384 3x1 1 SAME
mixed_9/tower_1/conv        Mixed_7b.branch3x3dbl_1     1280  448 1x1 1 SAME
mixed_9/tower_1/conv_1      Mixed_7b.branch3x3dbl_2      448  384 3x3 1 SAME
mixed_9/tower_1/mixed/conv  Mixed_7b.branch3x3dbl_3a     384  384 1x3 1 SAME
mixed_9/tower_1/mixed/conv_1 Mixed_7b.branch3x3dbl_3b     384  384 3x1 1 SAME
mixed_9/tower_2/conv        Mixed_7b.branch_pool        1280  192 1x1 1 SAME
mixed_10/conv               Mixed_7c.branch1x1          2048  320 1x1 1 SAME
mixed_10/tower/conv         Mixed_7c.branch3x3_1        2048  384 1x1 1 SAME
mixed_10/tower/mixed/conv   Mixed_7c.branch3x3_2a        384  384 1x3 1 SAME
mixed_10/tower/mixed/conv_1 Mixed_7c.branch3x3_2b        384  384 3x1 1 SAME
mixed_10/tower_1/conv       Mixed_7c.branch3x3dbl_1     2048  448 1x1 1 SAME
mixed_10/tower_1/conv_1     Mixed_7c.branch3x3dbl_2      448  384 3x3 1 SAME
mixed_10/tower_1/mixed/conv Mixed_7c.branch3x3dbl_3a     384  384 1x3 1 SAME
mixed_10/tower_1/mixed/conv_1 Mixed_7c.branch3x3dbl_3b     384  384 3x1 1 SAME
mixed_10/tower_2/conv       Mixed_7c.branch_pool        2048  192 1x1 1 SAME
"""


def _parse(line: str) -> ConvSpec:
    scope, torch_name, in_fmaps, fmaps, kernel, stride, padding = line.split()
    height, width = kernel.split("x")
    return ConvSpec(scope, torch_name, int(in_fmaps), int(fmaps), (int(height), int(width)), int(stride), padding)


CONVS = [_parse(line) for line in _TABLE.strip().splitlines()]
"""All 94 convolutions."""
