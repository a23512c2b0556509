"""CRC-32C (Castagnoli) of many byte strings of equal length at once, as tfrecords use it.

The checksum is linear over GF(2), so a long string is cut into pieces which are all worked through side by side and
then joined: NumPy does one step for thousands of pieces.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # bits reversed
_ONES = 0xFFFFFFFF
_BITS = np.arange(32, dtype=np.uint32)
_MAX_LANES = 8192  # pieces worked on side by side
_MIN_PIECE = 128  # bytes
_BLOCK = 1 << 24  # bytes worked on at once


def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


_TABLE8 = _byte_table()
_LIST8 = _TABLE8.tolist()
_WORDS = np.arange(1 << 16, dtype=np.uint32)
_TABLE16 = (_TABLE8[_WORDS & 255] >> 8) ^ _TABLE8[((_WORDS >> 8) ^ _TABLE8[_WORDS & 255]) & 255]


def mask(crc: np.ndarray | int) -> np.ndarray:
    """The masked form, uint32, in which tfrecords store a checksum."""
    crc = np.asarray(crc, np.uint64)
    rotated = (crc >> np.uint64(15)) | (crc << np.uint64(17))
    return ((rotated + np.uint64(0xA282EAD8)) & np.uint64(_ONES)).astype(np.uint32)


def crc32c(data: bytes) -> int:
    """The checksum of one string. Plain Python for short ones."""
    if len(data) > 4 * _MIN_PIECE:
        return int(crc32c_rows(np.frombuffer(data, np.uint8)[np.newaxis])[0])
    crc = _ONES
    for byte in data:
        crc = (crc >> 8) ^ _LIST8[(crc ^ byte) & 255]
    return crc ^ _ONES


def crc32c_rows(rows: np.ndarray) -> np.ndarray:
    """The checksums, uint32 [N], of the rows of a uint8 array [N, length]."""
    count, length = rows.shape
    step = max(1, _BLOCK // max(length, 1))
    blocks = [_crc_of_block(rows[begin : begin + step]) for begin in range(0, count, step)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.uint32)


def _crc_of_block(rows: np.ndarray) -> np.ndarray:
    count, length = rows.shape
    pieces = 1
    while pieces * 2 * count <= _MAX_LANES and pieces * 2 * _MIN_PIECE <= length:
        pieces *= 2
    piece = -(-length // (2 * pieces)) * 2  # bytes, even
    # Zeros in front change nothing as long as the register is zero; what its true start of ones does is added below.
    padded = np.zeros([count, pieces * piece], np.uint8)
    padded[:, pieces * piece - length :] = rows
    words = np.ascontiguousarray(padded.view("<u2").reshape(count * pieces, piece // 2).T)  # [words, lanes]
    crc = np.zeros(count * pieces, np.uint32)
    index = np.empty_like(crc)
    looked_up = np.empty_like(crc)
    for word in words:
        np.bitwise_and(crc, 0xFFFF, out=index)
        np.bitwise_xor(index, word, out=index)
        np.take(_TABLE16, index, out=looked_up, mode="clip")
        np.right_shift(crc, 16, out=crc)
        np.bitwise_xor(crc, looked_up, out=crc)
    crc = crc.reshape(count, pieces)
    while crc.shape[1] > 1:  # join neighbours
        crc = _apply(_zeros_operator(piece), crc[:, 0::2]) ^ crc[:, 1::2]
        piece *= 2
    start = _apply(_zeros_operator(length), np.full(1, _ONES, np.uint32))
    return crc[:, 0] ^ start ^ np.uint32(_ONES)


def _apply(operator: np.ndarray, crc: np.ndarray) -> np.ndarray:
    """The linear map whose value for bit i is operator[i], of every element."""
    bits = (crc[..., np.newaxis] >> _BITS) & 1
    return np.bitwise_xor.reduce(bits * operator, axis=-1)


@functools.lru_cache(maxsize=256)
def _zeros_operator(length: int) -> np.ndarray:
    """What `length` zero bytes do to the register, uint32 [32]."""
    result = np.uint32(1) << _BITS  # nothing
    square = _TABLE8[(np.uint32(1) << _BITS) & 255] ^ ((np.uint32(1) << _BITS) >> 8)  # one byte
    while length:
        if length & 1:
            result = _apply(square, result)
        square = _apply(square, square)
        length >>= 1
    return result
