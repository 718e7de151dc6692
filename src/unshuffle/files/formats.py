"""Which format a file of arrays is in, by its content, and what it declares."""

import re
import shlex
from typing import TYPE_CHECKING

from unshuffle.errors import FileError, listed, shown
from unshuffle.files import limits
from unshuffle.files.opening import incomplete
from unshuffle.files.tensors import Stored

if TYPE_CHECKING:
    from unshuffle.files.zip_file import Archive

HEAD_BYTES = 4096  # of a file, from which its format is seen

_ZIP = b"PK\x03\x04", b"PK\x05\x06"  # the second is of an empty one
_NPY = b"\x93NUMPY"
_JOBLIB = b"joblib.numpy_pickle"  # in its pickles, between which arrays stand
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_HDF5_MEMBER = "model.weights.h5"  # of an archive of Keras


# What stands before the command for one file, and before that for all of its kind in a folder.
_ONE = "convert it and give NAME.npz: "
_ALL = "convert each such file and give the folder: for f in {like}; do "


def _made(program: str) -> str:
    """The command that saves the arrays `d` of a program as .npz beside the file."""
    program = f"import sys,numpy,{program};numpy.savez(sys.argv[1],**d)"
    return f'{_ONE}python -c "{program}" FILE'


# Keras 3 numbers layers anew, and keeps a layer's own name beside its arrays.
_HDF5 = (
    "d={};f.visititems(lambda k,v:d.update({'/'.join(k.split('/')[:-1]+"
    "[*filter(None,[v.parent.attrs.get('name')])]+k.split('/')[-1:]):v[()]}) "
    "if hasattr(v,'shape') else None)"
)
_KERAS = _made(
    f"zipfile,h5py;f=h5py.File(zipfile.ZipFile(sys.argv[1]).open('{_HDF5_MEMBER}'));{_HDF5}"
)

# What is not read: how such a file begins, what it is, and what is to be done with it.
_OTHERS = (
    (
        rb"\x89HDF\r\n|MATLAB 7",
        "a file of HDF5, as Keras and MATLAB write",
        _made(f"h5py;f=h5py.File(sys.argv[1]);{_HDF5}"),
    ),
    (
        rb"\x08[\x03-\x7f][\x12\x1a\x22:]",
        "a model of ONNX",
        _made(
            "onnx,onnx.numpy_helper as h;"
            "d={i.name:h.to_array(i) for i in onnx.load(sys.argv[1]).graph.initializer}"
        ),
    ),
    (
        rb"[\x81-\x8f\xde\xdf][\x00-\xff]{0,4}?[\xa1-\xbf\xd9]\w",
        "a file of MessagePack, as Flax writes",
        _made(
            "flax.serialization as s,flax.traverse_util as u;"
            "d=u.flatten_dict(s.msgpack_restore(open(sys.argv[1],'rb').read()),sep='/')"
        ),
    ),
    (
        rb"GGUF",
        "a file of GGUF, as llama.cpp writes",
        _made(
            "gguf as g;d={t.name:g.dequantize(t.data,t.tensor_type)"
            " for t in g.GGUFReader(sys.argv[1]).tensors}"
        ),
    ),
    (
        rb"[\x00-\xff]{4}TFL3",
        "a model of TensorFlow Lite",
        _made(
            "ai_edge_litert.interpreter as l;i=l.Interpreter(sys.argv[1]);"
            "n={t['index']:t['name'] for t in i.get_tensor_details()};"
            "d={n[k].replace('/','.'):i.get_tensor(k) for o in i._get_ops_details()"
            " if o['op_name']=='FULLY_CONNECTED' for k in o['inputs'][1:] if k>=0}"
        ),
    ),
    (
        rb"MATLAB 5",
        "a file of MATLAB",
        _made(
            "scipy.io as s;d={k:v.squeeze() for k,v in s.loadmat(sys.argv[1]).items() if k[0]!='_'}"
        ),
    ),
    (
        rb"x[\x01\x5e\x9c\xda](?=[\x00-\xff]{0,999}?[\x00-\x08])|\x80[\x02-\x05]",
        "a file of joblib",
        'if you trust it, convert it and give NAME.pkl: python -c "import sys,pickle,joblib;'
        "pickle.dump(joblib.load(sys.argv[1]),open(sys.argv[1]+'.pkl','wb'))\" FILE",
    ),
    (
        rb"\(?\]q|\(?}q|\([dl]p[0-9]|ccopy_reg\n",
        "a pickle of protocol 0 or 1",
        'if you trust it, convert it and give NAME.pkl: python -c "import sys,pickle;'
        "pickle.dump(pickle.load(open(sys.argv[1],'rb'),encoding='latin1'),"
        "open(sys.argv[1]+'.pkl','wb'))\" FILE",
    ),
    (rb"version https://git-lfs", "a pointer of Git LFS", "fetch the file with git lfs pull"),
    (
        rb"(?i)\s*<(!doctype|html|\?xml)",
        "a web page",
        "download the file itself",
    ),
    (rb"\x1f\x8b", "compressed by gzip", "unpack it with tar -xf FILE or gunzip FILE"),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "an archive", "unpack it and give the folder"),
    (rb"[\x00-\xff]{257}ustar", "a tar archive", "unpack it with tar -xf FILE and give the folder"),
)

