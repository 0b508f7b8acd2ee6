"""What the public code calls a weight, and what we call it: one table, read both ways.

Source of the names: ``UNIC-Lab/RadioDiff``, the December 2024 release (R24) and the July 2025
release (R25), which share one layout.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from radiodiff.models import AutoencoderConfig, UNetConfig

__all__ = ["Names", "autoencoder_names", "unet_names"]

# Parts of a block: theirs to ours. Parts that are called the same are not listed.
_AUTOENCODER_BLOCK = {"nin_shortcut": "shortcut"}
_AUTOENCODER_ATTENTION = {
    "softmax": {"q": "query", "k": "key", "v": "value", "proj_out": "projection"},
    "linear": {"to_qkv": "qkv", "to_out": "projection"},
    "none": {},
}
_RESIDUAL_BLOCK = {
    "mlp.1": "time_projection",
    "block1.proj": "conv1",
    "block1.norm": "norm1",
    "block2.proj": "conv2",
    "block2.norm": "norm2",
    "res_conv": "shortcut",
}
_LINEAR_ATTENTION = {
    "fn.norm.g": "norm.gain",
    "fn.fn.to_qkv": "qkv",
    "fn.fn.to_out.0": "projection",
    "fn.fn.to_out.1.g": "out_norm.gain",
}
_ATTENTION = {"fn.norm.g": "norm.gain", "fn.fn.to_qkv": "qkv", "fn.fn.to_out": "projection"}
_RELATION = {
    "input_conv1": "condition_input",
    "input_conv2": "feature_input",
    "attentions.0.q_lin": "attention.query",
    "attentions.0.k_lin": "attention.key",
    "attentions.0.v_lin": "attention.value",
    "attentions.0.mlp.fc1": "attention.hidden",
    "attentions.0.mlp.fc2": "attention.hidden_out",
    "attentions.0.concat_conv": "attention.merge",
    "attentions.0.gn": "attention.norm",
    "attentions.0.out_conv": "attention.projection",
}
_FILTER = {"0": "norm", "1": "conv", "2.complex_weight": "complex_weight"}


@dataclass(frozen=True)
class Names:
    """A one-to-one table of dotted prefixes."""

    pairs: Mapping[str, str]
    """Their prefix to ours."""

    def ours(self, key: str) -> str | None:
        """Return our name for one of theirs; ``None`` if the table does not know it."""
        return _replace_prefix(key, self.pairs)

    def theirs(self, key: str) -> str | None:
        """Return their name for one of ours; ``None`` if the table does not know it."""
        return _replace_prefix(key, self._inverse)

    @cached_property
    def _inverse(self) -> dict[str, str]:
        return {ours: theirs for theirs, ours in self.pairs.items()}


def _replace_prefix(key: str, pairs: Mapping[str, str]) -> str | None:
    """Return the key with its longest known dotted prefix replaced."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in pairs:
            return ".".join([pairs[prefix], *parts[length:]])
    return None


def autoencoder_names(config: AutoencoderConfig) -> Names:
    """Return the names of the autoencoder's weights.

    Args:
        config: Its size.
    """

    def pairs() -> Iterator[tuple[str, str]]:
        yield from ((name, name) for name in ("quant_conv", "post_quant_conv"))
        for side, way, blocks in (
            ("encoder", "down", config.blocks),
            ("decoder", "up", config.blocks + 1),
        ):
            yield f"{side}.conv_in", f"{side}.conv_in"
            yield f"{side}.conv_out", f"{side}.conv_out"
            yield f"{side}.norm_out", f"{side}.norm_out"
            for i in range(len(config.multipliers)):
                for j in range(blocks):
                    theirs, ours = f"{side}.{way}.{i}.block.{j}", f"{side}.levels.{i}.blocks.{j}"
                    yield from _block(theirs, ours, _AUTOENCODER_BLOCK, itself=True)
                yield f"{side}.{way}.{i}.{way}sample", f"{side}.levels.{i}.resample"
            for place, name in enumerate(("block_1", "attn_1", "block_2")):
                attention = _AUTOENCODER_ATTENTION[config.attention]
                parts = attention if name == "attn_1" else _AUTOENCODER_BLOCK
                theirs, ours = f"{side}.mid.{name}", f"{side}.middle.{place}"
                yield from _block(theirs, ours, parts, itself=True)

    return Names(dict(pairs()))


def unet_names(config: UNetConfig) -> Names:
    """Return the names of the U-Net's weights.

    Args:
        config: Its size.

    Raises:
        ValueError: If its condition encoder is not ``swin``, whose names alone are known.
    """
    if config.encoder != "swin":
        raise ValueError(
            f"weights of the public code are read and written for the encoder swin only, got "
            f"{config.encoder!r}"
        )
    levels = len(config.multipliers)

    def pairs() -> Iterator[tuple[str, str]]:
        # Upstream counts the stages of Swin from 0, torchvision and we from 1.
        yield "init_conv_mask.first_coonv", "condition_encoder.features.0"
        for stage in range(2 * len(config.swin.depths) - 1):
            yield (
                f"init_conv_mask.features.{stage}",
                f"condition_encoder.features.{stage + 1}",
            )
        for tail in ("norm", "head"):
            yield f"init_conv_mask.{tail}", f"condition_encoder.{tail}"
        yield "init_conv_carK", "condition_mix"
        yield "init_conv", "stem"
        yield "projects", "projections"
        yield "time_mlp.0.W", "time_embedding.frequencies"
        yield "time_mlp.1", "time_embedding.linear1"
        yield "time_mlp.3", "time_embedding.linear2"
        for i in range(levels):
            yield from _level(f"downs.{i}", f"relation_layers_down.{i}", f"down.{i}")
            yield f"downs.{i}.3", f"down.{i}.resample"
        for k in (1, 2):
            block = _block(f"mid_block{k}", f"middle_block{k}", _RESIDUAL_BLOCK)
            yield from block
        yield from _block("mid_attn", "middle_attention", _ATTENTION)
        for number, ours in (("", "drift_path"), ("2", "noise_path")):
            yield from _block(f"decouple{number or 1}", f"{ours}.filter", _FILTER)
            for j in range(levels):
                theirs, relation = f"ups{number}.{j}", f"relation_layers_up{number}.{j}"
                yield from _level(theirs, relation, f"{ours}.levels.{j}")
                is_last = j == levels - 1
                yield f"{theirs}.3{'' if is_last else '.1'}", f"{ours}.levels.{j}.resample"
            final = f"final_res_block{number}", f"{ours}.final_block"
            yield from _block(*final, _RESIDUAL_BLOCK)
            yield f"final_conv{number}", f"{ours}.final_conv"

    return Names(dict(pairs()))


def _level(theirs: str, relation: str, ours: str) -> Iterator[tuple[str, str]]:
    """Pairs of the blocks, the attention and the relation block of one level."""
    yield from _block(f"{theirs}.0", f"{ours}.block1", _RESIDUAL_BLOCK)
    yield from _block(f"{theirs}.1", f"{ours}.block2", _RESIDUAL_BLOCK)
    yield from _block(f"{theirs}.2", f"{ours}.attention", _LINEAR_ATTENTION)
    yield from _block(relation, f"{ours}.relation", _RELATION)


def _block(
    theirs: str, ours: str, parts: Mapping[str, str], *, itself: bool = False
) -> Iterator[tuple[str, str]]:
    """Pairs of the parts of a block; with ``itself``, of the parts called the same too."""
    if itself:
        yield theirs, ours
    for their_part, our_part in parts.items():
        yield f"{theirs}.{their_part}", f"{ours}.{our_part}"
