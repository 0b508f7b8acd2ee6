"""Hostile variants of valid files: of their structure where they have one, else of their bytes.

Every function takes its randomness from a ``random.Random``, so that a number gives an input back.
"""

import io
import json
import math
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import yaml

#: Values that a key may hold by mistake or by malice, in any format.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 1.5, -0.0, 1e-320, 1e308, -(10**9)),
    *(10**400, 2**31, 2**63, -(2**63) - 1, math.nan, math.inf, -math.inf),
    *("", " ", "0", "1e5", "nan", "../../x", "..", "/", "/x", "~", "a\0b", "a\nb", "\u2028", "é"),
    *("x" * 10_000, "x/" * 2_000, "CON", "-h", "--out", "%s{}$x", "\x1b[2J", "2001-01-01"),
    *([], {}, [[]], {"a": {}}, [None], [1, 2], ["a"], [0.5] * 3, list(range(2_000))),
    *({"": 1}, {"x" * 5_000: 1}, {"a": {"b": {"c": 1}}}),
]
#: Texts that no value gives when it is written.
JSON_TEXTS = [
    *("[" * 100_000, '{"a":' * 50_000, "1" * 5_000, "1e999", "-Infinity", '"\\ud800"', "01"),
    *('{"a": 1, "a": 2}', "'a'", "//", "1 2", '"\t"', "undefined", "[1,]", "1E400"),
]
YAML_TEXTS = [
    *("[" * 3_000, "&a [*a]", "*unknown", "{a: 1, a: 2}", "!!python/object/apply:os.mkdir [ran]"),
    *("!!binary x", "!!float abc", "!!int x", "!!set {a}", "!unknown x", "1_000", "017", "0o17"),
    *("2001-01-01", "2001-99-99", "1:30", ".nan", "-.inf", "yes", "~", "? x", "<<: 1", "{{a}}"),
    *("0x", "0b2", "1e5", "- a\n - b", "\t", '"\\ud800"', "!!timestamp x", "{<<: {a: 1}}"),
    "&a [x, x, x], [&b [*a, *a, *a], &c [*b, *b, *b], [*c, *c, *c, *c]]",
]


#: Texts for the header of an ``.npy`` file.
NPY_TEXTS = [
    *("'|O'", "'<f8'", "'|V9'", "'|S3'", "'<U1'", "'<M8[s]'", "[('a', '|u1')]", "True", "None"),
    *(
        "",
        "(",
        "[",
        "\n",
        "'a'",
        "9" * 30,
        "-1",
        "1e9",
        "(" * 3000,
        "__import__('os').mkdir('ran')",
    ),
]


def tree(rng: Random, content: Any, kind: str) -> bytes:
    """Return JSON or YAML of a content with one to three places altered."""
    content = json.loads(json.dumps(content))
    marks: dict[str, str] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = _alter(rng, content, kind, marks)
    text = written(content, kind)
    for mark, raw in marks.items():
        text = text.replace(f'"{mark}"', raw).replace(f"'{mark}'", raw).replace(mark, raw)
    data = text.encode("utf-8", "surrogatepass")
    return bytes_of(rng, data) if rng.random() < 0.15 else data


def written(content: Any, kind: str) -> str:
    """Return a content as JSON or YAML."""
    try:
        if kind == "json":
            return json.dumps(content)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    except ValueError:  # an integer of too many digits to print
        return json.dumps(str(type(content)))


def _alter(rng: Random, content: Any, kind: str, marks: dict[str, str]) -> Any:
    """Return the content with one of its places altered."""
    whole = [content]
    holder, key = rng.choice(list(_places(whole)))
    choice = rng.random()
    if choice < 0.25:
        holder[key] = _near(rng, holder[key])
    elif choice < 0.55:
        holder[key] = _value(rng)
    elif choice < 0.72:
        mark = f"@@{len(marks)}@@"
        marks[mark] = rng.choice(JSON_TEXTS if kind == "json" else YAML_TEXTS)
        holder[key] = mark
    elif choice < 0.80 and holder is not whole:
        del holder[key]
    elif choice < 0.86:
        other, name = rng.choice(list(_places(whole)))
        holder[key] = json.loads(json.dumps(other[name], default=str))
    elif choice < 0.92:
        holder[key] = {str(key): holder[key]} if rng.random() < 0.5 else [holder[key]] * 2
    elif isinstance(holder, dict):
        name = rng.choice([str(_value(rng))[:6000], f"{key} ", str(key).upper(), str(key)[:-1]])
        holder[name] = holder.pop(key)
    else:
        holder[key] = _value(rng)
    return whole[0]