# What is known by its name, and what of the name is to be given.
_NAMED = (
    (
        r"(.+)/_METADATA",
        "a checkpoint of Orbax",
        _made(
            "os,jax.tree_util as t,orbax.checkpoint as o;"
            "r=o.StandardCheckpointer().restore(os.path.abspath(sys.argv[1]));"
            "d={t.keystr(k,simple=True,separator='/'):v for k,v in t.tree_leaves_with_path(r)}"
        ),
    ),
    (
        r"(.+)\.(index|data-[0-9]{5}-of-[0-9]{5})",
        "a checkpoint of TensorFlow",
        _made(
            "tensorflow as t;c=t.train.load_checkpoint(sys.argv[1]);"
            "d={k.split('/.A')[0]:c.get_tensor(k) for k in c.get_variable_to_shape_map()"
            " if '_OBJECT' not in k}"
        ),
    ),
)

_TEXT = re.compile(rb"\s*([{\[]|[-+]?[0-9.]+(e[-+]?[0-9]+)?[,;\s])")  # of numbers


def arrays_of(content: bytes, where: str) -> dict[str, Stored]:
    """The arrays that a file declares, by name. `where` names it in messages.

    They come in the sequence of the file where its format has one. What they take in memory is
    checked here, and none of their numbers is read.
    """
    arrays = _read(content, where)
    limits.check_count(len(arrays), limits.MEMBERS, f"{where}: holds {len(arrays)} tensors")
    for name, array in arrays.items():
        limits.check_name(name, f"{where}: array {shown(name)}")
        if len(array.shape) > limits.DIMENSIONS:
            raise FileError(
                f"{array.what} has {len(array.shape)} axes, but a linear layer has at most two"
            )
    limits.check_growth(sum(array.nbytes for array in arrays.values()), len(content), where)
    return arrays


def may_hold_arrays(head: bytes) -> bool:
    """Whether a file that begins so may be in a format that is read."""
    zipped, pickled = head.startswith(_ZIP), bool(_PICKLE.match(head))
    return zipped or pickled or _is_npy(head) or _is_safetensors(head)


def holds_arrays(content: bytes, where: str) -> bool:
    """Whether a file is in a readable format, and no zip of other files."""
    return may_hold_arrays(content) and files_in(content, where) is None


def files_in(content: bytes, where: str) -> "Archive | None":
    """The zip that a file is, if it holds files and not arrays."""
    if not content.startswith(_ZIP):
        return None
    from unshuffle.files.zip_file import open_zip

    archive = open_zip(where, content)
    return archive if _kind(archive) == "files" else None


def _kind(archive: "Archive") -> str:
    from unshuffle.files.torch_zip import is_torch

    names = archive.members
    if is_torch(archive):
        return "torch"
    if _HDF5_MEMBER in names:
        return "keras"
    return "npz" if all(name.endswith(".npy") for name in names) else "files"


def _read(content: bytes, where: str) -> dict[str, Stored]:
    # No pile waits for the formats that it is not kept in.
    if content.startswith(_ZIP):
        return _read_zip(content, where)
    if _is_safetensors(content):  # first, since a length may begin as anything does
        from unshuffle.files.safetensors_file import safetensors_arrays as read
    elif _PICKLE.match(content) and _JOBLIB not in content:
        from unshuffle.files.torch_zip import pickled_arrays as read
    elif _is_npy(content):
        from unshuffle.files.npz_file import npy_arrays as read
    else:
        check_known(content, where)
        check_text(content, where)
        raise incomplete(where, "torch, safetensors or NumPy", f"it begins with {content[:8]!r}")
    return read(content, where)


def check_known(content: bytes, where: str, like: str = "") -> None:
    """Refuse a file of a format that is known and not read, with what is to be done with it.

    `like` is a pattern of the shell for this file and others of its kind.
    """
    for form, what, advice in _OTHERS:
        if re.match(form, content):
            raise _other(where, what, advice, like)
    for name, what, advice in _NAMED:
        if named := re.fullmatch(name, where, re.DOTALL):
            raise _other(named[1], what, advice)


def check_text(content: bytes, where: str) -> None:
    """Refuse numbers that are written as text."""
    if re.match(_TEXT, content):
        raise FileError(
            f"{where}: is text; save the numbers of each layer by numpy.savez, called 7.weight and "
            "7.bias for layer 7"
        )


def _read_zip(content: bytes, where: str) -> dict[str, Stored]:
    from unshuffle.files.zip_file import open_zip

    archive = open_zip(where, content)
    match _kind(archive):
        case "torch":
            from unshuffle.files.torch_zip import torch_arrays as read
        case "npz":
            from unshuffle.files.npz_file import npz_arrays as read
        case "keras":
            raise _other(where, "an archive of Keras", _KERAS)
        case _:
            found = listed(list(archive.members))
            raise FileError(
                f"{where}: is a zip of {found}, and of no torch or NumPy file; is it the right one?"
            )
    return read(archive)


def _is_npy(content: bytes) -> bool:
    """Whether .npy arrays begin here, or behind a line of text as Equinox writes it."""
    line = content.find(b"\n", 0, HEAD_BYTES) + 1
    return content.startswith(_NPY) or content.startswith(_NPY, line)


def _is_safetensors(content: bytes) -> bool:
    """Whether a file begins with the length of a JSON object."""
    return content[5:9] == b"\0\0\0{"


def _other(where: str, what: str, advice: str, like: str = "") -> FileError:
    if like and advice.startswith(_ONE):
        command = advice.removeprefix(_ONE).replace("FILE", '"$f"')
        return FileError(f"{where}: is {what}; {_ALL.format(like=like)}{command}; done")
    told = advice.replace("FILE", shlex.quote(where)).replace("NAME", where)
    return FileError(f"{where}: is {what}; {told}")
