"""How much a file may ask for: every limit of the readers, with its reason.

The limits are far above any honest dropped network, and far below what a machine can hold. They are
checked against what a file declares, before memory is taken.
"""

from unshuffle.errors import FileError

# Bytes.
FILE_BYTES = 2**31  # 2 GiB a file: the puzzle's largest is 5 MB, and a file is held as a whole
TOTAL_BYTES = 2**32  # 4 GiB for all numbers of a pile: the search keeps several copies of them
FREE_BYTES = 2**20  # 1 MiB may come out of any file: small files of zeros compress very well
GROWTH = 200  # and above that, 200 bytes for each of the file: floats rarely compress to half
TEXT_BYTES = 2**20  # 1 MiB for an answer or a note: a hundred thousand piece names
LEDGER_BYTES = 256 * 2**20  # a ledger as text: half a kilobyte a run, so half a million runs
LEDGER_RUN = 2**16  # 64 KiB a run of it: half a kilobyte is usual, the rest is for what went wrong
HEADER_BYTES = 2**24  # 16 MiB of pickle or JSON: some 200 bytes a tensor of a full pile
JSON_BYTES = 2**26  # 64 MiB of record as JSON: three million numbers of 20 characters
TOML_BYTES = 2**16  # 64 KiB of recipe or plan: the longest that ships has 2 KB
FOOTER_BYTES = 2**22  # 4 MiB of Parquet footer: some 150 for each column of each row group

# Parts.
PIECES = 10_000  # of a pile: matching them takes time cubic in their number
MEMBERS = 4 * PIECES  # of a zip, folder or file of tensors: two a piece, and as many beside them
DIMENSIONS = 8  # axes of a tensor: a linear layer has two, and NumPy stops at 64
PICKLE_STEPS = 2**21  # opcodes: a tensor takes about 40, so this is a full pile with room to spare
PICKLE_STACK = 2**16  # values: torch writes dictionaries in batches of a thousand entries
PICKLE_MARKS = 64  # open tuples and dictionaries: a state dict nests four deep
PICKLE_DEPTH = 64  # containers in containers: a module takes two for each module in it
JSON_PARTS = 2**18  # lists and objects, each of which takes memory: some ten for each block
THRIFT_DEPTH = 12  # structures in structures of a Parquet footer: an honest one nests seven deep
THRIFT_PARTS = 2**18  # its structures and elements of lists: some ten for each of the columns
PAGES = 2**17  # of a Parquet file, each with a header to be read: they hold a megabyte each
SCHEMA_DEPTH = 16  # columns in columns: older releases of the library descend without a limit
COLUMNS = 2**16  # of a record: networks of this kind are narrower by two orders of magnitude
CELLS = 2**28  # numbers of a record: 2 GiB as float64

# Characters.
NAME_CHARACTERS = 1_000  # of a tensor, member or column: names end up in tables and messages
TOML_LINE = 1_000  # what Python's reader takes grows with the square of a dotted key
LINE_CHARACTERS = 2**22  # 4 MiB for a row of text: as many cells as `COLUMNS` with 60 each


def check_growth(out: int, source: int, what: str) -> None:
    """Refuse far more memory than a file of `source` bytes has, or more than a pile may take."""
    allowed = min(TOTAL_BYTES, max(FREE_BYTES, GROWTH * source))
    if out > allowed:
        raise FileError(
            f"{what}: its {source} bytes unpack to {out} or more, but at most {allowed} are "
            "accepted; if you trust the file, save it again uncompressed"
        )


def check_count(count: int, most: int, what: str, advice: str = "is it the right file?") -> None:
    """Refuse more of something than a limit allows. `what` names the file and the count."""
    if count > most:
        raise FileError(f"{what}, but at most {most} are accepted; {advice}")


def check_name(name: str, what: str) -> None:
    """Refuse a name that is too long for a table or a message."""
    length = len(name)
    check_count(length, NAME_CHARACTERS, f"{what} has a name of {length} characters", "rename it")
