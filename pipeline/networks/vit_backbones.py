"""Plain vision transformers of timm as encoders: DINOv2, DINOv3, and others whose blocks share one grid of patches.

Learned position embeddings are resized to each image's grid (bicubic, by timm), rotary ones follow it by themselves.
Levels are four blocks at equal distances, the last included, each behind the model's final norm, as DINOv2 gives them.
Attention is torch's `scaled_dot_product_attention`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.encoder import Channels, Encoder, Features
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.timm_models import Reading, create_model, profile_of, whole_cells

LEVELS = 4


class VitEncoder(Encoder):
    """Images to maps of the stride of a patch; `mask_token` (1, C) can stand for any patch.

    The mask token is the weight file's where it has one; else it starts at zero and is trained.
    """

    def __init__(self, parameters: NetworkParameters, reading: Reading) -> None:
        super().__init__()
        self.model = create_model(parameters, **reading.options, drop_path_rate=parameters.drop_path or None)
        info = list(self.model.feature_info)
        _check(parameters, info)
        self.profile = profile_of(self.model)
        self.patch: int = info[0]["reduction"]
        self.token_stride = self.patch
        blocks = len(info)
        every = [blocks * place // LEVELS - 1 for place in range(1, LEVELS + 1)]
        self.indices = self.model.prune_intermediate_layers(every, prune_norm=False, prune_head=True)
        self.channels = Channels(0, info[-1]["num_chs"], info[-1]["num_chs"], (info[-1]["num_chs"],) * LEVELS)
        self.mask_token = nn.Parameter(torch.zeros(1, self.channels.last))
        self._masked: Tensor | None = None
        self.model.patch_embed.register_forward_hook(self._mask)

    def parts(self) -> Iterator[tuple[str, int]]:
        """The embedding of patches, the blocks, and the norm."""
        yield "model.patch_embed", self.patch
        for number in range(len(self.model.blocks)):
            yield f"model.blocks.{number}", self.patch
        yield "model.norm", self.patch

    def embeddings(self) -> Iterator[nn.Parameter]:
        """Class token, registers and position embeddings."""
        yield from self.model.parameters(recurse=False)

    def forward(self, images: Tensor, token_mask: Tensor | None = None) -> Features:
        """Compute the maps; patches where `token_mask` (B, h, w), bool, is true become the mask token.

        They do so before class token and position are added. h, w: the image's sides over `token_stride`, rounded up.
        """
        self._masked = token_mask
        try:
            maps = self.model.forward_intermediates(
                whole_cells(images, self.patch),
                indices=self.indices,
                norm=True,
                intermediates_only=True,
            )
        finally:
            self._masked = None
        return Features(maps[-1], maps[-2], maps[-1], tuple(maps))

    def _mask(self, layer: nn.Module, inputs: tuple[Tensor, ...], patches: Tensor) -> Tensor:
        """Put the mask token into the embedded patches (B, h, w, C)."""
        if self._masked is None:
            return patches
        return torch.where(self._masked[..., None], self.mask_token.to(patches.dtype), patches)


def _check(parameters: NetworkParameters, info: list[dict[str, object]]) -> None:
    """Refuse what has no single grid, or an option that it does not have."""
    name, strides = parameters.backbone, {level["reduction"] for level in info}
    if len(strides) > 1 or len(info) < LEVELS:
        raise ConfigError(f"backbone {name} is no plain ViT of {LEVELS} blocks or more; choose another model")
    if strides != {parameters.output_stride}:
        raise ConfigError(
            f"backbone {name} has patches of {strides.pop()} pixels, found output_stride: {parameters.output_stride}; "
            "make the two equal"
        )
    if parameters.skip or parameters.freeze_below is not None:
        raise ConfigError(
            f"backbone {name} has one stride: it takes no `skip` and no `freeze_below`; use head vit_light or "
            "daformer, and `freeze_blocks`"
        )
    if (parameters.freeze_blocks or 0) > len(info):
        raise ConfigError(
            f"backbone {name} has {len(info)} blocks, found freeze_blocks: {parameters.freeze_blocks}"
        )
