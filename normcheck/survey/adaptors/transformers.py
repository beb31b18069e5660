"""Transformers: the norms of its models, as their classes stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normcheck.survey.adaptors.torchvision import importable
from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "convnext_channels_first", "frozen_batch_norm"]


_MODELS: dict[str, str] = {}  # class to the model that has it


def convnext_channels_first(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> object:
    """Rows as the channels of images of one point."""
    importable()
    from torch.func import functional_call
    from transformers.models.convnext.modeling_convnext import ConvNextLayerNorm

    module = ConvNextLayerNorm(x.shape[-1], eps=eps, data_format="channels_first")  # type: ignore[no-untyped-call]
    image = x.reshape(-1, x.shape[-1], 1, 1)
    y: Tensor = functional_call(module, {"weight": weight, "bias": bias}, (image,))
    return y.reshape(x.shape)


def frozen_batch_norm(
    x: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor, bias: Tensor,
    training: bool,
) -> object:  # fmt: skip
    """Batch norm that never uses the batch; its epsilon is 1e-5."""
    importable()
    from torch.func import functional_call
    from transformers.models.detr.modeling_detr import DetrFrozenBatchNorm2d

    if training or running_mean is None:
        raise ValueError("training is True, but DetrFrozenBatchNorm2d has frozen statistics")
    values = {"running_mean": running_mean, "running_var": running_var}
    given = {k: v for k, v in {"weight": weight, "bias": bias}.items() if v is not None}
    module = DetrFrozenBatchNorm2d(x.shape[1]).to(x.dtype)  # type: ignore[no-untyped-call]
    image = x.reshape(*x.shape[:2], -1, 1)
    y: Tensor = functional_call(module, values | given, (image,))
    return y.reshape(x.shape)


def llama4_l2_norm(x: Tensor, eps: float) -> object:
    """``Llama4TextL2Norm``, whose constructor takes no size: always the last dimension."""
    importable()
    from transformers.models.llama4.modeling_llama4 import Llama4TextL2Norm

    return Llama4TextL2Norm(eps)(x)


def __getattr__(name: str) -> object:
    """Return a class of a model: many import torchvision where there is one."""
    import importlib

    if name not in _MODELS:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    importable()
    module = importlib.import_module(
        f"transformers.models.{_MODELS[name]}.modeling_{_MODELS[name]}"
    )
    found: object = getattr(module, name)
    return found


def _model(model: str, name: str, op: str = "rms_norm", *policies: str) -> Subject:
    _MODELS[name] = model
    return Subject(name, op, f":{name}", policies=policies)


LIBRARY = Library(
    "Transformers",
    ("transformers", "torch"),
    (
        _model("llama", "LlamaRMSNorm"),
        _model("mistral", "MistralRMSNorm"),
        _model("qwen2", "Qwen2RMSNorm"),
        _model("qwen3_next", "Qwen3NextRMSNorm", "rms_norm", "weight=one_plus"),
        _model("gemma", "GemmaRMSNorm", "rms_norm", "weight=one_plus"),
        _model("gemma3", "Gemma3RMSNorm", "rms_norm", "weight=one_plus"),
        _model("t5", "T5LayerNorm"),
        _model("deepseek_v3", "DeepseekV3RMSNorm"),
        _model("gpt_oss", "GptOssRMSNorm"),
        _model("olmo2", "Olmo2RMSNorm"),
        _model("llama4", "Llama4TextRMSNorm"),
        Subject("Llama4TextL2Norm", "rms_norm", ":llama4_l2_norm"),
        _model("olmo", "OlmoLayerNorm", "layer_norm"),
        _model("cohere", "CohereLayerNorm", "layer_norm"),
        _model("nemotron", "NemotronLayerNorm1P", "layer_norm", "weight=one_plus"),
        _model("convnext", "ConvNextLayerNorm", "layer_norm"),
        Subject("ConvNextLayerNorm channels_first", "layer_norm", ":convnext_channels_first"),
        Subject("DetrFrozenBatchNorm2d", "batch_norm", ":frozen_batch_norm"),
    ),
)