def _near(rng: Random, value: Any) -> Any:
    """Return another value of the same type, which a check of types lets pass."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([-1, 0, 1, 2, 3, 17, -value, value + 1, 2 * value, 10**5, 10**9, 2**63])
    if isinstance(value, float):
        return rng.choice([-1.0, 0.0, 1e-300, 1e300, -value, 2 * value, math.nan, math.inf])
    if isinstance(value, str):
        texts = [text for text in VALUES if isinstance(text, str)]
        return rng.choice([*texts, value.upper(), value[:-1], f"{value}/../../x"])
    if isinstance(value, list):
        return rng.choice([value[:-1], value * 2, value[::-1], value[:1] * 3])
    return {}


def _value(rng: Random) -> Any:
    value = rng.choice(VALUES)
    if isinstance(value, int) and abs(value) > 10**300:
        return value
    return json.loads(json.dumps(value))


def _places(holder: Any) -> Any:
    """Yield all containers and their keys below one."""
    keys = holder if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def word(rng: Random, text: str) -> str:
    """Return a hostile variant of a word of a command line."""
    choice = rng.random()
    if choice < 0.4:
        key, equals, _ = text.partition("=")
        value = rng.choice([*YAML_TEXTS, *map(str, VALUES[:20]), *filter(_is_text, VALUES)])
        text = f"{key}{equals}{value}"
    elif choice < 0.7:
        key, equals, value = text.partition("=")
        text = rng.choice([f"{key}.x=1", f"{key}={value} ", f" {key} = {value}", f"{key}:{value}"])
    elif choice < 0.85:
        text = bytes_of(rng, text.encode())[:5000].decode("latin-1")
    else:
        text = rng.choice(
            [".=1", "=", "=1", "a..b=1", "." * 3000 + "=1", "[]=1", "x" * 9000, "é=ü"]
        )
    return text.replace("\0", "")  # which no command line can hold


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def bytes_of(rng: Random, data: bytes) -> bytes:
    """Return bytes flipped, cut, put in, taken out, zeroed or doubled."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(made) + 1)
        match rng.randrange(7):
            case 0:
                made = made[:place]
            case 1 if made:
                made[place - 1] ^= 1 << rng.randrange(8)
            case 2:
                made[place:place] = rng.choice([b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"{"])
            case 3:
                del made[place : place + rng.choice((1, 4, 100))]
            case 4:
                made[place : place + 8] = bytes(len(made[place : place + 8]))
            case 5:
                made[place : place + 4] = rng.randbytes(len(made[place : place + 4]))
            case _:
                made += made[place:]
    return bytes(made)


def png(rng: Random, data: bytes) -> bytes:
    """Return a PNG with another header or chunk, its checksums right, or with other bytes."""
    if rng.random() < 0.4:
        return bytes_of(rng, data)
    chunks, start = [], 8
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        kind = data[start + 4 : start + 8]
        chunks.append((kind, data[start + 8 : start + 8 + length]))
        start += 12 + length
    k = rng.randrange(len(chunks))
    kind, body = chunks[k]
    if rng.random() < 0.6:
        fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        which = rng.randrange(7)
        big = (0, 1, 7, 10**4, 2**16, 2**31 - 1, 2**32 - 1) if which < 2 else (0, 1, 2, 3, 4, 6, 16)
        fields[which] = rng.choice(big)
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
    elif rng.random() < 0.5:
        chunks[k] = (kind, bytes_of(rng, body))
    else:
        names = [
            b"acTL",
            b"fcTL",
            b"tRNS",
            b"PLTE",
            b"gAMA",
            b"zTXt",
            b"iTXt",
            b"IDAT",
            b"\0\0\0\0",
        ]
        bodies = [b"", rng.randbytes(9), b"a\0\0" + zlib.compress(bytes(10**7)), bytes(8)]
        chunks.insert(rng.randrange(len(chunks) + 1), (rng.choice(names), rng.choice(bodies)))
    made = data[:8]
    for kind, body in chunks:
        made += struct.pack(">I", len(body)) + kind + body
        made += struct.pack(">I", zlib.crc32(kind + body))
    return made


def npy(rng: Random, data: bytes) -> bytes:
    """Return an ``.npy`` file with another header, or with other bytes."""
    if rng.random() < 0.3:
        return bytes_of(rng, data)
    (length,) = struct.unpack_from("<H", data, 8)
    header, body = data[10 : 10 + length].decode(), data[10 + length :]
    old = rng.choice(["'|u1'", "False", "(", ")", ",", "'shape'", "'descr'", "{", "}", header])
    new = rng.choice(NPY_TEXTS)
    made = header.replace(old, new, rng.choice((1, 5))).encode()
    told = rng.choice((len(made),) * 5 + (0, 1, 65535)) & 0xFFFF
    return data[:8] + struct.pack("<H", told) + made + body


def safetensors(rng: Random, data: bytes) -> bytes:
    """Return a safetensors file with another header, or with other bytes."""
    if rng.random() < 0.3:
        return bytes_of(rng, data)
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    made = tree(rng, header, "json")
    told = rng.choice((len(made),) * 6 + (0, 2**40, 2**63, len(made) + 1))
    return struct.pack("<Q", told) + made + body


class _Runs:
    """Unpickled, it makes a folder: the sign that code of a file was run."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.folder,)


def torch_file(rng: Random, data: bytes, sign: Path) -> bytes:
    """Return a ``.pt`` file with other bytes, members or pickle, which may make the folder."""
    if rng.random() < 0.35:
        return bytes_of(rng, data)
    protocol = rng.choice((2, 4))
    code = pickle.dumps(rng.choice([_Runs(str(sign)), {"model": _Runs(str(sign))}]), protocol)
    if rng.random() < 0.2:
        return code
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        chosen = rng.randrange(len(old.namelist()))
        for k, name in enumerate(old.namelist()):
            body = old.read(name)
            if name.endswith("data.pkl") and rng.random() < 0.7:
                values = pickle.dumps(
                    rng.choice([None, 1, [], {}, {"model": 1}, {1: 2}, "x" * 9999])
                )
                body = rng.choice([code, values, bytes_of(rng, body), bytes_of(rng, body)])
            elif k == chosen:
                body = bytes_of(rng, body)
                name = rng.choice([name, name, f"../../{name}", f"/x/{name}", name.upper(), "x"])
            new.writestr(name, body)
    return made.getvalue()
