"""Changes between the picture's file and the network: decoder, resize, crop, channels, preprocessing, rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .change import Change
from .cropping import CROPS
from .decoding import DECODERS, decoders_for
from .pictures import KERAS, Source
from .program import Program
from .resizing import RESIZES

PREPROCESSED = {
    "torch": "preprocessed as torchvision's networks: /255, minus mean, over deviation, RGB",
    "tf": "preprocessed to -1..1, as keras.applications' mode tf",
    "none": "not preprocessed: RGB values 0..255",
    "/255": "values 0..1 in place of preprocessing",
    "/255+caffe": "divided by 255 before Keras's preprocessing, so that the means take all",
    "twice": "preprocessed twice: channels back in RGB, means subtracted twice",
}
ORDERED = {
    "rgb": "the picture was given as BGR (as OpenCV reads it), so that the network sees RGB",
    "rgb:own-mean": "the channels were reversed after preprocessing, or never put into BGR; each keeps its own mean",
}
ROUNDED = {
    "float16": "the pictures were rounded to float16 before the network",
    "bfloat16": "the pictures were rounded to bfloat16 before the network",
}


def picture_changes(source: Source) -> Iterator[Change]:
    """Those that what is known of the pictures allows."""
    if source.pixels is not None:
        yield from (_change(f"preprocess:{name}", text, preprocess=name) for name, text in PREPROCESSED.items())
        yield from (_change(f"channels:{name}", text, channels=name) for name, text in ORDERED.items())
    yield from (_change(f"input:{name}", text, rounding=name) for name, text in ROUNDED.items())
    if source.files:
        resizes = {name: resize for name, resize in RESIZES.items() if name != KERAS.resize}
        yield from (_change(f"resize:{name}", resize.detail, resize=name) for name, resize in resizes.items())
        yield from (_change(name, crop.detail, crop=name) for name, crop in CROPS.items() if name != KERAS.crop)
        fitting = {name for path in source.files for name in decoders_for(path)} - {KERAS.decoder}
        yield from (_change(f"decode:{name}", DECODERS[name].detail, decoder=name) for name in sorted(fitting))


def not_tried(source: Source) -> tuple[str, ...]:
    """What was left out because it needs more than was given, for people."""
    left = []
    if source.pixels is None:
        left.append("preprocess, channels: x is not Keras's preprocessing of whole pixel values; give image=")
    if not source.files:
        left.append("resize, crop, decode: these need the picture's file; give image=")
    return tuple(left)


def _change(name: str, detail: str, **fields: Any) -> Change:
    def apply(program: Program) -> Program:
        return replace(program, reading=replace(program.reading, **fields))

    return Change(name, detail, "picture", apply)
