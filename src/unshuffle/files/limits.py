"""How much a file may ask for; every limit of the readers stands here with its reason.

The limits are far above any honest dropped network and far below what would bring a machine down.
They are checked against what a file declares, before memory is taken.
"""

from unshuffle.errors import FileError

FILE_BYTES = 2**31
"""2 GiB a file: the puzzle's largest is 5 MB, and a file is held in memory as a whole."""

TOTAL_BYTES = 2**32
"""4 GiB for all numbers of a pile, decompressed: the search keeps several copies of them."""

FREE_BYTES = 2**20
"""1 MiB may come out of a file of any size: small files of zeros compress very well."""

GROWTH = 200
"""Above that, 200 bytes may come out for each byte of the file: floats rarely compress to half."""

TEXT_BYTES = 2**20
"""1 MiB of text, for an answer or a note: a hundred thousand piece names."""

LEDGER_BYTES = 256 * 2**20
"""A ledger as text: half a kilobyte a run, so half a million runs."""

LEDGER_RUN = 2**16
"""64 KiB for a run of a ledger: half a kilobyte is usual, and the rest is for what went wrong."""

PIECES = 10_000
"""Pieces in a pile: matching them takes time cubic in their number."""

MEMBERS = 4 * PIECES
"""Members of a zip, files of a folder, tensors of a file: two a piece, and as many beside them."""

NAME_CHARACTERS = 1_000
"""Length of a tensor's, member's or column's name: names end up in tables and error messages."""

DIMENSIONS = 8
"""Axes of a tensor: a linear layer has two, and NumPy stops at 64."""

HEADER_BYTES = 2**24
"""16 MiB of pickle or JSON header: some 200 bytes for each of the tensors of a full pile."""

PICKLE_STEPS = 2**21
"""Opcodes of a pickle: a tensor takes about 40, so this is a full pile with room to spare."""

PICKLE_STACK = 2**16
"""Values on the pickle's stack: torch writes dictionaries in batches of a thousand entries."""

PICKLE_MARKS = 64
"""Open tuples and dictionaries of a pickle: a state dict nests four deep."""

JSON_PARTS = 2**18
"""Lists and objects of a JSON file, each of which takes memory: some ten for each block."""

TOML_BYTES = 2**16
"""64 KiB of recipe or plan: the longest that ships has 2 KB."""

TOML_LINE = 1_000
"""Characters of its lines: what Python's reader takes grows with the square of a dotted key."""

FOOTER_BYTES = 2**22
"""4 MiB of Parquet footer: some 150 bytes for each column of each row group."""

THRIFT_DEPTH = 12
"""Structures in structures of a Parquet footer: an honest one nests seven deep."""

THRIFT_PARTS = 2**18
"""Structures and elements of lists in a Parquet footer: some ten for each of its columns."""

PAGES = 2**17
"""Pages of a Parquet file, each of which has a header to be read: they hold a megabyte each."""

SCHEMA_DEPTH = 16
"""Columns in columns of a Parquet file: older releases of the library descend without a limit."""

LINE_CHARACTERS = 2**22
"""4 MiB of a row of text: as many cells as `COLUMNS` with 60 characters each."""

COLUMNS = 2**16
"""Columns of a record: networks of this kind are narrower by two orders of magnitude."""

CELLS = 2**28
"""Numbers of a record: 2 GiB as float64."""


def check_growth(out: int, source: int, what: str) -> None:
    """Refuse what would take far more memory than its file, or more than a pile may.

    Parameters
    ----------
    out
        Bytes that are about to be taken.
    source
        Bytes of the file they come from.
    what
        Names the file for the message.

    Raises
    ------
    FileError
        If `out` is over `TOTAL_BYTES`, or over both `FREE_BYTES` and `GROWTH` times `source`.
    """
    allowed = min(TOTAL_BYTES, max(FREE_BYTES, GROWTH * source))
    if out > allowed:
        raise FileError(
            f"{what}: its {source} bytes unpack to {out} or more, but at most {allowed} are "
            "accepted; if you trust the file, save it again uncompressed"
        )
