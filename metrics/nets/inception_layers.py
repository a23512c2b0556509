"""The convolutions of Inception-v3 as of 2015-12-05, in their official order.

Each has batch normalisation without scale (epsilon 0.001) and a ReLU. The first column is the scope in the frozen graph
`classify_image_graph_def.pb`, the second the name in PyTorch files.
"""

from typing import NamedTuple


class ConvSpec(NamedTuple):
    """A row of the tables."""

    scope: str
    torch_name: str
    in_fmaps: int
    fmaps: int
    kernel: tuple[int, int]  # height, width
    stride: int
    padding: str


_STEM = """
conv                   Conv2d_1a_3x3       3   32 3x3 2 VALID
conv_1                 Conv2d_2a_3x3      32   32 3x3 1 VALID
conv_2                 Conv2d_2b_3x3      32   64 3x3 1 SAME
conv_3                 Conv2d_3b_1x1      64   80 1x1 1 VALID
conv_4                 Conv2d_4a_3x3      80  192 3x3 1 VALID
"""
# Blocks of feature maps of 35x35, 17x17 and 8x8 pixels.
_BLOCK_35 = """
{mixed}/conv           {Mixed}.branch1x1         {fmaps}  64 1x1 1 SAME
{mixed}/tower/conv     {Mixed}.branch5x5_1       {fmaps}  48 1x1 1 SAME
{mixed}/tower/conv_1   {Mixed}.branch5x5_2            48  64 5x5 1 SAME
{mixed}/tower_1/conv   {Mixed}.branch3x3dbl_1    {fmaps}  64 1x1 1 SAME
{mixed}/tower_1/conv_1 {Mixed}.branch3x3dbl_2         64  96 3x3 1 SAME
{mixed}/tower_1/conv_2 {Mixed}.branch3x3dbl_3         96  96 3x3 1 SAME
{mixed}/tower_2/conv   {Mixed}.branch_pool  {fmaps} {pooled} 1x1 1 SAME
"""
_TO_17 = """
mixed_3/conv           Mixed_6a.branch3x3        288 384 3x3 2 VALID
mixed_3/tower/conv     Mixed_6a.branch3x3dbl_1   288  64 1x1 1 SAME
mixed_3/tower/conv_1   Mixed_6a.branch3x3dbl_2    64  96 3x3 1 SAME
mixed_3/tower/conv_2   Mixed_6a.branch3x3dbl_3    96  96 3x3 2 VALID
"""
_BLOCK_17 = """
{mixed}/conv           {Mixed}.branch1x1             768     192 1x1 1 SAME
{mixed}/tower/conv     {Mixed}.branch7x7_1           768 {fmaps} 1x1 1 SAME
{mixed}/tower/conv_1   {Mixed}.branch7x7_2       {fmaps} {fmaps} 1x7 1 SAME
{mixed}/tower/conv_2   {Mixed}.branch7x7_3       {fmaps}     192 7x1 1 SAME
{mixed}/tower_1/conv   {Mixed}.branch7x7dbl_1        768 {fmaps} 1x1 1 SAME
{mixed}/tower_1/conv_1 {Mixed}.branch7x7dbl_2    {fmaps} {fmaps} 7x1 1 SAME
{mixed}/tower_1/conv_2 {Mixed}.branch7x7dbl_3    {fmaps} {fmaps} 1x7 1 SAME
{mixed}/tower_1/conv_3 {Mixed}.branch7x7dbl_4    {fmaps} {fmaps} 7x1 1 SAME
{mixed}/tower_1/conv_4 {Mixed}.branch7x7dbl_5    {fmaps}     192 1x7 1 SAME
{mixed}/tower_2/conv   {Mixed}.branch_pool           768     192 1x1 1 SAME
"""
_TO_8 = """
mixed_8/tower/conv     Mixed_7a.branch3x3_1      768 192 1x1 1 SAME
mixed_8/tower/conv_1   Mixed_7a.branch3x3_2      192 320 3x3 2 VALID
mixed_8/tower_1/conv   Mixed_7a.branch7x7x3_1    768 192 1x1 1 SAME
mixed_8/tower_1/conv_1 Mixed_7a.branch7x7x3_2    192 192 1x7 1 SAME
mixed_8/tower_1/conv_2 Mixed_7a.branch7x7x3_3    192 192 7x1 1 SAME
mixed_8/tower_1/conv_3 Mixed_7a.branch7x7x3_4    192 192 3x3 2 VALID
"""
_BLOCK_8 = """
{mixed}/conv                 {Mixed}.branch1x1          {fmaps} 320 1x1 1 SAME
{mixed}/tower/conv           {Mixed}.branch3x3_1        {fmaps} 384 1x1 1 SAME
{mixed}/tower/mixed/conv     {Mixed}.branch3x3_2a           384 384 1x3 1 SAME
{mixed}/tower/mixed/conv_1   {Mixed}.branch3x3_2b           384 384 3x1 1 SAME
{mixed}/tower_1/conv         {Mixed}.branch3x3dbl_1     {fmaps} 448 1x1 1 SAME
{mixed}/tower_1/conv_1       {Mixed}.branch3x3dbl_2         448 384 3x3 1 SAME
{mixed}/tower_1/mixed/conv   {Mixed}.branch3x3dbl_3a        384 384 1x3 1 SAME
{mixed}/tower_1/mixed/conv_1 {Mixed}.branch3x3dbl_3b        384 384 3x1 1 SAME
{mixed}/tower_2/conv         {Mixed}.branch_pool        {fmaps} 192 1x1 1 SAME
"""
_TABLES = [
    _STEM,
    _BLOCK_35.format(mixed="mixed", Mixed="Mixed_5b", fmaps=192, pooled=32),
    _BLOCK_35.format(mixed="mixed_1", Mixed="Mixed_5c", fmaps=256, pooled=64),
    _BLOCK_35.format(mixed="mixed_2", Mixed="Mixed_5d", fmaps=288, pooled=64),
    _TO_17,
    _BLOCK_17.format(mixed="mixed_4", Mixed="Mixed_6b", fmaps=128),
    _BLOCK_17.format(mixed="mixed_5", Mixed="Mixed_6c", fmaps=160),
    _BLOCK_17.format(mixed="mixed_6", Mixed="Mixed_6d", fmaps=160),
    _BLOCK_17.format(mixed="mixed_7", Mixed="Mixed_6e", fmaps=192),
    _TO_8,
    _BLOCK_8.format(mixed="mixed_9", Mixed="Mixed_7b", fmaps=1280),
    _BLOCK_8.format(mixed="mixed_10", Mixed="Mixed_7c", fmaps=2048),
]


def _parse(line: str) -> ConvSpec:
    scope, torch_name, in_fmaps, fmaps, kernel, stride, padding = line.split()
    height, width = kernel.split("x")
    return ConvSpec(scope, torch_name, int(in_fmaps), int(fmaps), (int(height), int(width)), int(stride), padding)


CONVS = [_parse(line) for table in _TABLES for line in table.strip().splitlines()]
"""All 94 convolutions."""
